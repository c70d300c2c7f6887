"""Components: the same partition as a plain union-find, whatever the graph's shape and the engine."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity import components as module
from cdp_spark.identity.components import ComponentsError, components
from cdp_spark.identity.households import SHARED, groups
from cdp_spark.identity.matching.links import grouped_keys
from cdp_spark.job import checkpoints
from tests.conftest import ROOT
from tests.reference import union_find

RECORDS = ROOT.parent / "shared/data/identity/fullcontact_records"
ENGINES = {
    "graphframes": {"engine": "graphframes"},
    "scipy": {"engine": "scipy"},
    "contracted, then scipy": {"engine": "auto", "local_max_edges": 8_000},
}


def some_graph(chance: random.Random) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(key-value edges, key-key links) of one small graph: any shape, some edges twice."""
    size = chance.randint(1, 12)
    shape = chance.choice(["star", "clique", "cycle", "isolated", "noise"])
    if shape == "star":
        edges = [(key, 0) for key in range(size)]
    elif shape == "clique":
        edges = [(key, value) for key in range(size) for value in range(min(size, 4))]
    elif shape == "cycle":
        edges = [(key, (key + step) % size) for key in range(size) for step in (0, 1)]
    elif shape == "isolated":
        edges = [(key, key) for key in range(size)]
    else:
        edges = [(chance.randrange(size), chance.randrange(size)) for _ in range(size)]
    edges += chance.choices(edges, k=2)
    links = [(chance.randrange(size + 2), chance.randrange(size + 2)) for _ in range(chance.choice([0, 0, 2]))]
    return edges, [*links, *((b, a) for a, b in links[:1]), *((a, a) for a, _ in links[:1])]


def numbered(key: int, graph: int) -> int:
    return 1000 * graph + key + 1


def checked(spark, edges, links, **how) -> pd.DataFrame:
    """Components of (key, value) and (key, key) pairs, compared with union-find; names are the smallest keys."""
    between = spark.createDataFrame(pd.DataFrame(links, columns=["src", "dst"], dtype="int64")) if links else None
    pairs = spark.createDataFrame(pd.DataFrame(edges, columns=["src", "dst"], dtype="int64"))
    frame = components(pairs, between, **how)
    found = frame.toPandas()
    frame.unpersist()
    roots = union_find([*(((0, a), (1, b)) for a, b in edges), *(((0, a), (0, b)) for a, b in links)])
    least: dict = {}
    for (kind, key), root in roots.items():
        if kind == 0:
            least[root] = min(key, least.get(root, key))
    wanted = {key: least[root] for (kind, key), root in roots.items() if kind == 0}
    assert len(found) == len(wanted)
    assert dict(zip(found["node"], found["component"], strict=True)) == wanted
    return found


@pytest.mark.parametrize("how", ENGINES.values(), ids=ENGINES)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_a_thousand_graphs_of_all_shapes_equal_union_find(spark, how, seed):
    chance, edges, links = random.Random(seed), [], []
    for graph in range(1000):
        one, two = some_graph(chance)
        edges += [(numbered(a, graph), -numbered(b, graph)) for a, b in one]
        links += [(numbered(a, graph), numbered(b, graph)) for a, b in two]
    checked(spark, edges, links, **how)


