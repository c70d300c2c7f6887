"""A no holds on the same day: also where a gate is closed, a step fails, or a merge puts somebody into the holdout."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all, take_back
from cdp_spark.audiences.members import held_out
from cdp_spark.config.models import Gates
from cdp_spark.governance import gates
from cdp_spark.lock import RunError
from cdp_spark.pipeline import STEPS, keeps_back
from cdp_spark.runner import run_steps
from jobs import audiences as audiences_job
from tests.forty import DAY, PEOPLE, RULE, on, put, says, with_destinations
from tests.reader import holds, manifests
from tests.receiver import HOW, receiver  # noqa: F401  a fixture

ID = {"person_id": {"column": "person_id"}, "points": {"column": "points"}}
EVERYBODY = set(PEOPLE[1:29])
LAST = [step for step in STEPS if step.name in ("audiences", "deliver")]


def who(job, name: str) -> set[str]:
    return {
        row["person_id"] for row in holds(lambda key: (Path(job.exports) / name / key).read_bytes(), ("person_id",))
    }


def gated(job):
    gates = Gates(members_changed_max=0.1, min_before=10)
    return replace(job, conf=job.conf.model_copy(update={"base": job.conf.base.model_copy(update={"gates": gates})}))


def merged(job, person: str, into: str, day) -> None:
    """The records of `person` are a part of `into` from `day` on."""
    rows = job.lake.read("identity.members")
    mine = rows.where(F.col("person_id") == person)
    new = mine.withColumns({"person_id": F.lit(into), "valid_from": F.lit(day)})
    rest = rows.where(F.col("person_id") != person)
    job.lake.write("identity.members", rest.unionByName(mine.withColumn("valid_to", F.lit(day))).unionByName(new))


def test_who_withdrew_is_removed_behind_a_closed_gate_and_after_a_step_that_failed(job, receiver):
    """Half of the audience is gone and new people match: that waits for somebody's word. Withdrawals do not wait."""
    post = {"protocol": "http", "sync": "mirror", "http": HOW | {"endpoint": "crm"}}
    bodies = {"list": {}, "ads": {"sync": "mirror"}, "mail": {"sync": "upsert"}, "post": post}
    here = gated(with_destinations(job, {name: body | {"fields": ID} for name, body in bodies.items()},
                                   endpoints={"crm": receiver["url"]}))  # fmt: skip
    run_steps(here, LAST)
    assert [who(here, name) for name in ("list", "ads", "mail")] == [EVERYBODY] * 3
    day = on(here, DAY + timedelta(1))
    says(day, "p05", "withdrawn", day.date)
    tier = F.when(F.col("person_id") < "p10", F.lit("tin")).when(F.col("person_id") > "p35", F.lit("gold"))
    profiles = job.lake.read("gold.profiles")
    job.lake.write("gold.profiles", profiles.withColumn("tier", F.coalesce(tier, "tier")))
    before = len(receiver["taken"])
    row = ("r", DAY, job.run_at.replace(tzinfo=None), "published", "h", None, {}, [], [])
    job.lake.write("governance.runs", job.spark.createDataFrame([row], job.lake.read("governance.runs").schema))
    with pytest.raises(RunError, match="gate closed: audience vip went from 28 to .*withdrawn is taken out") as error:
        run_steps(day, LAST)
    assert error.value.exit_code == 5
    assert [who(here, name) for name in ("list", "ads", "mail")] == [EVERYBODY - {"p05"}] * 3
    assert [(op, row["person_id"]) for op, row in receiver["taken"][before:]] == [("remove", "p05")]
    sums = {
        name: len(manifests(lambda key, n=name: (Path(here.exports) / n / key).read_bytes()))
        for name in bodies
        if name != "post"
    }
    take_back(day)  # nobody is left to go: no delivery is made
    assert sums == {
        name: len(manifests(lambda key, n=name: (Path(here.exports) / n / key).read_bytes())) for name in sums
    }
    broken = RULE.model_copy(update={"where": "no_such_feature > 3"})  # the step dies
    third = on(replace(day, conf=day.conf.model_copy(update={"audiences": {"vip": broken}})), DAY + timedelta(2))
    says(third, "p20", "withdrawn", third.date)
    merged(third, "p21", "p00", third.date)  # of whom p00 had said no
    with pytest.raises(RunError, match="step audiences failed"):
        run_steps(third, LAST)
    assert [who(here, name) for name in ("list", "ads", "mail")] == [EVERYBODY - {"p05", "p20", "p21"}] * 3
    whole = on(here, DAY + timedelta(3))
    audiences_job.run(whole)
    deliver_all(whole)
    now = {p for p in EVERYBODY if p > "p09"} - {"p20", "p21"} | set(PEOPLE[36:])
    assert [who(here, name) for name in ("list", "ads")] == [now] * 2
    assert who(here, "mail") == now | {p for p in EVERYBODY if p < "p10"} - {"p05"}
    rest = replace(whole, warnings=[], conf=whole.conf.model_copy(update={"destinations": {}}))
    deliver_all(rest)  # taken out of the deployment with all that they hold
    assert [line.split(": ")[1] for line in rest.warnings] == ["ads", "list", "mail", "post"]


