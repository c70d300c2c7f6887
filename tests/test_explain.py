"""Explain and health: the tree, the bridges, the path, ids that were merged away, numbers that a hand can count."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime

import networkx
import pandas as pd
import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from cdp_spark.identity import cli, tree
from cdp_spark.identity.ask import AskError, explained
from cdp_spark.identity.explain import evidence, person_links, tree_and_bridges
from cdp_spark.identity.health import health
from cdp_spark.identity.page import PLOTS, page
from cdp_spark.identity.past import UnknownIdError
from tests.lakes import resolved_as_it_stands
from tests.tables import table

DAY = date(2026, 1, 31)
SEEN = "first_seen timestamp | last_seen timestamp | src bigint | dst bigint"
EDGES = f"""
subject_key string | namespace string | value string | priority int | {SEEN}
crm/1 | email | ann@example.com | 3 | 2026-01-01 | 2026-01-01 | 1 | 11
crm/2 | email | ann@example.com | 3 | 2026-01-02 | 2026-01-02 | 2 | 11
crm/2 | phone | +441 | 4 | 2026-01-02 | 2026-01-02 | 2 | 12
web/email:ann@example.com | phone | +441 | 4 | 2026-01-03 | 2026-01-03 | 3 | 12
web/email:ann@example.com | card | 77 | 2 | 2026-01-03 | 2026-01-03 | 3 | 13
crm/2 | card | 77 | 2 | 2026-01-04 | 2026-01-04 | 2 | 13
crm/1 | phone | +449 | 4 | 2026-01-01 | 2026-01-01 | 1 | 14
crm/9 | phone | +441 | 4 | 2026-01-05 | 2026-01-05 | 9 | 12
"""
MEMBERS = """
subject_key string | source string | record_id string | person_id string | valid_from date | valid_to date
crm/1 | crm | 1 | pA | 2026-01-01 |
crm/2 | crm | 2 | pB | 2026-01-01 | 2026-01-31
crm/2 | crm | 2 | pA | 2026-01-31 |
web/email:ann@example.com | web | email:ann@example.com | pA | 2026-01-31 |
crm/9 | crm | 9 | pC | 2026-01-31 |
"""
REFUSED = """
subject_key string | namespace string | value string | code string | detail string
crm/9 | phone | +441 | limit_exceeded | limit of user_id
crm/1 | email | hub@example.com | hub_limit | before the graph
crm/2 | email | hub@example.com | hub_limit | before the graph
"""
CHANGES = """
effective_at date | person_id string | change string | previous_person_id string | recorded_at timestamp | run_id string
2026-01-31 | pA | merged | pB | 2026-02-01 | r
2026-01-31 | pC | created | | 2026-02-01 | r
2026-01-01 | pA | created | | 2026-01-02 | r
"""


def keyed(spark, text: str):
    """A table of text whose subject keys are written with / for |."""
    frame = table(spark, text)
    if "last_seen" in text:
        none = F.lit(None)
        frame = frame.withColumns(
            {"other_key": none.cast("string"), "rule": F.lit("same value"), "score": none.cast("double")}
        )
    return frame.withColumn("subject_key", F.translate("subject_key", "/", "|")) if "subject_key" in text else frame


@pytest.fixture
def filled(spark, lake):
    """A lake with three records of one person, a refused link and an id that was merged away."""
    edges, refused, members, told = (keyed(spark, text) for text in (EDGES, REFUSED, MEMBERS, CHANGES))
    lake.write("identity.edges", edges)
    lake.write("identity.members", members)
    for day in (date(2026, 1, 1), DAY):
        lake.write("identity.changes", told.where(f"effective_at = '{day}'"), on=day)
    resolved_as_it_stands(lake, DAY)
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    nothing = lake.read("identity.matches")
    lake.write("identity.evidence", evidence(person_links(edges, refused, current, nothing), buckets=2))
    seen = edges.selectExpr("subject_key", "namespace", "value")
    why = lake.read("identity.evidence")
    lake.write("identity.health", health(members, edges, refused, told, why, seen, DAY), on=DAY)
    return lake


def test_bridges_and_trees_are_those_of_another_library():
    chance = random.Random(5)
    for _ in range(300):
        links = [(chance.randrange(9), chance.randrange(9)) for _ in range(chance.randrange(1, 16))]
        links = list({tuple(sorted(link)) for link in links if link[0] != link[1]})
        in_tree, bridge = tree_and_bridges(links)
        graph = networkx.Graph(links)
        wanted = {tuple(sorted(link)) for link in networkx.bridges(graph)}
        assert {link for link, is_one in zip(links, bridge, strict=True) if is_one} == wanted
        kept = networkx.Graph([link for link, is_one in zip(links, in_tree, strict=True) if is_one])
        assert networkx.is_forest(kept) if links else True
        assert {frozenset(c) for c in networkx.connected_components(kept)} == {
            frozenset(c) for c in networkx.connected_components(graph)
        }


def test_a_long_chain_needs_no_recursion():
    in_tree, bridge = tree_and_bridges([(n, n + 1) for n in range(50_000)])
    assert all(in_tree) and all(bridge)


def test_one_email_is_a_bridge_and_two_ways_are_none(filled):
    rows = {(r.subject_key, r.namespace): r.bridge for r in filled.read("identity.evidence").collect()}
    assert rows[("crm|1", "email")] and rows[("crm|2", "email")]
    assert not rows[("crm|2", "card")] and not rows[("web|email:ann@example.com", "card")]
    assert len(rows) == 5  # three records and three shared values; the sixth link would close a circle
    assert not any(key == "crm|9" for key, _ in rows)


def test_the_path_between_two_records_takes_the_trusted_way(filled):
    found = explained(filled, "crm|1", "web|email:ann@example.com")
    assert list(found.rows["namespace"]) == ["email", "email", "card", "card"]
    assert explained(filled, "pB").person_id == "pA" and "pB is pA today" in explained(filled, "pB").told[0]
    with pytest.raises(AskError, match="two people"):
        explained(filled, "crm|1", "crm|9")
    with pytest.raises(UnknownIdError, match="no run ever gave"):
        explained(filled, "nobody@example.com")


def test_the_command_draws_and_masks(filled, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "opened", lambda *_: (filled, None))
    file = tmp_path / "why.svg"
    told = CliRunner().invoke(cli.identity, ["explain", "pA", "--lake", "x", "--plot", str(file)])
    assert told.exit_code == 0, told.output
    assert (
        "pA: 5 links, 2 of them bridges" in told.output
        and "└─ email a***  (priority 3, since 2026-01-01" in told.output
    )
    assert "ann@example.com" not in told.output + file.read_text()
    shown = CliRunner().invoke(cli.identity, ["explain", "crm|1", "--lake", "x", "--show-values"])
    assert "email ann@example.com" in shown.output
    wrong = CliRunner().invoke(cli.identity, ["explain", "pA", "--lake", "x", "--plot", str(tmp_path / "why.doc")])
    assert wrong.exit_code == 1 and ".svg, .png or .pdf" in wrong.output


def test_health_counts_what_a_hand_counts(filled, monkeypatch, tmp_path):
    rows = {(r.metric, r.member): r.value for r in filled.read("identity.health").collect()}
    assert (rows[("people", "all")], rows[("records", "all")]) == (2, 4)
    assert rows[("consolidation_rate", "all")] == 0.5
    assert (rows[("person_size", "p50")], rows[("person_size", "largest")]) == (2, 3)
    assert rows[("singletons", "crm")] == 1 and ("singletons", "web") not in rows
    assert (rows[("changes", "merged")], rows[("changes", "created")]) == (1, 1)
    assert rows[("id_churn", "all")] == 0.5  # of crm|1 and crm|2, one has another person now
    assert (rows[("coverage", "phone")], rows[("coverage", "email")]) == (1, 0.5)
    assert (rows[("hubs", "email")], rows[("refused_links", "hub_limit")]) == (1, 2)
    assert rows[("bridges", "email")] == 2
    monkeypatch.setattr(cli, "opened", lambda *_: (filled, None))
    file = tmp_path / "health.html"
    told = CliRunner().invoke(cli.identity, ["health", "--lake", "x", "--html", str(file)])
    assert told.exit_code == 0 and "consolidation_rate" in told.output
    assert file.read_text().count("<svg") == len(PLOTS) and "http-equiv" not in file.read_text()
    assert {metric for metric, _ in rows} <= {metric for _, metrics in PLOTS for metric in metrics}


def test_a_match_is_a_link_and_one_to_another_person_is_none(spark):
    edges = keyed(spark, EDGES).limit(0)
    seen = [("a|1", "a|2", "name"), ("a|1", "a|3", "name")]
    rows = spark.createDataFrame(seen, "subject_key string, other_key string, rule string")
    fill = {c: F.lit(None).cast("timestamp") for c in ("first_seen", "last_seen")} | {"score": F.lit(5.0)}
    fill |= {"namespace": F.lit("match"), "value": F.col("other_key"), "priority": F.lit(60)}
    rows = edges.unionByName(rows.withColumns(fill | {"src": F.lit(1).cast("bigint"), "dst": F.lit(2).cast("bigint")}))
    members = spark.createDataFrame([("a|1", "p"), ("a|2", "p"), ("a|3", "q")], "subject_key string, person_id string")
    since = "subject_key_a string, subject_key_b string, first_seen timestamp"
    matches = spark.createDataFrame([("a|2", "a|1", datetime(2026, 1, 5, 12))], since)
    refused = table(spark, REFUSED).limit(0)
    found = evidence(person_links(rows, refused, members, matches), buckets=1).toPandas()
    assert found[["other_key", "rule", "bridge"]].values.tolist() == [["a|2", "name", True]]
    told = tree.text(tree.lines(found, ["a|1", "a|2"], show=False))
    assert "since 2026-01-05 12:00, match: name, score 5.0 bits, probability 0.9697, BRIDGE" in told


def test_people_who_are_newer_than_their_evidence_are_not_explained_by_no_link(filled):
    """As after `cdp watch`, which ends with `resolve`."""
    keys = explained(filled, "crm|1").keys
    filled.write("identity.evidence", filled.read("identity.evidence").where("false"))
    with pytest.raises(AskError, match=f"lacks {len(keys)} of the {len(keys)} records.*--from health --to health"):
        explained(filled, "crm|1")


def test_readers_see_no_half_finished_run(filled):
    """The process died after it had written members: its people are nobody's until a run is complete."""
    before = explained(filled, "crm|1")
    dying = replace(filled, step="resolve", run_id="dying")
    dying.write("identity.members", filled.read("identity.members").withColumn("person_id", F.lit("pX")))
    after = explained(filled, "crm|1")
    assert (after.person_id, after.keys) == (before.person_id, before.keys) == ("pA", before.keys)
    with pytest.raises(UnknownIdError):
        explained(filled, "pX")


