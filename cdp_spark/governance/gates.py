"""Is what a step made too strange to go on from? Facts of its tables against the limits in conf/base.yml, `gates`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from cdp_spark.identity.state import WITHIN
from cdp_spark.job import Job

WAITING = "until then nobody new is delivered; who has withdrawn is taken out of the lists all the same"


def closed(job: Job, step: str) -> list[str]:
    """Why the gate behind `step` is closed: one line a reason with number, limit and remedy; [] is open."""
    return GATES[step](job) if step in GATES else []


def base(job: Job) -> date:
    """The `as_of` that a run is compared with: that of the newest published run of an earlier day.

    What a closed gate has kept back stands in the tables already: the day before must not be what the next day is
    judged by. Where nothing was published yet, it is the day before all the same.
    """
    runs = job.lake.read("governance.runs").where(F.col("date") < F.lit(job.date))
    day = runs.agg(F.max("date").alias("day")).first()["day"]
    return day + timedelta(days=1) if day else job.date


def holds(day: date, since: str, until: str) -> Column:
    """Rows of a history, valid from `since` to before `until`, that held on `day`."""
    return (F.col(since) <= F.lit(day)) & (F.col(until).isNull() | (F.col(until) > F.lit(day)))


def _spoken_for(job: Job, since: date) -> bool:
    """Has somebody spoken for other rules since the published run? What they merged and split was looked at then."""
    runs = job.lake.read("identity.runs").where((F.col("as_of") > F.lit(since)) & (F.col("as_of") <= F.lit(job.as_of)))
    return not runs.where(~F.col("approval").startswith(WITHIN)).isEmpty()  # within them nobody was asked


def _people(job: Job) -> list[str]:
    """People merged or split since the published run: those of whose records some are another person's now."""
    gates, at, members = job.conf.base.gates, base(job), job.lake.read("identity.members")
    if _spoken_for(job, at):
        return []
    before = members.where(holds(at, "valid_from", "valid_to")).select("subject_key", F.col("person_id").alias("old"))
    now = members.where(holds(job.as_of, "valid_from", "valid_to")).select("subject_key", "person_id")
    moved = F.when(F.col("person_id") != F.col("old"), F.col("old"))
    counted = before.join(now, "subject_key", "left").agg(
        F.count_distinct("old").alias("people"), F.count_distinct(moved).alias("changed")
    )
    people, changed = counted.first()
    if people < gates.min_before or changed <= gates.people_changed_max * people:
        return []
    return [
        f"{changed} of {people} people were merged or split since {at}, more than gates.people_changed_max "
        f"{gates.people_changed_max}; look at identity.changes of {job.as_of}, mend the rule or the source"
    ]


def _members(job: Job) -> list[str]:
    """Growth or loss of each audience against the published run."""
    gates, at = job.conf.base.gates, base(job)
    rows = job.lake.read("activation.members").groupBy("audience").agg(
        F.count_if(holds(at, "since", "left")).alias("before"), F.count_if(F.col("left").isNull()).alias("now")
    )  # fmt: skip
    told = [
        f"audience {row['audience']} went from {row['before']} to {row['now']} members since {at}, more than "
        f"gates.members_changed_max {gates.members_changed_max}; look at activation.funnels of {job.as_of}"
        for row in rows.orderBy("audience").collect()
        if row["before"] >= gates.min_before
        and abs(row["now"] - row["before"]) > gates.members_changed_max * row["before"]
    ]
    return told and [*told, WAITING]


def _drift(job: Job) -> list[str]:
    """Alarms of the day about scores and labels: the models no longer know their world."""
    most = job.conf.base.gates.drift_alarms_max
    if most is None:
        return []
    rows = job.lake.read("ml.monitoring").where(F.col("as_of") == F.lit(job.as_of)).where("alarm")
    told = sorted(f"{r['model']} {r['kind']}" for r in rows.where("kind IN ('score', 'label')").collect())
    if len(told) <= most:
        return []
    return [
        f"{len(told)} alarms ({', '.join(told)}), more than gates.drift_alarms_max {most}; look at ml.monitoring of "
        f"{job.as_of}, train anew or roll back"
    ]


GATES: dict[str, Callable[[Job], list[str]]] = {
    "resolve": _people, "audiences": _members, "score": _drift, "interest": _drift,
}  # fmt: skip