def test_a_whole_list_keeps_its_values_where_the_features_of_the_day_are_not_there(job):
    fields = {"person_id": {"column": "person_id"}, "orders": {"column": "orders_30d"}}
    here = with_destinations(job, {"list": {"fields": fields}})
    rows = job.lake.read("gold.profiles").select("person_id").withColumn("orders_30d", F.lit(3.0))
    put(job.lake, "gold.features", rows.withColumn("as_of", F.lit(here.as_of)), on=here.as_of)
    audiences_job.run(here)
    deliver_all(here)
    day = on(here, DAY + timedelta(1))
    says(day, "p05", "withdrawn", day.date)
    take_back(day)
    last = manifests(lambda key: (Path(here.exports) / "list" / key).read_bytes())[-1]
    told = "".join((Path(here.exports) / "list" / f["path"]).read_text() for f in last["files"])
    assert sorted(told.split()) == sorted(["person_id,orders", *(f"{p},3.0" for p in EVERYBODY - {"p05"})])


def test_behind_a_closed_gate_of_identity_a_no_is_that_of_the_published_people(job, monkeypatch):
    """A mass merge that waits for somebody's word: p21 would be a part of p00, who had said no. A word still counts."""
    here = with_destinations(job, {"list": {"fields": ID}})
    audiences_job.run(here)
    deliver_all(here)
    day = on(here, DAY + timedelta(1))
    monkeypatch.setattr("jobs.resolve.run", lambda job: merged(job, "p21", "p00", job.as_of))
    monkeypatch.setitem(gates.GATES, "resolve", lambda job: ["people merged"])
    says(day, "p05", "withdrawn", day.date)
    with pytest.raises(RunError, match="people merged"):
        run_steps(day, [step for step in STEPS if step.name in ("resolve", "deliver")])
    assert who(here, "list") == EVERYBODY - {"p05"}


def test_what_keeps_deliveries_back():
    by_name, whole = {step.name: step for step in STEPS}, list(STEPS)
    back = {step.name for step in STEPS if keeps_back(step, whole)}
    assert {"resolve", "profile", "features", "score", "audiences", "journeys"} <= back
    assert not back & {"ingest", "standardise", "kpis", "health", "deliver", "effect", "publish"}
    alone = {name for name, step in by_name.items() if keeps_back(step, [step])}  # spark-submit, Airflow
    assert {"resolve", "audiences", "journeys"} <= alone and "train" not in alone
    assert not keeps_back(by_name["resolve"], whole[: whole.index(by_name["resolve"]) + 1])  # --to resolve


def test_upsert_removes_who_was_merged_into_the_holdout(job):
    """p06 was treated; the person they turn out to be is held out. It is not reached any more, member or not."""
    rule = RULE.model_copy(update={"holdout": 0.3})
    here = with_destinations(job, {"mail": {"sync": "upsert", "fields": ID}})
    here = replace(here, conf=here.conf.model_copy(update={"audiences": {"vip": rule}}))
    drawn = job.spark.createDataFrame([(p,) for p in PEOPLE[1:29]], "person_id string").where(held_out("vip", 0.3))
    held = sorted(row["person_id"] for row in drawn.collect())
    treated = sorted(EVERYBODY - set(held))
    audiences_job.run(here)
    deliver_all(here)
    assert who(here, "mail") == set(treated)
    day = on(here, DAY + timedelta(1))
    merged(day, treated[0], held[0], day.date)
    merged(day, treated[1], held[1], day.date)
    profiles = job.lake.read("gold.profiles").where(~F.col("person_id").isin(*treated[:2]))
    tier = F.when(F.col("person_id") == held[1], F.lit("tin")).otherwise(F.col("tier"))  # who is in no audience now
    job.lake.write("gold.profiles", profiles.withColumn("tier", tier))
    audiences_job.run(day)
    deliver_all(day)
    assert who(here, "mail") == set(treated[2:])
