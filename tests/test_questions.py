"""What the commands answer: why somebody was addressed, what an audience would be, what it changed, and drift."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from cdp_spark.activation.drift import drift
from cdp_spark.activation.ledger import held, valued
from cdp_spark.activation.policy import policy
from cdp_spark.audiences.cli import audience
from cdp_spark.audiences.lift import LiftError
from cdp_spark.audiences.measure import lift
from cdp_spark.audiences.preview import preview
from cdp_spark.config.activation import Audience, Destination
from cdp_spark.governance.trace import persons, trace
from jobs import audiences as audiences_job
from jobs import deliver as deliver_job
from tests.forty import DAY, PEOPLE, put, sha
from tests.lakes import resolved_as_it_stands
from tests.tables import table


def test_an_export_row_leads_back_to_its_fact(job):
    resolved_as_it_stands(job.lake, DAY)
    audiences_job.run(job)
    deliver_job.run(job)
    assert persons(job, sha("p05@x.org")) == persons(job, "crm|p05") == persons(job, "p05") == ["p05"]
    assert persons(job, "nobody") == []
    found = trace(job, "p05")
    asked = {row["purpose"]: row for row in found["purposes"]}
    assert asked["marketing_email"]["granted"] and asked["marketing_email"]["decided_by"] == "crm|cp05"
    assert not asked["advertising"]["granted"]
    assert [(f["record_id"], f["stands"], f["value"]) for f in found["facts"]] == [("cp05", True, "p***")]
    assert [(a["audience"], a["consent_id"]) for a in found["audiences"]] == [("vip", "crm|cp05")]
    assert {(s["destination"], s["op"]) for s in found["sent"]} == {("ads", "add"), ("crm", "add")}
    assert "@x.org" not in json.dumps(found, default=str)
    early = trace(job, "p05", datetime(2026, 4, 1, tzinfo=UTC))  # the fact became known in May
    assert early["facts"] == [] and not any(p["granted"] for p in early["purposes"] if p["basis"] == "consent")


def test_a_preview_writes_nothing(job):
    profiles = job.lake.read("gold.profiles").withColumn("points", F.when(F.col("tier") == "gold", 10.0).otherwise(0.0))
    job.lake.write("gold.profiles", profiles)
    found = preview(job, "vip")
    assert found["funnel"]["member"] == 28 and sum(found["funnel"].values()) == len(PEOPLE)
    assert found["profile"][0] == {"column": "points", "members": 10.0, "everyone": 7.5}
    assert not job.lake.exists("activation.members") and not job.lake.exists("activation.funnels")


def entries(job, arms: list[str]) -> None:
    """p00, p01, ... entered on 1 May in these arms."""
    rows = [(p, arm, date(2026, 5, 1)) for p, arm in zip(PEOPLE, arms, strict=False)]
    frame = job.spark.createDataFrame(rows, "person_id string, arm string, as_of date")
    frame = frame.withColumns({"audience": F.lit("vip"), "change": F.lit("entered")})
    put(job.lake, "activation.changes", frame, on=date(2026, 5, 1))


def test_lift_counts_what_was_bought_in_time_and_leaves_out_who_was_in_both_arms(job):
    entries(job, ["treatment"] * 20 + ["holdout"] * 20)
    buys = [
        (f"crm|p{i:02}", f"o{i}", 10.0, f"2026-05-{day:02}") for i, day in ((2, 1), (3, 10), (4, 31), (25, 5), (6, 2))
    ]
    orders = job.spark.createDataFrame(buys, "subject_key string, order_id string, amount double, event_time string")
    orders = orders.withColumns({"event_time": F.col("event_time").cast("timestamp"), "status": F.lit("paid"),
                                 "record_id": F.col("order_id"), "deleted": F.col("order_id") == "o6"})  # fmt: skip
    put(job.lake, "silver.orders", orders, on=DAY.replace(day=1))
    members = job.lake.read("identity.members")
    into = F.when(F.col("person_id") == "p39", "p19").otherwise(F.col("person_id"))  # a holdout became a treated one
    old = members.where("person_id = 'p39'").withColumn("valid_to", F.lit(DAY))
    new = members.withColumn("person_id", into)
    starts = F.when(F.col("subject_key") == "crm|p39", F.lit(DAY)).otherwise(F.col("valid_from"))
    job.lake.write("identity.members", new.withColumn("valid_from", starts).unionByName(old))
    rule = job.conf.audiences["vip"].model_copy(update={"holdout": 0.5})
    here = replace(job, conf=job.conf.model_copy(update={"audiences": {"vip": rule}}))
    found = lift(here, "vip", "spend", 30)
    assert (found.effect.n, found.effect.control_n, found.mixed) == (19, 19, 1)
    assert found.effect.mean == pytest.approx(20 / 19) and found.effect.control_mean == pytest.approx(10 / 19)
    assert found.ratio.verdict == "fair"
    skewed = replace(job, conf=job.conf.model_copy(update={"audiences": {"vip": Audience.model_validate(
        rule.model_dump() | {"holdout": 0.1})}}))  # fmt: skip
    with pytest.raises(LiftError, match="the split is broken"):
        lift(skewed, "vip", "conversion", 30)
    with pytest.raises(LiftError, match="too early"):
        lift(here, "vip", "spend", 300)


def test_drift_is_found(job):
    audiences_job.run(job)
    deliver_job.run(job)
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    ours = valued(held(sent, deliveries, "ads", seen_before_confirmed=False), sent, "ads")
    there = job.spark.createDataFrame([(sha(f"p{i:02}@x.org"),) for i in (*range(3, 29), 99)], "email string")
    found = drift(ours, there, job.conf.destinations["ads"])
    assert found == {"vip": {"email": {"held": 27, "missing": 1, "unexpected": 1}}}


def test_drift_is_told_by_audience(spark):
    """Two lists of the same two people: the receiver has one of them on the wrong list."""
    spec = Destination.model_validate({
        "description": "", "protocol": "s3_files", "audiences": ["a", "b"], "prefix": "x", "sync": "mirror",
        "fields": {"list": {"column": "audience"}, "id": {"column": "person_id"}}})  # fmt: skip
    held = table(spark, "audience string | id string\n a | p1\n b | p2")
    held = held.select("audience", F.lit(True).alias("sure"), F.create_map(F.lit("id"), "id").alias("values"))
    there = table(spark, "list string | id string\n a | p1\n a | p2\n c | p3")
    nothing = {"held": 0, "missing": 0, "unexpected": 0}
    assert drift(held, there, spec) == {
        "a": {"id": nothing | {"held": 1, "unexpected": 1}},
        "b": {"id": nothing | {"held": 1, "missing": 1}},
        "c": {"id": nothing | {"unexpected": 1}},
    }


def test_a_policy_allows_no_more_than_the_prefix():
    writer, reader = policy("s3://bucket/exports", reader=False), policy("s3a://bucket/exports/", reader=True)
    assert writer["Statement"][1]["Resource"] == ["arn:aws:s3:::bucket/exports/*"]
    assert reader["Statement"][1]["Action"] == ["s3:GetObject"]
    assert not any("*" in action for one in writer["Statement"] for action in one["Action"])
    keyed = policy("s3://out", reader=True, kms_key="arn:aws:kms:eu-west-1:1:key/k")["Statement"][-1]
    assert keyed["Action"] == ["kms:Decrypt"] and keyed["Resource"] == ["arn:aws:kms:eu-west-1:1:key/k"]
    done = CliRunner().invoke(audience, ["policy", "--exports", "/tmp/x"])
    assert done.exit_code == 2 and "is no s3://bucket/prefix" in done.output
