"""Who is left out and why, in which order, when they came and went, and that nobody gets in by another way."""

from __future__ import annotations

import ast
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from cdp_spark.audiences.build import build
from cdp_spark.audiences.limits import capped, contacts, order
from cdp_spark.audiences.members import changed
from cdp_spark.audiences.write import write
from cdp_spark.config.activation import Audience, Quiet
from cdp_spark.governance.consent import permitted
from jobs import audiences as audiences_job
from tests.conftest import ROOT
from tests.forty import DAY, PEOPLE, on, put, says, with_destinations
from tests.tables import table

BASE = {"description": "", "owner": "", "purpose": "marketing_email", "where": "true"}


def with_audiences(job, **bodies):
    found = {name: Audience.model_validate(BASE | body) for name, body in bodies.items()}
    return type(job)(**{**vars(job), "conf": job.conf.model_copy(update={"audiences": found})})


def test_everybody_is_left_out_for_one_reason(job):
    """p00 said no, p29 nothing; p01-p03 bought, p04 p05 heard enough, p06 is on a list; the best ten of the rest."""
    at = F.lit("2026-05-28").cast("timestamp")
    keys = [(f"crm|{p}", p) for p in PEOPLE]
    people = job.spark.createDataFrame(keys, "subject_key string, record_id string").withColumn("event_time", at)
    buys = people.where("record_id IN ('p01', 'p02', 'p03')").withColumn("status", F.lit("paid"))
    put(job.lake, "silver.orders", buys, on=DAY.replace(day=1))
    mails = people.where("record_id IN ('p04', 'p05')").crossJoin(job.spark.range(3).toDF("n"))
    mails = mails.withColumns({"kind": F.lit("email_sent"), "channel": F.concat(F.lit("c"), "n"),
                               "record_id": F.concat("record_id", "n")})  # fmt: skip
    put(job.lake, "silver.interactions", mails, on=DAY.replace(day=1))
    listed = job.lake.read("silver.consents").where("record_id = 'cp06'")
    listed = listed.withColumns({"purpose": F.lit("rivals"), "status": F.lit("denied"), "record_id": F.lit("l1"),
                                 "ingest_date": F.lit(DAY)})  # fmt: skip
    job.lake.write("silver.consents", listed, on=DAY)
    profiles = job.lake.read("gold.profiles").withColumn("points", F.substring("person_id", 2, 2).cast("double"))
    job.lake.write("gold.profiles", profiles)
    here = with_audiences(
        job,
        vip={"where": "tier = 'gold'", "caps": [{"contacts": 3, "days": 7}], "competes": "mail", "priority": 1,
             "exclude": {"bought_days": 14, "suppression": ["rivals"]}, "seed": {"by": "points", "size": 10}},
        rest={"competes": "mail", "priority": 2},
        quiet={"where": "points < 12", "exclude": {"audiences": ["vip"]}, "min_size": 100},
    )  # fmt: skip
    built = build(here)
    found = {(r["audience"], r["outcome"], r["people"]) for r in built.funnels.collect() if r["people"]}
    assert found == {
        ("vip", "condition", 10), ("vip", "permission", 2), ("vip", "cap", 2), ("vip", "exclusion", 4),
        ("vip", "seed", 12), ("vip", "member", 10),
        ("rest", "permission", 2), ("rest", "priority", 10), ("rest", "member", 28),
        ("quiet", "condition", 28), ("quiet", "permission", 1), ("quiet", "min_size", 11),
    }  # fmt: skip
    inside = {r["person_id"] for r in built.members.where("audience = 'vip'").collect()}
    assert inside == {f"p{i}" for i in range(19, 29)}
    assert not {r["audience"] for r in built.members.collect()} - {"vip", "rest"}


@pytest.mark.parametrize("channel", ["email", None])
def test_one_run_contacts_nobody_more_often_than_the_cap(job, channel):
    """Who is new in one audience today, and is written to, has had a contact when the next one is judged."""
    fields = {"person_id": {"column": "person_id"}}
    here = with_destinations(job, {"crm": {"fields": fields, "channel": channel, "audiences": ["first"]}})
    here = with_audiences(here, first={"where": "tier = 'gold'", "priority": 1, "holdout": 0.2},
                          then={"priority": 2, "caps": [{"contacts": 1, "days": 7}]})  # fmt: skip
    rows = build(here).funnels.where("people > 0").collect()
    found = {(row["audience"], row["outcome"]): row["people"] for row in rows}
    addressed = found["first", "member"]
    assert found.get(("then", "cap"), 0) == (addressed if channel else 0) and 0 < addressed < 28


