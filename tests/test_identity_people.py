"""Identity as a whole: a steward's word, incremental runs beside full ones, and who was who on a day."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity.incremental import Base
from cdp_spark.identity.pairs import LINKS, MATCHES
from cdp_spark.identity.past import UnknownIdError, members_as_of, redirects, resolve_id
from cdp_spark.identity.people import resolved
from tests.test_identity import ANCHORS, LANDED, MEMBERS, World, identifiers

RULES = Identity.model_validate(
    {
        "identifiers": {
            "user_id": {"priority": 1, "limit": "1 ever"},
            "email": {"priority": 3, "max_records": 3},
            "cookie": {"priority": 6},
            "session": {"priority": 7, "limit": "1 weekly"},
            "birth_date": {"link": False, "unique": True},
        },
        "distinct_sources": ["one"],
        "match_min_score": 0.5,
        "engine": "scipy",
        "incremental": "always",
    }
)
# Each letter is a little world of its own: what it held before, and what it holds now.
BEFORE = [
    *[("a|1", "email", "a"), ("a|2", "email", "a")],  # untouched
    *[("b|1", "email", "b"), ("b|2", "email", "b2")],  # a late row ties them
    *[("c|1", "email", "c"), ("c|2", "email", "c")],  # a row goes
    *[("d|1", "email", "d"), ("d|2", "email", "d2")],  # an identifier changes
    *[(f"e|{n}", "email", "e") for n in (1, 2, 3)],  # grows into a hub
    *[(f"f|{n}", "email", "f") for n in (1, 2, 3, 4)],  # a hub shrinks
    *[("g|1", "cookie", "g"), ("g|2", "cookie", "g")],  # a CANNOT-LINK comes
    *[("h|1", "cookie", "h"), ("h|2", "cookie", "h")],  # a CANNOT-LINK expires
    *[("i|1", "cookie", "i1"), ("i|2", "cookie", "i2")],  # a MUST-LINK comes
    *[("j|1", "cookie", "j1"), ("j|2", "cookie", "j2")],  # a match comes
    *[("k|1", "cookie", "k1"), ("k|2", "cookie", "k2")],  # a match goes
    *[("l|1", "cookie", "l"), ("l|2", "cookie", "l"), ("l|1", "birth_date", "x")],  # a birth date parts them
    *[("m|1", "session", "m1", 5), ("m|2", "cookie", "m"), ("m|1", "cookie", "m")],  # two sessions in two weeks
    *[
        ("n|1", "user_id", "n1"),
        ("n|1", "cookie", "n"),
        ("n|2", "user_id", "n2"),
        ("n|2", "cookie", "n", 2),
    ],  # cut, stays
    *[("one|1", "email", "o"), ("one|2", "email", "o", 2)],  # two records of a source without duplicates
    *[("p|1", "email", "p")],  # erased whole
]
GONE = {("c|2", "email", "c"), ("d|2", "email", "d2"), ("f|4", "email", "f"), ("p|1", "email", "p")}
NOW = [row for row in BEFORE if row[:3] not in GONE] + [
    *[("b|2", "email", "b"), ("d|2", "email", "d"), ("e|4", "email", "e"), ("l|2", "birth_date", "y")],
    *[("m|2", "session", "m2", 20), ("q|1", "email", "q")],
]
LINKS1 = [("cannot_link", "h|2", "h|1", date(2026, 2, 1))]
LINKS2 = [*LINKS1, ("cannot_link", "g|1", "g|2", None), ("must_link", "i|2", "i|1", None)]
LINKS2 += [("must_link", "a|1", "z|9", None)]  # nobody knows z|9
MATCH1 = [("k|1", "k|2", 0.9, "name")]
MATCH2 = [("j|2", "j|1", 0.9, "name"), ("a|1", "b|1", 0.4, "name"), ("one|1", "one|2", 0.99, "name")]
ONE, TWO = date(2026, 1, 31), date(2026, 2, 1)


def people(spark, rows, matches, links, as_of, rules=RULES, members=None, known=None, base=None):
    seen = identifiers(spark, *rows)
    return resolved(
        seen,
        spark.createDataFrame(matches, MATCHES),
        spark.createDataFrame([(kind, a, b, "ann", "seen", until) for kind, a, b, until in links], LINKS),
        spark.createDataFrame([], MEMBERS) if members is None else members,
        spark.createDataFrame([], ANCHORS) if known is None else known,
        rules,
        as_of,
        base,
    )


def said(found) -> dict[str, list]:
    """Every table's rows, sorted."""
    names = ("edges", "components", "violations", "anchors", "members", "changes")
    return {name: sorted(map(str, getattr(found, name).collect())) for name in names}


