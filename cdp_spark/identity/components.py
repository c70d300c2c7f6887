"""Which nodes hang together? Components by SciPy or GraphFrames, contracted in Spark before and verified after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
from graphframes import GraphFrame
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.source import Identity

LABELS = "node bigint, component bigint"
ROUNDS = 6  # of contraction before GraphFrames: what is left are long chains, which it solves in logarithmic steps
SHRINKS = 0.7  # a round that leaves more of the links than this is not worth a pass over them
LOCAL_MAX_EDGES = Identity.model_fields["local_max_edges"].default
VERIFY_MAX_EDGES = 1_000_000  # up to so many links GraphFrames' partition is compared with SciPy's in every run


class ComponentsError(Exception):
    """The components that the engine returned are not components: nothing is published."""


def components(
    edges: DataFrame,
    links: DataFrame | None = None,
    *,
    engine: str = "auto",
    local_max_edges: int = LOCAL_MAX_EDGES,
    log: Callable[[str], None] = lambda text: None,
) -> DataFrame:
    """(node, component) of every key, persisted; component is the smallest node of the keys that hang together.

    edges: (src, dst) key to value, 64-bit node ids.  links: (src, dst) key to key, of a matcher.  Keys and values share
    no id. engine: scipy (exact, on the driver, about 100 bytes an edge there), graphframes, or auto: SciPy on the edges
    as they are up to `local_max_edges`, on what contraction leaves of them up to the same number, else GraphFrames.
    `log` is told which engine took how many edges. Raises ComponentsError where an answer fails its verification.
    """
    count = edges.count() if engine == "auto" else 0
    if engine == "scipy" or (engine == "auto" and count <= local_max_edges):
        log(f"components: SciPy on {count:,} edges" if count else "components: SciPy on all edges")
        return _materialised(_local(edges, links))
    ties = contracted(edges) if links is None else contracted(edges).unionByName(_between_keys(links))
    ties = ties.persist(StorageLevel.MEMORY_AND_DISK)
    left = ties.count()
    local = engine == "auto" and left <= local_max_edges
    log(f"components: {'SciPy' if local else 'GraphFrames'} on {left:,} links that are left after pruning")
    found = _local(None, ties) if local else _by_graphframes(ties, left)
    keys = edges.select(F.col("src").alias("node"))
    if links is not None:
        keys = keys.union(links.select("src")).union(links.select("dst"))
    whole = (
        keys.distinct().join(found, "node", "left").select("node", F.coalesce("component", "node").alias("component"))
    )
    whole = _materialised(whole)
    ties.unpersist()
    return whole


def components_by(rules: Identity, edges: DataFrame) -> DataFrame:
    """`components` by the engine and up to the size that conf/identity.yml names."""
    return components(edges, engine=rules.engine, local_max_edges=rules.local_max_edges)


def contracted(edges: DataFrame) -> DataFrame:
    """(src, dst) links between keys alone: each value's keys are tied to the smallest of them.

    A value seen by one key links nobody and drops out, and value nodes disappear: what is left is linear in the edges
    and a fraction of them; the keys' partition is the same. One shuffle.
    """
    least = F.min("src").over(Window.partitionBy("dst"))
    ties = edges.select(least.alias("least"), "src").where("least <> src")
    return ties.select(F.col("least").alias("src"), F.col("src").alias("dst"))


def _between_keys(links: DataFrame) -> DataFrame:
    least, most = F.least("src", "dst"), F.greatest("src", "dst")
    return links.where("src <> dst").select(least.alias("src"), most.alias("dst"))


def _materialised(frame: DataFrame) -> DataFrame:
    frame = frame.persist(StorageLevel.MEMORY_AND_DISK)
    frame.count()
    return frame


def _local(edges: DataFrame | None, links: DataFrame | None) -> DataFrame:
    """(node, component) of the keys in `edges` (src) and `links` (both ends), by SciPy on the driver."""
    spark = (links if edges is None else edges).sparkSession
    bipartite, between = _ends(edges), _ends(links)
    least, nodes, index = _partition(np.concatenate([bipartite, between], axis=1))
    if not np.array_equal(least[index[0]], least[index[1]]):
        raise ComponentsError("SciPy: an edge ends in two components; nothing is published")
    is_key = np.zeros(len(nodes), bool)
    is_key[index[0]] = True
    is_key[index[1][bipartite.shape[1] :]] = True
    # a value's id may be the smallest of a component: components are called after their smallest key
    keys, roots = nodes[is_key], least[is_key]
    names = pd.Series(keys).groupby(roots).transform("min").to_numpy() if len(keys) else keys
    return _handed_over(spark, keys, names)


def _ends(frame: DataFrame | None) -> np.ndarray:
    """2 x n array of both ends; Arrow keeps it at 16 bytes an edge."""
    if frame is None:
        return np.empty((2, 0), np.int64)
    table = frame.select("src", "dst").toArrow()
    return np.stack([table.column(name).to_numpy().astype(np.int64, copy=False) for name in ("src", "dst")])


def _partition(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(component label of each node, nodes, 2 x n positions of the ends in them): exact, linear in the edges."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    codes, nodes = pd.factorize(ends.ravel())
    index = codes.reshape(2, -1)
    ones = np.ones(index.shape[1], np.int8)
    graph = coo_matrix((ones, (index[0], index[1])), shape=(len(nodes), len(nodes)))
    labels = connected_components(graph, directed=False)[1] if len(nodes) else np.empty(0, np.int32)
    return labels, nodes, index


def _handed_over(spark: SparkSession, nodes: np.ndarray, names: np.ndarray) -> DataFrame:
    """The two arrays as (node, component): a broadcast that tasks cut to slices, several times createDataFrame."""
    table = spark.sparkContext.broadcast((nodes, names))

    def sliced(batches):
        for batch in batches:
            rows = batch.column(0).to_numpy()
            if len(rows):
                part = slice(rows[0], rows[-1] + 1)
                yield pa.RecordBatch.from_arrays([pa.array(a[part]) for a in table.value], ["node", "component"])

    return spark.range(len(nodes)).mapInArrow(sliced, LABELS)


def _by_graphframes(ties: DataFrame, count: int) -> DataFrame:
    """(node, component) of the nodes in `ties`, verified.

    Contraction as in Boruvka's algorithm: each node is replaced by the smallest node of its closed neighbourhood, which
    keeps what hangs together; components that are down to one node are done. As the smallest node of a component
    represents itself in every round, it also names it in the end. Node ids are hashes, so that no order of theirs is
    bad. What is left after a few rounds goes to GraphFrames.
    """
    steps, rest, before, left = [], ties, None, count
    while left and len(steps) < ROUNDS and (before is None or left <= SHRINKS * before):
        # each round reads the last one's frames several times: without a checkpoint the plan doubles every round
        steps.append(_representatives(rest).localCheckpoint())
        rest = _replaced(rest, steps[-1]).localCheckpoint()
        before, left = left, rest.count()
    found = _graphframes(rest) if left else None
    for step in reversed(steps):
        found = _expanded(step, found)
    found = ties.sparkSession.createDataFrame([], LABELS) if found is None else found.localCheckpoint()
    _verify(ties, found, count)
    return found


def _representatives(links: DataFrame) -> DataFrame:
    """(node, name): the smallest node among a node and its neighbours."""
    both = links.select("src", "dst").union(links.select("dst", "src"))
    return both.groupBy(F.col("src").alias("node")).agg(F.least(F.min("dst"), F.col("node")).alias("name"))


def _replaced(links: DataFrame, step: DataFrame) -> DataFrame:
    """`links` between representatives, each once, without those inside one."""
    one = step.select(F.col("node").alias("src"), F.col("name").alias("a"))
    two = step.select(F.col("node").alias("dst"), F.col("name").alias("b"))
    ends = links.join(one, "src").join(two, "dst").where("a <> b")
    return ends.select(F.least("a", "b").alias("src"), F.greatest("a", "b").alias("dst")).distinct()


def _expanded(step: DataFrame, found: DataFrame | None) -> DataFrame:
    """Components of the nodes before a round, from those of their representatives."""
    if found is None:
        return step.select("node", F.col("name").alias("component"))
    inner = found.select(F.col("node").alias("name"), "component")
    rows = step.join(inner, "name", "left")
    return rows.select("node", F.coalesce("component", "name").alias("component"))


def _graphframes(links: DataFrame) -> DataFrame:
    """Components by GraphFrames. Ids are materialised first: recomputed ones gave wrong components under AQE."""
    nodes = links.select(F.col("src").alias("id")).union(links.select("dst")).distinct()
    nodes = _materialised(nodes)
    found = GraphFrame(nodes, links).connectedComponents(algorithm="graphframes", checkpointInterval=2)
    least = found.groupBy("component").agg(F.min("id").alias("least"))
    rows = found.join(least, "component").select(F.col("id").alias("node"), F.col("least").alias("component"))
    rows = rows.localCheckpoint()
    found.unpersist()
    nodes.unpersist()
    return rows


def _verify(links: DataFrame, found: DataFrame, count: int) -> None:
    """Every node once, both ends of every link in one component; the partition is SciPy's up to VERIFY_MAX_EDGES."""
    one = found.select(F.col("node").alias("src"), F.col("component").alias("a"))
    two = found.select(F.col("node").alias("dst"), F.col("component").alias("b"))
    ends = links.join(one, "src", "left").join(two, "dst", "left")
    sizes = found.agg(F.count(F.lit(1)).alias("rows"), F.count_distinct("node").alias("nodes")).first()
    if sizes["rows"] != sizes["nodes"]:
        raise ComponentsError("a node has two components: the engine's answer is refused, nothing is published")
    if count > VERIFY_MAX_EDGES:
        torn = not ends.where("NOT (a <=> b) OR a IS NULL").isEmpty()
    else:
        torn = not _equals_scipy(ends.select("src", "dst", "a", "b").toArrow())
    if torn:
        raise ComponentsError(
            "a link ends in two components, or two components are one: the engine's answer is refused"
        )


def _equals_scipy(ends: pa.Table) -> bool:
    """True where a and b, the components of both ends, are those that SciPy finds for (src, dst)."""
    if not len(ends):
        return True
    if ends.column("a").null_count or ends.column("b").null_count:
        return False
    src, dst, a, b = (ends.column(name).to_numpy() for name in ("src", "dst", "a", "b"))
    labels, nodes, index = _partition(np.stack([src, dst]))
    least = pd.Series(nodes).groupby(labels).transform("min").to_numpy()
    return np.array_equal(least[index[0]], a) and np.array_equal(least[index[1]], b)