def test_who_came_and_went_and_why(job):
    days = [DAY + timedelta(n) for n in range(3)]
    audiences_job.run(job)
    profiles = job.lake.read("gold.profiles")
    tier = F.when(F.col("person_id") == "p02", "tin").otherwise(F.col("tier"))
    job.lake.write("gold.profiles", profiles.withColumn("tier", tier).where("person_id <> 'p03'"))
    says(job, "p01", "withdrawn", days[1])
    audiences_job.run(on(job, days[1]))
    says(job, "p01", "granted", days[2])
    for _ in range(2):  # a second run of a day says the same
        audiences_job.run(on(job, days[2]))
    rows = job.lake.read("activation.changes").collect()
    told = {(str(r["as_of"]), r["person_id"], r["change"], r["reason"]) for r in rows if r["as_of"] != job.as_of}
    assert told == {
        ("2026-06-02", "p01", "exited", "permission"),
        ("2026-06-02", "p02", "exited", "condition"),
        ("2026-06-02", "p03", "exited", "gone"),
        ("2026-06-03", "p01", "entered", "permission"),
    }
    assert {r["reason"] for r in rows if r["as_of"] == job.as_of} == {"first"}
    assert sum(r["as_of"] == job.as_of for r in rows) == 28


def test_the_writer_shuts_out_who_may_not_be_addressed(job):
    """Rows of somebody who was judged fit before the word came: the writer asks again."""
    built = build(job)
    built = built._replace(members=built.members.localCheckpoint())
    says(job, "p10", "withdrawn", DAY)
    write(job, built)
    inside = {r["person_id"] for r in job.lake.read("activation.members").where("left IS NULL").collect()}
    assert len(inside) == 27 and "p10" not in inside


def test_permitted_asks_for_the_purpose_of_each_row(spark):
    rows = table(spark, "person_id string | purpose string\n ann | mail\n ann | ads\n bob | mail\n cyn | mail")
    state = table(spark, "person_id string | purpose string | granted boolean\n ann | mail | true\n bob | mail | false")
    assert [tuple(r) for r in permitted(rows, state).collect()] == [("ann", "mail")]


def test_contacts_count_days_and_channels_and_follow_merges(spark):
    interactions = table(
        spark,
        """
        subject_key string | kind string | channel string | event_time timestamp | deleted boolean
        k1                 | email_sent  | email          | 2026-05-30           | false
        k1                 | email_sent  | email          | 2026-05-30           | false
        k1                 | email_open  | email          | 2026-05-29           | false
        k1                 | sms_sent    |                | 2026-05-30           | false
        k2                 | email_sent  | email          | 2026-05-31           | false
        """,
    )
    members = table(
        spark,
        """
        subject_key string | person_id string | valid_from date | valid_to date
        k1                 | ann              | 2026-01-01      |
        k2                 | old              | 2026-01-01      | 2026-05-01
        k2                 | ann              | 2026-05-01      |
        """,
    )
    sent = table(
        spark,
        "destination string | delivery_id string | sequence int | audience string | op string | person_id string | "
        "row_id string\n crm | d1 | 1 | a | add | old | r1\n crm | d2 | 4 | a | add | ann | r3\n"
        "ads | d1 | 1 | a | add | ann | r1\n crm | d3 | 2 | a | remove | ann | r1\n crm | d3 | 2 | a | add | ann | r2\n"
        "crm | d4 | 3 | a | add | ann | r2",
    )
    deliveries = table(
        spark,
        "destination string | delivery_id string | status string | date date\n crm | d1 | confirmed | 2026-05-20\n"
        "crm | d3 | confirmed | 2026-05-21\n crm | d4 | confirmed | 2026-05-22\n"  # a new address; the list anew
        "crm | d2 | confirmed | 2026-05-31\n ads | d1 | confirmed | 2026-05-20",
    )
    found = contacts(interactions, sent, deliveries, members, {"crm": "email"}, DAY)
    assert {(r["person_id"], str(r["day"]), r["channel"]) for r in found.collect()} == {
        ("ann", "2026-05-30", "email"), ("ann", "2026-05-30", "sms_sent"), ("ann", "2026-05-20", "email"),
    }  # fmt: skip
    caps = [Audience.model_validate(BASE | {"caps": [{"contacts": n, "days": d}]}).caps for n, d in ((3, 30), (3, 7))]
    assert [capped(found, cap, DAY).count() for cap in caps] == [1, 0]


