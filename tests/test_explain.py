"""Explain and health: the tree, the bridges, the path, ids that were merged away, numbers that a hand can count."""

from __future__ import annotations

import random
from datetime import date

import networkx
import pandas as pd
import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from cdp_spark.identity import cli
from cdp_spark.identity.ask import AskError, explained
from cdp_spark.identity.explain import evidence, person_links, tree_and_bridges
from cdp_spark.identity.health import health
from cdp_spark.identity.page import page
from cdp_spark.identity.past import UnknownIdError
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
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    lake.write("identity.evidence", evidence(person_links(edges, refused, current), buckets=2))
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
    assert file.read_text().count("<svg") == 8 and "http-equiv" not in file.read_text()


def test_a_match_is_a_link_and_one_to_another_person_is_none(spark):
    edges = keyed(spark, EDGES).limit(0)
    seen = [("a|1", "a|2", "name"), ("a|1", "a|3", "name")]
    rows = spark.createDataFrame(seen, "subject_key string, other_key string, rule string")
    fill = {c: F.lit(None).cast("timestamp") for c in ("first_seen", "last_seen")} | {"score": F.lit(9.0)}
    fill |= {"namespace": F.lit("match"), "value": F.col("other_key"), "priority": F.lit(60)}
    rows = edges.unionByName(rows.withColumns(fill | {"src": F.lit(1).cast("bigint"), "dst": F.lit(2).cast("bigint")}))
    members = spark.createDataFrame([("a|1", "p"), ("a|2", "p"), ("a|3", "q")], "subject_key string, person_id string")
    found = evidence(person_links(rows, table(spark, REFUSED).limit(0), members), buckets=1).collect()
    assert [(row.other_key, row.rule, row.bridge) for row in found] == [("a|2", "name", True)]


def test_a_value_on_unusually_many_records_is_told_by_its_hash(spark):
    empty = [table(spark, text.strip().splitlines()[0]) for text in (MEMBERS, REFUSED, CHANGES)]
    pairs = [(f"s|{n}", "email", f"{n}@x.org") for n in range(200)] + [
        (f"s|{n}", "email", "info@x.org") for n in range(8)
    ]
    edges = spark.createDataFrame(pairs, "subject_key string, namespace string, value string")
    edges = edges.withColumn("other_key", F.lit(None).cast("string"))
    none = spark.createDataFrame([], "namespace string, bridge boolean")
    rows = health(empty[0], edges, empty[1], empty[2], none, edges, DAY).where("metric = 'suspect_value'").collect()
    assert [row.value for row in rows] == [8] and "info" not in rows[0].member


def test_the_page_holds_many_runs():
    rows = pd.DataFrame([(date(2026, 1, d), "people", "total", "all", float(d)) for d in (1, 2)],
                        columns=["as_of", "metric", "dimension", "member", "value"])  # fmt: skip
    assert "As of 2026-01-02" in page(rows) and "<script" not in page(rows)