@pytest.fixture(scope="module")
def runs(spark):
    """(first run, second run from the first, second run in full, the same with rows and partitions in disorder)."""
    first = people(spark, BEFORE, MATCH1, LINKS1, ONE)
    kept = {"members": first.members.localCheckpoint(), "known": first.anchors}
    base = Base(first.components, first.violations.localCheckpoint())
    second = people(spark, NOW, MATCH2, LINKS2, TWO, **kept, base=base)
    never = RULES.model_copy(update={"incremental": "never"})
    full = people(spark, NOW[::-1], MATCH2[::-1], LINKS2[::-1], TWO, never, **kept, base=base)
    return first, second, full


def test_an_incremental_run_equals_a_full_one(runs):
    _, second, full = runs
    assert second.work["incremental"] == 1 and full.work["incremental"] == 0
    assert said(second) == said(full)


def test_an_incremental_run_reads_little_more_than_it_touches(runs):
    _, second, full = runs
    still = {"a|1", "a|2", "k|1", "n|1", "n|2", "one|1", "one|2"}  # but the matches reach k, one
    assert second.work["touched_keys"] <= second.work["keys"] - len(still - {"k|1", "one|1", "one|2"})
    assert second.work["rows_into_components"] < full.work["rows_into_components"]


def test_each_case_has_the_people_it_should(runs):
    who = {row.subject_key: row.person_id for row in runs[1].now.collect()}
    one = {letter for letter in "abdfijm" if who[f"{letter}|1"] == who[f"{letter}|2"]}
    assert one == set("abdfijm")
    assert all(who[f"{letter}|1"] != who[f"{letter}|2"] for letter in "eghkln" if letter != "h")
    assert who["h|1"] == who["h|2"] and who["one|1"] != who["one|2"]
    codes = {(r.subject_key, r.namespace, r.code) for r in runs[1].violations.collect()}
    assert codes == {
        *[(f"e|{n}", "email", "hub_limit") for n in (1, 2, 3, 4)],
        ("g|2", "cookie", "cannot_link"),
        ("h|1", "cannot_link", "expired_rule"),
        ("a|1", "must_link", "unknown_key"),
        ("a|1", "match", "low_score"),
        ("l|2", "cookie", "limit_exceeded"),
        ("n|2", "cookie", "limit_exceeded"),
        ("one|2", "email", "distinct_source"),
        ("one|1", "match", "distinct_source"),
    }


def test_the_ledger_names_what_happened(runs):
    before = {row.subject_key: row.person_id for row in runs[0].now.collect()}
    now = {row.subject_key: row.person_id for row in runs[1].now.collect()}
    told = {(r.change, r.person_id, r.previous_person_id) for r in runs[1].changes.collect()}
    assert ("merged", before["b|1"], before["b|2"]) in told or ("merged", before["b|2"], before["b|1"]) in told
    assert ("split", now["g|2"], now["g|1"]) in told or ("split", now["g|1"], now["g|2"]) in told
    assert ("erased", before["p|1"], None) in told and ("created", now["q|1"], None) in told


def test_what_is_too_large_to_cut_loses_its_weakest_links_only(spark):
    rules = RULES.model_copy(update={"exact_max_links": 3, "distinct_sources": ()})
    rows = [("a|1", "user_id", "u1"), ("a|2", "user_id", "u1"), ("b|1", "user_id", "u2"), ("a|3", "email", "e")]
    rows += [("a|2", "email", "e"), ("a|1", "cookie", "c"), ("b|1", "cookie", "c")]
    found = people(spark, rows, [], [], ONE, rules)
    who = {row.subject_key: row.person_id for row in found.now.collect()}
    assert who["a|1"] == who["a|2"] == who["a|3"] != who["b|1"]
    codes = {(r.subject_key, r.namespace, r.code) for r in found.violations.collect()}
    assert codes == {("a|1", "cookie", "component_too_large"), ("b|1", "cookie", "component_too_large")}