@pytest.mark.parametrize(
    ("start", "end", "zone", "hours"),
    [
        ("21:00", "08:00", "UTC", {21, 22, 23, 0, 1, 2, 3, 4, 5, 6, 7}),
        ("12:00", "14:00", "UTC", {12, 13}),
        ("12:00", "14:00", "Europe/Berlin", {10, 11}),
    ],
)
def test_quiet_hours(start, end, zone, hours):
    quiet = Quiet(start=start, end=end, zone=zone)
    assert {h for h in range(24) if quiet.holds(datetime(2026, 6, 1, h, tzinfo=UTC))} == hours


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ({"a": {"exclude": {"audiences": ["b"]}, "priority": 1}, "b": {"priority": 9}, "c": {"priority": 5}}, "cba"),
        # a has to wait for d, and b, of the larger priority, waits for its rival a
        ({"a": {"exclude": {"audiences": ["d"]}, "priority": 1, "competes": "mail"}, "d": {"priority": 9},
          "b": {"priority": 3, "competes": "mail"}, "c": {"priority": 4}}, "cdab"),
        # a excludes its own rival of a larger priority: the exclusion holds
        ({"a": {"exclude": {"audiences": ["b"]}, "priority": 1, "competes": "mail"},
          "b": {"priority": 3, "competes": "mail"}}, "ba"),
        ({"b": {}, "a": {}}, "ab"),
    ],
)  # fmt: skip
def test_audiences_follow_those_they_exclude_and_their_rivals_of_a_smaller_priority(bodies, expected):
    found = {name: Audience.model_validate(BASE | body) for name, body in bodies.items()}
    assert order(found) == list(expected)


def test_why_somebody_came_or_went_tells_merges_erasures_and_arms(spark):
    """old became a part of whole; lost is nobody's now; moved was drawn anew; capped is no longer; few were left."""
    now = table(
        spark,
        """
        audience string | person_id string | since date | left date  | arm string | purpose string | consent_id string
        a               | whole            | 2026-06-01 |            | treatment  | mail           | c
        a               | old              | 2026-05-01 | 2026-06-01 | treatment  | mail           | c
        a               | lost             | 2026-05-01 | 2026-06-01 | treatment  | mail           | c
        a               | moved            | 2026-05-01 |            | holdout    | mail           | c
        a               | capped           | 2026-06-01 |            | treatment  | mail           | c
        a               | new              | 2026-06-01 |            | holdout    | mail           | c
        a               | said             | 2026-05-01 | 2026-06-01 | treatment  | mail           | c
        few             | said             | 2026-05-01 | 2026-06-01 | treatment  | mail           | c
    """,
    )
    named = "audience string | person_id string | outcome string"
    outcomes = table(spark, f"{named}\n a | said | member\n few | said | member")
    past = table(
        spark,
        """
        as_of date | audience string | person_id string | change string | reason string | arm string
        2026-05-01 | a               | old              | entered       | first         | treatment
        2026-05-01 | a               | moved            | exited        | cap           | holdout
        2026-05-01 | a               | moved            | entered       | cap           | treatment
        2026-05-01 | a               | capped           | entered       | first         | treatment
        2026-05-09 | a               | capped           | exited        | cap           | treatment
        2026-06-01 | a               | new              | entered       | wrong         | treatment
    """,
    )
    same = [(who, who) for who in ("whole", "moved", "capped", "said", "new")]
    heirs = spark.createDataFrame([("old", "whole"), *same], "person_id string, now string")
    found = changed(now, outcomes, past, heirs, ["few"], date(2026, 6, 1)).collect()
    assert {(r["audience"], r["person_id"], r["change"], r["reason"], r["arm"]) for r in found} == {
        ("a", "whole", "entered", "merged", "treatment"), ("a", "old", "exited", "merged", "treatment"),
        ("a", "lost", "exited", "erased", "treatment"), ("a", "moved", "exited", "holdout", "treatment"),
        ("a", "moved", "entered", "holdout", "holdout"), ("a", "capped", "entered", "cap", "treatment"),
        ("a", "new", "entered", "first", "holdout"), ("a", "said", "exited", "permission", "treatment"),
        ("few", "said", "exited", "min_size", "treatment"),
    }  # fmt: skip
    assert len(found) == 9


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [c for c in found if getattr(c.func, "attr", getattr(c.func, "id", None)) == name]


