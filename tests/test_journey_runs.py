"""A journey in a lake, day after day: what was acted on, sent and received."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.config.acting import problems
from cdp_spark.config.activation import Cap, Destination, Quiet
from cdp_spark.config.journeys import Journey, Offer
from jobs import audiences as audiences_job
from jobs import journeys as journeys_job
from tests.forty import DAY, PEOPLE, on, put, says, with_destinations
from tests.test_journeys import BASE

JOURNEY = """
description: ""
owner: ""
purpose: marketing_email
audience: vip
steps:
  hello: {send: hello, to: crm}
  pause: {wait: 2 days}
  bought: {branch: silver.orders, where: "status = 'paid'", then: end}
  tempt: {offer: [small, big], to: crm}
  end: {leave: came_back}
"""


@pytest.fixture
def walking(job):
    """Forty people, of whom vip's journey acts on p01 to p28 through one file destination."""
    fields = {name: {"column": name} for name in ("action_id", "action", "person_id", "email")}
    body = {"sync": "upsert", "audiences": [], "journeys": ["j"], "format": "json", "fields": fields,
            "channel": "email", "may_leave": ["none", "pseudonym", "direct"]}  # fmt: skip
    offers = {"small": Offer(description="", score="1", value=1),
              "big": Offer(description="", score="1", value=5, where="points > 10")}  # fmt: skip
    journeys = {"j": Journey.model_validate(yaml.safe_load(JOURNEY)), "late": Journey.model_validate(
        BASE | {"priority": 200, "steps": {"s": {"send": "late", "to": "crm"}}})}  # fmt: skip
    body["journeys"] = list(journeys)
    body["fields"] |= {"journey": {"column": "audience"}}
    job = replace(job, conf=job.conf.model_copy(update={"journeys": journeys, "offers": offers}))
    profiles = job.lake.read("gold.profiles").withColumn("points", F.substring("person_id", 2, 2).cast("double"))
    job.lake.write("gold.profiles", profiles)
    job = with_destinations(job, {"crm": body})
    assert problems(job.conf, Path("conf")) == []
    return job


def run(job) -> None:
    journeys_job.run(job)
    deliver_all(job)


def received(job) -> list[dict]:
    """All that a receiver was told so far, who follows the pointer back to the first manifest."""
    root, found = Path(job.exports) / "crm", []
    told = json.loads((root / "latest.json").read_text())
    while told:
        manifest = json.loads((root / told["manifest"]).read_text())
        lines = [(f["operation"], json.loads(line)) for f in manifest["files"]
                 for line in (root / f["path"]).read_text().splitlines()]  # fmt: skip
        found = [{"op": op} | row for op, row in lines] + found
        told = manifest["previous"]
    return found


@pytest.mark.slow
def test_a_journey_acts_waits_branches_and_leaves(walking):
    """Four days: each action once, also in reruns; who withdraws is removed before anything is added."""
    job = walking
    audiences_job.run(job)
    run(job)
    first = received(job)
    assert {(r["op"], r["action"]) for r in first} == {("upsert", "hello")}
    assert {r["person_id"] for r in first} == set(PEOPLE[1:29]) and len(first) == 28
    tables = [sorted(map(str, job.lake.read(f"activation.{name}").collect())) for name in ("actions", "journeys")]
    run(job)  # the same day again
    assert received(job) == first
    assert tables == [sorted(map(str, job.lake.read(f"activation.{n}").collect())) for n in ("actions", "journeys")]
    third, fourth = on(job, DAY + timedelta(2)), on(job, DAY + timedelta(3))
    says(job, "p05", "withdrawn", third.date)
    buys = job.spark.createDataFrame([("crm|p06", "o1", "paid")], "subject_key string, record_id string, status string")
    put(job.lake, "silver.orders", buys.withColumn("event_time", F.lit(f"{third.date}").cast("timestamp")).withColumn(
        "known_at", F.col("event_time")), on=DAY.replace(day=1))  # fmt: skip
    journeys_job.run(third)  # the wait is over; and the delivery of that day fails
    run(fourth)  # what could not be delivered a day ago goes now; what the other journey wants waits its day
    told = received(fourth)[28:]
    gone = [r["action_id"] for r in first if r["person_id"] == "p05"]  # a removal names what was sent, and no more
    assert (told[0]["op"], told[0]["action_id"]) == ("remove", gone[0]) and "person_id" not in told[0]
    rest = [p for p in PEOPLE[1:29] if p != "p05"]
    tempted = {(p, "big" if p > "p10" else "small") for p in rest if p != "p06"}
    late = {(p, "late") for p in rest}  # p06 bought and left j: the other had its turn a day earlier
    first_of_each = tempted | {("p06", "late")}
    assert {(r["person_id"], r["action"]) for r in told[1:]} == first_of_each and len(told) == 1 + len(first_of_each)
    run(fourth)
    assert received(fourth)[28:] == told  # one action a day, also where the day is run again
    fifth = on(job, DAY + timedelta(4))
    run(fifth)
    rest_of_late = received(fifth)[28 + len(told) :]
    assert {(r["person_id"], r["action"]) for r in rest_of_late} == late - first_of_each
    ids = [r["action_id"] for r in received(fifth) if r["op"] == "upsert"]
    assert len(ids) == len(set(ids))
    now = job.lake.read("activation.journeys").where(F.col("as_of") == F.lit(fourth.as_of)).collect()
    why = {(r["journey"], r["person_id"]): r["reason"] for r in now}
    assert why["j", "p06"] == "came_back" and why["j", "p05"] == "permission"
    assert set(why.values()) == {"came_back", "permission", "done"}