def test_no_identifiers_and_values_that_are_none(spark):
    nothing = people(spark, [("a|1", "email", "x")], [], [], ONE, RULES.model_copy(update={"identifiers": {}}))
    assert nothing.now.count() == 1
    assert [row.code for row in nothing.violations.collect()] == ["unknown_namespace"]
    odd = [("a|1", "email", None), ("a|2", "email", " "), ("a|3", "email", "x" * 1_000_000), ("a|4", "email", "NULL")]
    found = people(spark, odd, [], [], ONE)
    codes = {row.subject_key: (row.code, len(row.value) <= 200) for row in found.violations.collect()}
    blocked = ("blocked_value", True)
    assert codes == {"a|1": blocked, "a|2": blocked, "a|3": ("value_too_long", True), "a|4": blocked}
    assert len({row.person_id for row in found.now.collect()}) == 4


def test_old_ids_lead_to_those_who_have_their_records(spark):
    world, told = World(spark), []
    days = [date(2026, 1, day) for day in (1, 2, 3, 4)]
    groups = [
        {"x": ["a|1"], "y": ["b|1", "b|2"]},
        {"x": ["a|1", "b|1", "b|2"]},
        {"x": ["a|1", "b|2"], "y": ["b|1"]},
        {"x": ["a|1"]},
    ]
    who = []
    for day, parts in zip(days, groups, strict=True):
        now, changes = world.run(day, parts, LANDED)
        who.append(now)
        told += [(change, one, old, day) for change, one, old in changes]
    a, b = who[0]["a|1"], who[0]["b|1"]
    for day, then in zip(days, who, strict=True):
        rows = members_as_of(world.members, day).collect()
        assert {row.subject_key: row.person_id for row in rows} == then
    assert resolve_id(world.members, b, days[0]) == [b] and resolve_id(world.members, b, days[1]) == [a]
    assert resolve_id(world.members, b, days[2]) == [b] and resolve_id(world.members, a) == [a]
    assert resolve_id(world.members, b, date(2020, 1, 1)) == [b]  # before the first run: what that made of it
    with pytest.raises(UnknownIdError, match="none of its records is left"):
        resolve_id(world.members, b)
    with pytest.raises(UnknownIdError, match="no run ever gave"):
        resolve_id(world.members, "p0")
    ledger = spark.createDataFrame(
        told, "change string, person_id string, previous_person_id string, effective_at date"
    )
    found = redirects(ledger).collect()
    assert [tuple(row) for row in found] == [(b, a, days[1], days[2])]


def test_the_newest_run_is_told_by_versions_whatever_clock_a_driver_had(spark, lake):
    from datetime import datetime

    from cdp_spark.identity.state import last_run

    assert spark.createDataFrame([(datetime(2026, 7, 1),)], "at timestamp").first()["at"] == datetime(2026, 7, 1)
    assert spark.sql("SELECT timestamp'2026-07-01T00:00:00Z' AS at").first()["at"] == datetime(2026, 7, 1)
    shape = lake.read("identity.runs").schema
    for day, hour, version in ((2, 5, 9), (3, 4, 10)):  # the second one's clock went back an hour
        row = (date(2026, 1, day), f"run-{day}", datetime(2026, 1, 3, hour), "r", {"identity.members": version}, {},
               None, None)  # fmt: skip
        lake.write("identity.runs", spark.createDataFrame([row], shape), on=date(2026, 1, day))
    assert last_run(lake)["run_id"] == "run-3"