def functions_with(predicate) -> set[str]:
    found = set()
    for package in ("cdp_spark", "ml", "jobs"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in tree.body:
                if predicate(node):
                    found.add(f"{path.relative_to(ROOT)}:{getattr(node, 'name', 'module')}")
    return found


def writes(*tables: str):
    def predicate(node) -> bool:
        first = [c.args[0] for c in calls(node, "write") if c.args]
        return any(isinstance(arg, ast.Constant) and arg.value in tables for arg in first)

    return predicate


def written_under_a_name_made_up(node) -> bool:
    to_lake = [c for c in calls(node, "write") if c.args and ast.unparse(c.func).endswith("lake.write")]
    return any(not isinstance(c.args[0], ast.Constant) for c in to_lake)


def test_members_and_deliveries_have_one_way_in():
    """The writer of members asks for permission itself; rows leave only through `plan`, which does so too."""
    writer = {"cdp_spark/audiences/write.py:write"}
    assert functions_with(writes("activation.members", "activation.changes")) == writer
    source = ast.parse((ROOT / "cdp_spark/audiences/write.py").read_text())
    assert calls(source, "permitted") and calls(source, "permission")
    deliver = "cdp_spark/activation/deliver.py"
    assert functions_with(writes("activation.sent")) == {f"{deliver}:_make", f"{deliver}:_post"}
    plan = "cdp_spark/activation/plan.py"

    def makers(name: str) -> set[str]:  # a matching run has a plan too, which is another thing
        made = functions_with(lambda node: not isinstance(node, ast.ClassDef) and bool(calls(node, name)))
        return {at for at in made if not at.startswith("cdp_spark/identity/")}

    assert makers("Plan") == {f"{plan}:_planned"}
    assert makers("_planned") == {f"{plan}:plan", f"{plan}:withdrawn"}
    tree = ast.parse((ROOT / plan).read_text())
    bodies = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert calls(bodies["plan"], "members") and calls(bodies["plan"], "_due") and calls(bodies["_due"], "actions")
    assert calls(bodies["members"], "_known") and calls(bodies["actions"], "_known")
    assert calls(bodies["_known"], "consented")
    # what only takes back adds nobody, but to a list that is told anew: of who still says yes
    assert calls(bodies["withdrawn"], "_allowed") and calls(bodies["_allowed"], "consented")
    (now,) = [c for c in calls(bodies["withdrawn"], "content") if calls(c, "_as_before")]
    assert calls(now, "_known")
    # and the writer of actions asks like that of members
    actor = {"cdp_spark/audiences/act.py:write"}
    assert functions_with(writes("activation.actions")) == actor
    source = ast.parse((ROOT / "cdp_spark/audiences/act.py").read_text())
    acts = next(node for node in source.body if getattr(node, "name", "") == "write")
    assert calls(acts, "permitted") and calls(acts, "permission")
    # no table is written under a name that cannot be read here, but those of identity, bronze, silver and ml
    assert functions_with(written_under_a_name_made_up) == {
        "cdp_spark/identity/resolve.py:resolve",
        "cdp_spark/sources/ingest.py:write_rows",
        "cdp_spark/silver/build.py:_write_entity",
        "ml/stale.py:mark_stale",
    }
    # what turns rows into files or requests is called from nowhere else
    for name, users in {"manifest": {f"{deliver}:_make"}, "send": {f"{deliver}:_sent"}}.items():
        assert functions_with(lambda node, name=name: bool(calls(node, name))) == users
    openers = functions_with(lambda node: bool(calls(node, "urlopen")))
    assert openers - {"cdp_spark/jars.py:download", "cdp_spark/jars.py:_download"} <= {
        "cdp_spark/activation/http.py:_once"
    } | {name for name in openers if name.startswith("cdp_spark/jars.py")}
