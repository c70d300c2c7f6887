"""Identity: components against a reference, guards, limits, ids that last."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity.components import components
from cdp_spark.identity.guards import names_nobody
from cdp_spark.identity.pairs import LINKS, MATCHES
from cdp_spark.identity.people import resolved
from cdp_spark.identity.persons import anchors, as_known_before, changes, history, inherited, named
from tests.reference import union_find

NODE = st.integers(0, 9)
GRAPHS = st.lists(st.lists(st.tuples(NODE, NODE), max_size=8), min_size=30, max_size=30)
CHAIN = [(n // 2 + n % 2, n // 2) for n in range(80)]  # 40 keys in a row: longer than any default iteration limit

RULES = Identity.model_validate(
    {
        "identifiers": {
            "user_id": {"priority": 1, "limit": "1 ever"},
            "email": {"normaliser": "email", "priority": 3, "max_records": 3},
            "card": {"priority": 2, "pattern": "^[0-9]{4}$"},
            "cookie": {"priority": 6},
            "birth_date": {"link": False, "unique": True},
            "session": {"priority": 7, "limit": "1 weekly"},
        },
        "blocked_values": ["unknown", "N/A"],
        "blocked_patterns": ["^[0-]*$"],
    }
)
MEMBERS = "subject_key string, source string, record_id string, person_id string, valid_from date, valid_to date"
ANCHORS = "key_hash string, landing bigint, origin string, passed boolean"
SEEN = "subject_key string, namespace string, value string, day int, landing bigint"


def identifiers(spark, *rows):
    """(key, namespace, value[, day first seen[, landing]]) as silver.identifiers."""
    full = [(*row, *(1, 1)[len(row) - 3 :]) for row in rows]
    frame = spark.createDataFrame(full, SEEN)
    when = F.make_timestamp(F.lit(2026), F.lit(1), "day", F.lit(0), F.lit(0), F.lit(0.0))
    return frame.withColumn("first_seen", when).withColumn("last_seen", when)


def parts(spark, *rows, engine="scipy", rules=RULES, matches=(), links=(), members=None, known=None):
    """{subject_key: person_id}, {(key, namespace, code)} of refused links."""
    found = resolved(
        identifiers(spark, *rows),
        spark.createDataFrame(list(matches), MATCHES),
        spark.createDataFrame([(kind, a, b, "ann", "seen", until) for kind, a, b, until in links], LINKS),
        spark.createDataFrame([], MEMBERS) if members is None else members,
        spark.createDataFrame([], ANCHORS) if known is None else known,
        rules.model_copy(update={"engine": engine}),
        date(2026, 1, 31),
    )
    codes = {(r.subject_key, r.namespace, r.code) for r in found.violations.collect()}
    who = {row.subject_key: row.person_id for row in found.now.collect()}
    found.release()
    return who, codes


@pytest.mark.parametrize("engine", ["graphframes", "scipy"])
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graphs=GRAPHS)
def test_components_equal_union_find(spark, engine, graphs):
    pairs = [(100 * g + a, -(100 * g + b) - 1) for g, rows in enumerate([*graphs, CHAIN]) for a, b in rows]
    found = components(spark.createDataFrame(pairs, "src bigint, dst bigint"), engine=engine).collect()
    wanted = union_find([(("k", a), ("v", b)) for a, b in pairs])
    assert len(found) == len({a for a, _ in pairs})
    groups = {}
    for row in found:
        groups.setdefault(row.component, set()).add(wanted[("k", row.node)])
    assert all(len(roots) == 1 for roots in groups.values())
    assert len(groups) == len({wanted[("k", a)] for a, _ in pairs})


def test_guards_refuse_what_names_nobody(spark):
    rows = [("a|1", "email", "unknown"), ("a|2", "email", "unknown"), ("a|3", "card", "12x4"), ("a|4", "card", "12x4")]
    rows += [(f"a|{n}", "email", "hub@example.com") for n in range(5, 9)]
    rows += [("a|9", "email", "ok@example.com"), ("a|10", "email", "ok@example.com"), ("a|11", "card", "0000")]
    rows += [("a|12", "card", "2222"), ("a|13", "card", "2222")]
    rows += [("a|14", "card", "9999999"), ("a|15", "card", "9999999")]
    found, codes = parts(spark, *rows)
    assert found["a|9"] == found["a|10"] and found["a|12"] == found["a|13"]
    assert len(set(found.values())) == 13
    assert {code for _, _, code in codes} == {"blocked_value", "pattern_mismatch", "hub_limit"}
    assert ("a|5", "email", "hub_limit") in codes


def test_what_forms_put_where_they_know_nothing_is_blocked_by_default(spark):
    nobody = ["0000000", "+447777777777", "+441234567890", "123456789", "noreply@shop.example", "No-Reply@x.org",
              "unknown@unknown.com", "none@x.org", " ", "N/A"]  # fmt: skip
    somebody = ["+447700900123", "1234567", "10000000", "nora@x.org", "nonesuch@x.org", "AB123456C", "22222"]
    rows = spark.createDataFrame([(value,) for value in (*nobody, *somebody)], "value string")
    found = rows.where(names_nobody(F.col("value"), Identity())).collect()
    assert [row.value for row in found] == nobody


@pytest.mark.parametrize("engine", ["graphframes", "scipy"])
def test_a_shared_cookie_merges_nobody(spark, engine):
    found, codes = parts(
        spark,
        ("crm|1", "user_id", "u1"),
        ("crm|2", "user_id", "u2"),
        ("web|k", "cookie", "k"),
        ("web|k", "user_id", "u1", 2),
        ("web|k", "user_id", "u2", 5),
        engine=engine,
    )
    assert found["crm|1"] == found["web|k"] != found["crm|2"]
    assert codes == {("web|k", "user_id", "limit_exceeded")}


def test_two_birth_dates_keep_a_shared_address_apart(spark):
    rows = [("crm|1", "email", "x@example.com", 1), ("crm|1", "birth_date", "1980-01-01"), ("crm|3", "card", "1234")]
    rows += [("crm|2", "email", "x@example.com", 3), ("crm|2", "birth_date", "2010-01-01")]
    rows += [("crm|2", "card", "1234", 3)]
    found, codes = parts(spark, *rows)
    assert found["crm|1"] != found["crm|2"] == found["crm|3"]
    assert codes == {("crm|2", "email", "limit_exceeded")}


def test_parts_do_not_depend_on_row_order(spark):
    rows = [(f"s|{n}", "user_id", f"u{n % 4}", 1 + n % 7) for n in range(16)]
    rows += [(f"s|{n}", "cookie", f"c{n // 3}", 1 + n % 5) for n in range(16)]
    assert parts(spark, *rows) == parts(spark, *rows[::-1])


class World:
    """Members and anchors as they pass from run to run."""

    def __init__(self, spark):
        self.spark = spark
        self.members = spark.createDataFrame([], MEMBERS)
        self.anchors = spark.createDataFrame([], ANCHORS)

    def run(self, as_of: date, groups: dict[str, list[str]], landings: dict[str, int]):
        """Resolve groups {part: keys}; returns {key: person_id} and {(change, old id)}."""
        seen = self.spark.createDataFrame(
            [(key, landings[key]) for keys in groups.values() for key in keys], "subject_key string, landing bigint"
        )
        rows = [(key, number) for number, keys in enumerate(groups.values()) for key in keys]
        found = self.spark.createDataFrame(rows, "subject_key string, part bigint")
        before = as_known_before(self.members, as_of)
        current = before.where("valid_to IS NULL").select("subject_key", "person_id")
        self.anchors = inherited(anchors(seen, self.anchors), found, current).localCheckpoint()
        now = named(found, self.anchors).localCheckpoint()
        told = {(r.change, r.person_id, r.previous_person_id) for r in changes(before, now, as_of).collect()}
        self.members = history(before, now, as_of).localCheckpoint()
        return {row.subject_key: row.person_id for row in now.collect()}, told


LANDED = {"a|1": 1, "a|2": 2, "b|1": 3, "b|2": 4}


def test_growth_merge_split_and_return_keep_ids(spark):
    world = World(spark)
    one, told = world.run(date(2026, 1, 1), {"x": ["a|1"], "y": ["b|1"]}, LANDED)
    assert {change for change, *_ in told} == {"created"}
    two, told = world.run(date(2026, 1, 2), {"x": ["a|1", "a|2"], "y": ["b|1", "b|2"]}, LANDED)
    assert (two["a|1"], two["b|1"], told) == (one["a|1"], one["b|1"], set())
    three, told = world.run(date(2026, 1, 3), {"x": ["a|1", "a|2", "b|1", "b|2"]}, LANDED)
    assert set(three.values()) == {one["a|1"]}
    assert told == {("merged", one["a|1"], one["b|1"])}
    four, told = world.run(date(2026, 1, 4), {"x": ["a|1", "a|2"], "y": ["b|1", "b|2"]}, LANDED)
    assert four == two
    assert told == {("reactivated", one["b|1"], None), ("split", one["b|1"], one["a|1"])}
    past = world.members.where("valid_from <= '2026-01-03' AND coalesce(valid_to > '2026-01-03', true)")
    assert {row.subject_key: row.person_id for row in past.collect()} == three


def test_a_rerun_of_a_day_changes_nothing(spark):
    world = World(spark)
    world.run(date(2026, 1, 1), {"x": ["a|1"], "y": ["b|1"]}, LANDED)
    first = world.run(date(2026, 1, 2), {"x": ["a|1", "b|1"]}, LANDED)
    members = sorted(map(tuple, world.members.collect()), key=str)
    assert world.run(date(2026, 1, 2), {"x": ["a|1", "b|1"]}, LANDED) == first
    assert sorted(map(tuple, world.members.collect()), key=str) == members


def test_removing_the_anchor_moves_no_id(spark):
    world = World(spark)
    one, _ = world.run(date(2026, 1, 1), {"x": ["a|1", "a|2"], "y": ["b|1"]}, LANDED)
    two, _ = world.run(date(2026, 1, 2), {"x": ["a|2"], "y": ["b|1"]}, LANDED)
    assert two == {"a|2": one["a|1"], "b|1": one["b|1"]}


def test_an_anchor_that_comes_back_takes_no_name_from_its_heir(spark):
    world = World(spark)
    one, _ = world.run(date(2026, 1, 1), {"x": ["a|1", "a|2"]}, LANDED)
    world.run(date(2026, 1, 2), {"x": ["a|2"]}, LANDED)
    apart, _ = world.run(date(2026, 1, 3), {"x": ["a|2"], "y": ["a|1"]}, LANDED)
    assert apart["a|2"] == one["a|1"] != apart["a|1"]
    together, _ = world.run(date(2026, 1, 4), {"x": ["a|2", "a|1"]}, LANDED)
    assert set(together.values()) == {one["a|1"]}


def test_ids_are_those_of_a_rebuild(spark):
    grown = World(spark)
    grown.run(date(2026, 1, 1), {"x": ["a|1"], "y": ["b|1"]}, LANDED)
    stepwise, _ = grown.run(date(2026, 1, 2), {"x": ["a|1", "b|1", "a|2"], "z": ["b|2"]}, LANDED)
    at_once, _ = World(spark).run(date(2026, 1, 2), {"z": ["b|2"], "x": ["a|2", "b|1", "a|1"]}, LANDED)
    assert stepwise == at_once