@pytest.mark.slow
def test_who_has_heard_enough_or_withdrew_and_what_stands_in_a_second_run(walking):
    """Offers are ranked anew by a second run of the day: who got one keeps it, and gets no second one."""
    steps = {"tempt": {"offer": ["small", "big"], "to": "crm"}}
    capped = Journey.model_validate(yaml.safe_load(JOURNEY) | {"steps": steps, "caps": [{"contacts": 1, "days": 7}]})
    body = walking.conf.destinations["crm"].model_copy(update={"journeys": ("j",)})
    job = with_conf(walking, journeys={"j": capped}, destinations={"crm": body})
    mails = job.spark.createDataFrame([("crm|p04", "m1", "email_sent")],
                                      "subject_key string, record_id string, kind string")  # fmt: skip
    put(job.lake, "silver.interactions", mails.withColumn("event_time", F.lit("2026-05-29").cast("timestamp")),
        on=DAY.replace(day=1))  # fmt: skip
    audiences_job.run(job)
    built = journeys_job.build(job)
    says(job, "p07", "withdrawn", DAY)  # after everything was judged, before it is written
    journeys_job.write(job, built)
    acted = {r["person_id"] for r in job.lake.read("activation.actions").collect()}
    assert acted == set(PEOPLE[1:29]) - {"p04", "p07"}
    says(job, "p08", "withdrawn", DAY + timedelta(1))  # and after it was written
    later = replace(job, run_at=job.run_at + timedelta(1))
    deliver_all(later)
    before = received(job)
    assert {r["person_id"] for r in before} == acted - {"p08"} and {r["action"] for r in before} == {"big", "small"}
    offers = job.conf.offers | {"big": job.conf.offers["big"].model_copy(update={"where": "points > 20"})}
    run(with_conf(later, offers=offers))
    assert received(later) == before


def with_conf(job, **parts):
    return replace(job, conf=job.conf.model_copy(update=parts))


@pytest.mark.slow
def test_a_quiet_journey_does_not_take_the_turn_of_another(walking):
    """A day's deliveries failed: the older action is due first, but its journey is quiet now."""
    audiences_job.run(walking)
    journeys_job.run(walking)
    second = on(walking, DAY + timedelta(1))
    journeys_job.run(second)  # j waits, so that late has its turn
    quiet = walking.conf.journeys["j"].model_copy(update={"quiet_hours": Quiet(start="00:00", end="23:59")})
    deliver_all(with_conf(second, journeys=walking.conf.journeys | {"j": quiet}))
    assert {(r["person_id"], r["action"]) for r in received(second)} == {(p, "late") for p in PEOPLE[1:29]}


def test_who_enters_an_audience_that_is_written_to_today_has_had_a_contact(walking):
    fields = {"person_id": {"column": "person_id"}}
    mail = Destination(
        description="", protocol="s3_files", audiences=["vip"], prefix="m", fields=fields, channel="mail"
    )
    caps = {"caps": (Cap(contacts=1, days=7),)}
    capped = {name: one.model_copy(update=caps) for name, one in walking.conf.journeys.items()}
    job = with_conf(walking, journeys=capped, destinations=walking.conf.destinations | {"mail": mail})
    audiences_job.run(job)
    assert journeys_job.build(job).where("at IS NOT NULL").isEmpty()