@pytest.mark.slow
def test_a_crash_between_tables_publishes_nothing_and_a_rerun_heals(spark, conf, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    from cdp_spark.identity import resolve as step
    from cdp_spark.identity.state import base_of, last_run, published
    from cdp_spark.job import Job
    from cdp_spark.lake import Lake

    def job(run_id):
        lake = Lake(spark, str(tmp_path / "lake"), conf.tables, run_id=run_id, step="resolve")
        return Job(spark, lake, conf, "conf", "local", date(2026, 1, 30), datetime.now(UTC), run_id, "", "")

    def land(*rows):
        seen = identifiers(spark, *rows).withColumn("source", F.split_part("subject_key", F.lit("|"), F.lit(1)))
        seen = seen.withColumn("record_id", F.split_part("subject_key", F.lit("|"), F.lit(2)))
        job("land").lake.write("silver.identifiers", seen.withColumn("sightings", F.lit(1).cast("bigint")))

    land(("crm|1", "email", "x@example.com"), ("crm|2", "email", "y@example.com"))
    one = job("one")
    step.resolve(one)
    assert base_of(one.lake, conf) is not None
    before = sorted(map(str, published(one.lake, "identity.members").collect()))
    land(("crm|1", "email", "x@example.com"), ("crm|2", "email", "x@example.com"))
    broken, write = job("broken"), Lake.write

    def crash(self, name, frame, **kwargs):
        if name == "identity.changes":
            raise OSError("the disk is gone")
        return write(self, name, frame, **kwargs)

    monkeypatch.setattr(Lake, "write", crash)
    with pytest.raises(OSError, match="disk"):
        step.resolve(broken)
    monkeypatch.undo()
    assert sorted(map(str, published(one.lake, "identity.members").collect())) == before
    assert last_run(one.lake)["run_id"] == "one" and base_of(one.lake, conf) is None
    again = job("again")
    step.resolve(again)
    assert last_run(again.lake)["run_id"] == "again" and base_of(again.lake, conf) is not None
    current = published(again.lake, "identity.members").where("valid_to IS NULL")
    assert current.count() == 2 and current.select("person_id").distinct().count() == 1


PLAIN = Identity.model_validate(
    {"identifiers": {"email": {}, "device": {}, "user_id": {"priority": 1, "limit": "1 ever"}}}
)


def hubs_of(found) -> set[str]:
    return {row.value for row in found.violations.where("code = 'hub_limit'").collect()}


def test_records_that_all_say_the_same_are_one_person_up_to_the_hub_limit(spark):
    few, many = ([(f"s|{n}", "email", "x@a.org") for n in range(size)] for size in (30, 101))
    one, two = people(spark, few, [], [], ONE, PLAIN), people(spark, many, [], [], ONE, PLAIN)
    assert one.now.select("person_id").distinct().count() == 1 and hubs_of(one) == set()
    assert two.now.select("person_id").distinct().count() == 101 and hubs_of(two) == {"x@a.org"}


def test_a_value_on_half_of_all_records_and_a_family_device_merge_nobody(spark):
    rows = [(f"s|{n}", "email", "shop@a.org" if n % 2 else f"{n}@a.org") for n in range(80)]
    rows += [(f"s|{n}", "user_id", f"u{n}") for n in range(4)] + [(f"s|{n}", "device", "tablet", 2) for n in range(4)]
    found = people(spark, rows, [], [], ONE, PLAIN)
    assert hubs_of(found) == {"shop@a.org"}
    assert found.now.select("person_id").distinct().count() == 80


@pytest.mark.parametrize(("usual", "hubs"), [(1, {"shop@a.org"}), (6, set())])
def test_a_hub_is_what_is_rare_among_the_values_of_its_kind(spark, usual, hubs):
    """Fifty records with one e-mail, 1 % of all: a placeholder where others have one, a guest where others have six."""
    rows = [(f"s|{n}", "email", f"{n // usual}@a.org") for n in range(4950)]
    rows += [(f"t|{n}", "email", "shop@a.org") for n in range(50)]
    found = people(spark, rows, [], [], ONE, PLAIN)
    assert hubs_of(found) == hubs
    said = PLAIN.model_copy(update={"max_records": 49})  # what conf says holds, whatever the data make likely
    assert hubs_of(people(spark, rows[-51:], [], [], ONE, said)) == {"shop@a.org"}
    assert hubs_of(people(spark, rows, [], [], ONE, said.model_copy(update={"max_records": 50}))) == set()


def test_a_pair_that_the_matcher_refuses_links_nobody_and_is_told(spark):
    from cdp_spark.identity.pairs import judged_matches

    keys = spark.createDataFrame([("a|1",), ("b|1",), ("b|2",)], "subject_key string")
    rows = [("a|1", "b|1", 9.0, "name", None), ("b|2", "a|1", 8.0, "name", "one_to_one")]
    found = judged_matches(spark.createDataFrame(rows, f"{MATCHES}, refused string"), keys, Identity()).collect()
    assert {(r.subject_key, r.other_key, r.code) for r in found} == {
        ("a|1", "b|1", None),
        ("a|1", "b|2", "one_to_one"),
    }