OUTLIERS = {  # namespace: values on one record, records of the shared ones, the suspected of them
    "many": (200, [8], [8]),
    "few": (50, [30], [30]),  # with so few values the largest of them is the 99th percentile itself
    "two": (50, [30, 28, 4], [30, 28]),  # nor do two outliers hide each other
    "five": (150, [40] * 5, [40] * 5),
    "family": (3, [5], []),
    "alone": (0, [30, 31], []),  # nothing tells what is usual
}


def test_a_value_on_unusually_many_records_is_told_by_its_hash(spark):
    empty = [table(spark, text.strip().splitlines()[0]) for text in (MEMBERS, REFUSED, CHANGES)]
    pairs = [(f"s|{n}", name, f"{n}@x.org") for name, (single, _, _) in OUTLIERS.items() for n in range(single)]
    for name, (_, shared, _) in OUTLIERS.items():
        pairs += [(f"s|{n}", name, f"info{k}@x.org") for k, many in enumerate(shared) for n in range(many)]
    edges = spark.createDataFrame(pairs, "subject_key string, namespace string, value string")
    edges = edges.withColumn("other_key", F.lit(None).cast("string"))
    none = spark.createDataFrame([], "namespace string, bridge boolean")
    rows = health(empty[0], edges, empty[1], empty[2], none, edges, DAY).where("metric = 'suspect_value'").collect()
    found = {name: [] for name in OUTLIERS}
    for row in sorted(rows, key=lambda row: -row.value):
        found[row.member.partition(":")[0]].append(row.value)
    assert found == {name: suspected for name, (_, _, suspected) in OUTLIERS.items()}
    assert not any("info" in row.member for row in rows)


def test_the_page_holds_many_runs():
    told = [("people", "total", "all"), ("hubs", "namespace", "email"), ("singletons", "source", "crm")]
    rows = pd.DataFrame([(date(2026, 1, d), *one, float(d)) for d in (1, 2) for one in told],
                        columns=["as_of", "metric", "dimension", "member", "value"])  # fmt: skip
    assert "As of 2026-01-02" in page(rows) and "<script" not in page(rows)
    legends = page(rows).split("<h2>")[0]
    assert "crm" in legends and "email" in legends  # drawn, not only listed