@pytest.mark.parametrize("how", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("order", ["in order", "hashed"])
def test_a_chain_of_ten_thousand_is_one_component(spark, how, order):
    name = list(range(1, 5_001))
    if order == "hashed":
        random.Random(1).shuffle(name)
    edges = [(name[n], -(n + step) - 1) for n in range(5_000) for step in (0, 1)]
    assert checked(spark, edges, [], **how)["component"].nunique() == 1


def test_nothing_has_no_components(spark):
    none = spark.createDataFrame([], "src bigint, dst bigint")
    for how in ENGINES.values():
        assert components(none, none, **how).isEmpty()


@pytest.mark.parametrize("links_compared", [0, 1_000_000])
def test_an_engine_that_errs_is_refused(spark, monkeypatch, links_compared):
    """A link torn apart is found at any size, two components given one name where SciPy is asked too."""
    edges = spark.createDataFrame([(n, -(n // 4)) for n in range(4, 40)], "src bigint, dst bigint")
    monkeypatch.setattr(module, "ROUNDS", 0)
    monkeypatch.setattr(module, "VERIFY_MAX_EDGES", links_compared)
    right = module._graphframes

    def torn(links):
        return right(links).withColumn("component", F.when(F.col("node") == 5, F.lit(5)).otherwise(F.col("component")))

    def merged(links):
        return right(links).withColumn("component", F.lit(4).cast("bigint"))

    monkeypatch.setattr(module, "_graphframes", torn)
    with pytest.raises(ComponentsError, match="refused"):
        components(edges, engine="graphframes")
    if links_compared:
        monkeypatch.setattr(module, "_graphframes", merged)
        with pytest.raises(ComponentsError, match="two components are one"):
            components(edges, engine="graphframes")


@pytest.mark.parametrize(
    ("limit", "told"), [(36, "SciPy on 36 edges"), (30, "SciPy on 27 links"), (20, "GraphFrames on 27")]
)
def test_auto_tells_which_engine_it_took(spark, limit, told):
    edges = spark.createDataFrame([(n, -(n // 4)) for n in range(4, 40)], "src bigint, dst bigint")
    said: list[str] = []
    components(edges, local_max_edges=limit, log=said.append)
    assert told in said[0]


def test_households_and_matching_take_the_engine_that_conf_names(spark, monkeypatch):
    took, real = [], module.components

    def noted(*frames, **how):
        took.append((how["engine"], how["local_max_edges"]))
        return real(*frames, **how)

    monkeypatch.setattr(module, "components", noted)
    rules = Identity(engine="graphframes", local_max_edges=7)
    pairs = spark.createDataFrame([("s|1", "s|2"), ("s|2", "s|3")], "a string, b string")
    assert {row.n for row in grouped_keys(pairs, rules).collect()} == {3}
    home = Identity.model_validate({"households": {"rules": {"device": {"namespace": "device_id"}}}, "engine": "scipy",
                                    "identifiers": {"device_id": {}}})  # fmt: skip
    two = [("p1", 0, "device", "tablet"), ("p2", 0, "device", "tablet")]
    assert len({row.part for row in groups(spark.createDataFrame(two, SHARED), home).collect()}) == 1
    assert took == [("graphframes", 7), ("scipy", 5_000_000)]


@pytest.mark.slow
def test_each_step_has_a_place_for_the_rounds_of_graphframes(spark, tmp_path, monkeypatch):
    """Also `match` and `households`, each of which may be a process of its own; nothing is left behind."""
    context = spark.sparkContext._jsc.sc()
    usual, edges = context.getCheckpointDir().get(), spark.createDataFrame([(1, -1), (2, -1)], "src bigint, dst bigint")
    chain = spark.createDataFrame([(n, n + 1) for n in range(40)], "src bigint, dst bigint")
    monkeypatch.setattr(module, "ROUNDS", 0)
    job = SimpleNamespace(spark=spark, lake=SimpleNamespace(root=str(tmp_path)))
    with checkpoints(job):
        assert context.getCheckpointDir().get().startswith(f"file:{tmp_path}/_cdp/checkpoints")
        assert components(edges, chain, engine="graphframes").select("component").distinct().count() == 1
    assert not (tmp_path / "_cdp" / "checkpoints").exists()
    spark.sparkContext.setCheckpointDir(usual)


@pytest.mark.real
@pytest.mark.parametrize("engine", ["graphframes", "scipy"])
def test_published_records_have_their_published_components(spark, engine):
    if not RECORDS.is_dir():
        pytest.skip("shared data not found: ../shared/data/identity/fullcontact_records")
    records = pd.read_csv(RECORDS / "records.csv", dtype=str)
    truth = pd.read_csv(RECORDS / "truth.csv", dtype=str)
    records["src"] = range(len(records))
    long = records.assign(value=records["identifiers"].str.split()).explode("value")
    long["dst"] = -1 - pd.factorize(long["value"])[0]
    found = components(spark.createDataFrame(long[["src", "dst"]].astype("int64")), engine=engine).toPandas()
    found["record_id"] = records["record_id"].to_numpy()[found["node"]]
    both = found.merge(truth, on="record_id", validate="one_to_one")
    pairs = both[["component", "component_id"]].drop_duplicates()
    assert len(both) == len(truth) == 52_772
    assert len(pairs) == both["component"].nunique() == both["component_id"].nunique() == 46_468
