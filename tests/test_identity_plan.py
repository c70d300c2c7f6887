"""A plan: what other rules would do to people, audiences and consent, and when that is too much."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from cdp_spark.config.identity import Plan
from cdp_spark.config.source import Identity
from cdp_spark.identity import cli, gate
from cdp_spark.identity.apply import apply
from cdp_spark.identity.ask import explained
from cdp_spark.identity.difference import audiences_changed, beyond, consent_conflicts, moves, people_changed
from cdp_spark.identity.plan import BeyondError, PlanError, name_of, planned, unfit
from cdp_spark.identity.state import last_run, rules_hash
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.lock import RunError
from cdp_spark.pipeline import between
from cdp_spark.runner import refuse_rewind, run_steps
from jobs import match, resolve
from tests.tables import table
from tests.test_identity import identifiers

BEFORE = """
    subject_key string | person_id string
    a/1                | p1
    a/2                | p2
    a/3                | p3
    a/4                | p3
    a/5                | p5
    a/6                | p6
"""
AFTER = """
    subject_key string | person_id string
    a/1                | p1
    a/2                | p1
    a/3                | p3
    a/4                | p4
    a/5                | p5
    a/7                | p7
"""


def test_the_difference_is_told_in_people_audiences_and_consent(spark):
    before, after = (table(spark, text) for text in (BEFORE, AFTER))
    moved = moves(before, after).localCheckpoint()
    assert people_changed(moved) == {"before": 5, "after": 5, "kept": 1, "merged": 1, "split": 1}
    inside = table(
        spark,
        """
        audience string | person_id string
        loyal           | p1
        loyal           | p2
        lapsed          | p3
        lapsed          | p6
    """,
    )
    assert audiences_changed(moved, inside) == {
        "lapsed": {"members": 2, "gained": 1, "lost": 1},
        "loyal": {"members": 2, "gained": 0, "lost": 1},
    }
    state = table(
        spark,
        """
        person_id string | purpose string | granted boolean | consent_id string
        p1               | email          | true            | crm/1
        p2               | email          | false           | crm/2
        p2               | profiling      | false           |
        p1               | profiling      | true            | crm/1
        p3               | email          | true            | crm/3
    """,
    )
    assert consent_conflicts(moved, state) == 1


FOUND = {
    "people": {"before": 100, "merged": 1, "split": 0},
    "largest": [5, 3],
    "audiences": {"loyal": {"members": 100, "gained": 2, "lost": 3}},
    "consent_conflicts": 0,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"people": {"before": 100, "merged": 2, "split": 0}}, "2 of 100 people merged (2.0%; max_merged_share 1.0%)"),
        ({"people": {"before": 100, "merged": 0, "split": 2}}, "people split"),
        ({"largest": [1001]}, "a person of 1001 records (max_cluster 1000)"),
        ({"audiences": {"loyal": {"members": 100, "gained": 5, "lost": 6}}}, "audience loyal: 6.0% of members change"),
        ({"audiences": {"loyal": {"members": 100, "gained": 5, "lost": 5}}}, None),
        ({"audiences": {"few": {"members": 3, "gained": 1, "lost": 1}}}, None),
        ({"audiences": {"few": {"members": 3, "gained": 2, "lost": 0}}}, "audience few: 66.7% of members change"),
        ({"consent_conflicts": 1}, "1 consent conflicts"),
    ],
)
def test_a_plan_beyond_a_threshold_says_which(change, told):
    found = beyond(FOUND | change, Plan())
    assert found == [] if told is None else len(found) == 1 and told in found[0]


def deployment(conf, **said):
    """The shipped deployment with rules of its own."""
    return conf.model_copy(update={"identity": Identity.model_validate(said), "purposes": {}})


def test_only_what_decides_who_is_who_is_a_change_of_rules(conf):
    rules = {"identifiers": {"email": {"limit": "5 annually"}}}
    one = rules_hash(deployment(conf, **rules))
    assert one == rules_hash(deployment(conf, **rules, engine="scipy", incremental="never", plan={"required": True}))
    assert one != rules_hash(deployment(conf, **rules, max_records=7))
    assert one == rules_hash(deployment(conf, **rules, matching={"min_probability": 0.99}))  # it is off


@pytest.mark.parametrize(
    "said", [{"min_probability": 0.99}, {"training": 2}, {"max_block": 9}, {"fields": {"tier": "code"}}]
)
def test_what_decides_of_matching_is_a_rule(conf, said):
    one, off = deployment(conf, matching={"enabled": True}), deployment(conf)
    assert rules_hash(one) not in (rules_hash(off), rules_hash(deployment(conf, matching={"enabled": True} | said)))


def test_another_mapped_column_is_another_rule(conf):
    one = deployment(conf, matching={"enabled": True})
    crm = one.sources["crm"]
    more = crm.model_copy(update={"columns": crm.columns | {"national_id": "id_card"}})
    two = one.model_copy(update={"sources": one.sources | {"crm": more}})
    assert rules_hash(one) != rules_hash(two)
    later = deployment(conf, matching={"enabled": True, "sample_records": 500})  # of use to the next training only
    assert rules_hash(one) == rules_hash(later)


ANYTHING = {"required": True, "max_merged_share": 1, "max_split_share": 1}
LANDED = [
    ("crm|1", "email", "x@a.org"),
    ("crm|2", "email", "x@a.org"),
    ("crm|3", "phone", "7"),
    ("crm|4", "phone", "7"),
]


class Place:
    """A lake with LANDED on which deployments run and plan."""

    def __init__(self, spark, conf, root):
        self.spark, self.root, self.tables = spark, str(root), conf.tables
        self.land(*LANDED)

    def land(self, *rows) -> None:
        seen = identifiers(self.spark, *rows).withColumn("source", F.lit("crm"))
        seen = seen.withColumn("record_id", F.substring("subject_key", 5, 9))
        self.lake("land").write("silver.identifiers", seen.withColumn("sightings", F.lit(1).cast("bigint")))

    def lake(self, run_id: str, step: str = "resolve") -> Lake:
        return Lake(self.spark, self.root, self.tables, run_id=run_id, step=step)

    def job(self, day: int, conf, run_id: str = "") -> Job:
        at, run_id = datetime(2026, 1, day + 1, tzinfo=UTC), run_id or f"run-{day}"
        return Job(self.spark, self.lake(run_id), conf, "", "", date(2026, 1, day), at, run_id, "", "")

    def run(self, day: int, conf) -> dict[str, str]:
        """{record: person} after the step `resolve` of that day."""
        resolve.run(self.job(day, conf))
        return self.people()

    def people(self) -> dict[str, str]:
        rows = self.lake("look").read("identity.members").where("valid_to IS NULL").collect()
        return {row.record_id: row.person_id for row in rows}


@pytest.mark.slow
def test_other_rules_need_a_plan_and_so_does_their_undoing(spark, conf, tmp_path, monkeypatch):
    place = Place(spark, conf, tmp_path / "lake")
    email = {"identifiers": {"email": {}, "phone": {"link": False}}}
    both = {"identifiers": {"email": {}, "phone": {}}}
    old, new = deployment(conf, **email, plan=ANYTHING), deployment(conf, **both, plan=ANYTHING)
    timid = deployment(conf, **both, plan={"required": True})

    def ask(conf):
        monkeypatch.setattr(cli, "opened", lambda *_: (place.lake("plan"), conf))
        return CliRunner().invoke(cli.identity, ["plan", "--conf", "c", "--lake", "l"])

    first = place.run(1, old)
    assert first["1"] == first["2"] and len(set(first.values())) == 3
    for step in (match, resolve):  # which of the two says so: what was matched stays as it was, too
        with pytest.raises(PlanError, match="no plan stands for them: run `cdp identity plan`"):
            step.run(place.job(2, new))
    assert isinstance(ask(timid).exception, BeyondError)
    with pytest.raises(PlanError, match="beyond the thresholds"):
        place.run(2, timid)
    told = json.loads(ask(new).output)
    assert told["beyond"] == [] and told["people"] == {"before": 3, "after": 2, "kept": 1, "merged": 1, "split": 0}
    assert place.run(2, old) == first
    with pytest.raises(PlanError, match="older than the people"):
        place.run(3, new)
    busy = tmp_path / "lake" / "_cdp" / "checkpoints"
    busy.mkdir(parents=True)
    assert ask(new).exit_code == 0 and busy.is_dir()  # a run may be at work in there
    assert not list((tmp_path / "lake" / "_cdp" / "plan-checkpoints").iterdir())
    merged = place.run(3, new)
    assert merged["3"] == merged["4"]
    with pytest.raises(PlanError, match="older than the people|no plan"):
        place.run(4, old)
    assert ask(old).exit_code == 0
    assert place.run(4, old) == first
    ledger = place.lake("look").read("identity.changes").where("effective_at > '2026-01-02'").collect()
    lost, name = ({first["3"], first["4"]} - {merged["3"]}).pop(), merged["3"]
    told = {(row.change, row.person_id, row.previous_person_id, row.effective_at.day) for row in ledger}
    assert told == {("merged", name, lost, 4), ("reactivated", lost, None, 5), ("split", lost, name, 5)}


RUN = {"run_id": "run-1", "recorded_at": datetime(2026, 1, 2), "as_of": date(2026, 1, 2), "approval": None}
STANDS = {"beyond": [], "planned_after": name_of(RUN)}
BEYOND, OLD = STANDS | {"beyond": ["2 of 3 people merged"]}, STANDS | {"planned_after": "run-0 2026-01-01T00:00:00"}
WORD, OLD_WORD = {"approved": {"after": name_of(RUN)}}, {"approved": {"after": OLD["planned_after"]}}


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (None, "no plan stands"),
        (STANDS, None),
        (BEYOND, "beyond the thresholds"),
        (OLD, "older than the people"),
        (BEYOND | WORD, None),
        (OLD | WORD, None),
        (BEYOND | OLD_WORD, "beyond the thresholds"),  # a word is given for the next run, not for ever
    ],
)
def test_a_plan_stands_for_one_run(plan, why):
    found = unfit(plan, RUN)
    assert found is None if why is None else why in found


MERGES = {"people": {"before": 3, "merged": 1, "split": 0}, "largest": [2], "audiences": {}, "consent_conflicts": 0}
SPOKEN = {"approved": {"after": name_of(RUN), "run_id": "mine", "author": "ann", "reason": "one phone"}}


def asking(required: bool, accepted: bool, warned: list[str], as_of: date = date(2026, 1, 3)) -> SimpleNamespace:
    """As much of a job as the gate looks at."""
    conf = SimpleNamespace(identity=Identity(plan=Plan(required=required)))
    known = {"lake": None, "run_id": "mine", "run_at": None, "as_of": as_of}
    return SimpleNamespace(**known, conf=conf, accepted=accepted, warn=warned.append)


def test_a_past_day_says_nothing_of_the_days_after_it_by_other_rules(monkeypatch):
    same = MERGES | {"people": {"before": 3, "merged": 0, "split": 0}}
    known = {"last_run": RUN | {"rules_hash": "old"}, "read_plan": None, "rules_hash": "new", "difference": same}
    for name, answer in (known | {"published": None}).items():
        monkeypatch.setattr(gate, name, lambda *_, answer=answer: answer)
    past, accepted = (asking(False, yes, [], date(2026, 1, 1)) for yes in (False, True))
    with pytest.raises(PlanError, match="says nothing of the days after.*--accept resolve"):
        gate.approval(past, gate.word_for(past), None)
    assert gate.approval(accepted, gate.word_for(accepted), None).startswith("within the thresholds")
    assert gate.approval(asking(False, False, []), gate.Word(True, why="x"), None).startswith("within")


@pytest.mark.parametrize(
    ("rules", "plan", "required", "accepted", "told"),
    [
        ("old", None, True, False, None),
        ("new", STANDS, True, False, "as planned"),
        ("new", BEYOND | SPOKEN, True, False, "by ann: one phone"),
        ("old", BEYOND | SPOKEN, True, False, "by ann: one phone"),  # applied: the steward's rows changed, no rule did
        ("new", None, True, False, PlanError("no plan stands for them: run `cdp identity plan`")),
        ("new", None, False, False, PlanError("1 of 3 people merged (33.3%; max_merged_share 1.0%); no person was")),
        ("new", BEYOND, False, True, "accepted beyond the thresholds (1 of 3 people merged"),
        ("new", None, True, True, "accepted beyond"),
    ],
)
def test_changed_rules_are_committed_by_plan_word_or_threshold(monkeypatch, rules, plan, required, accepted, told):
    known = {"last_run": RUN | {"rules_hash": "old"}, "read_plan": plan, "rules_hash": rules, "difference": MERGES}
    for name, answer in (known | {"published": None}).items():
        monkeypatch.setattr(gate, name, lambda *_, answer=answer: answer)
    warned: list[str] = []
    job = asking(required, accepted, warned)
    if isinstance(told, PlanError):
        with pytest.raises(PlanError, match=re.escape(str(told))):
            gate.approval(job, gate.word_for(job), None)
        return
    word = gate.word_for(job)
    said = gate.approval(job, word, None)
    assert said is told if told is None else said.startswith(told) and said in warned[0]
    assert word.applied == ((plan or {}).get("approved") is not None)


def ledger(place, since: str) -> set[tuple]:
    rows = place.lake("look").read("identity.changes").where(f"effective_at > '{since}'").collect()
    return {(row.change, row.person_id, row.previous_person_id, row.effective_at.day) for row in rows}


@pytest.mark.slow
def test_changed_rules_stop_at_the_thresholds_until_somebody_applies_them(spark, conf, tmp_path):
    place = Place(spark, conf, tmp_path / "lake")
    phones = {"identifiers": {"email": {}, "phone": {}}}
    old = deployment(conf, identifiers={"email": {}, "phone": {"link": False}}, plan=ANYTHING)
    new, lax = deployment(conf, **phones), deployment(conf, **phones, plan=ANYTHING | {"required": False})
    first = place.run(1, old)
    closed = "1 of 3 people merged .33.3%; max_merged_share 1.0%.; no person was changed"
    with pytest.raises(RunError, match=closed) as stopped:  # as in a schedule: no plan, and none required
        run_steps(place.job(2, new), between("resolve", "resolve"))
    assert stopped.value.exit_code == 5
    assert place.people() == first and last_run(place.lake("look"))["run_id"] == "run-1"
    # nobody has planned; the plan goes too far; nobody speaks for it
    with pytest.raises(PlanError, match="no plan stands"):
        apply(place.job(9, new))
    assert planned(place.lake("plan"), new)["beyond"]
    with pytest.raises(PlanError, match="beyond the thresholds: 1 of 3 people merged"):
        apply(place.job(9, new))
    with pytest.raises(PlanError, match="needs --author and --reason"):
        apply(place.job(9, new), "ann", force=True)
    assert place.people() == first
    apply(place.job(9, new, "applied"), "ann", "one phone, one person", force=True)
    merged, run = place.people(), last_run(place.lake("look"))
    name, lost = merged["3"], ({first["3"], first["4"]} - {merged["3"]}).pop()
    assert merged["4"] == name and ledger(place, "2026-01-02") == {("merged", name, lost, 3)}
    assert (run["approval"], run["applied"]) == ("by ann: one phone, one person", True)
    assert explained(place.lake("look"), "crm|3").keys == explained(place.lake("look"), "crm|4").keys
    # what was applied is in force: the day's own run, late as it may be, has the same people and asks nothing
    refuse_rewind(place.job(9, new), date(2026, 1, 1))
    assert place.run(2, new) == merged and ledger(place, "2026-01-02") == {("merged", name, lost, 3)}
    run = last_run(place.lake("look"))  # which replaced the applied one: who spoke for its rules stays known
    assert (run["approval"], run["applied"]) == ("by ann: one phone, one person", False)
    # a plan of other records is old; one within the thresholds needs nobody's word, and undoes what was applied
    planned(place.lake("plan"), old)
    place.land(*LANDED, ("crm|5", "phone", "8"))
    with pytest.raises(PlanError, match="older than what it was made of .silver.identifiers"):
        apply(place.job(9, old))
    planned(place.lake("plan"), old)
    apply(place.job(9, old, "undone"))
    assert {key: place.people()[key] for key in first} == first
    told = {row for row in ledger(place, "2026-01-03") if row[0] != "created"}
    assert told == {("split", lost, name, 4), ("reactivated", lost, None, 4)}
    assert place.run(4, lax)["4"] == name and last_run(place.lake("look"))["approval"].startswith("within the thres")
    unasked = deployment(conf, identifiers={"email": {}, "phone": {"link": False}})
    resolve.run(replace(place.job(5, unasked), accepted=True))  # as `--accept resolve` has it
    assert place.people()["4"] != name and "accepted beyond" in last_run(place.lake("look"))["approval"]


def test_unique_is_a_limit_of_one_for_ever():
    one = Identity.model_validate({"identifiers": {"a": {"unique": True}, "b": {"limit": "1 ever"}}}).identifiers
    assert one["a"].limit == one["b"].limit
    with pytest.raises(ValueError, match="give one of them"):
        Identity.model_validate({"identifiers": {"a": {"unique": True, "limit": "2 ever"}}})
