"""Is what a step made too strange to go on from? Facts of its tables against the limits in conf/base.yml, `gates`."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import functions as F

from cdp_spark.job import Job


def closed(job: Job, step: str) -> list[str]:
    """Why the gate behind `step` is closed: one line a reason with number, limit and remedy; [] is open."""
    return GATES[step](job) if step in GATES else []


def _people(job: Job) -> list[str]:
    """People merged or split by this run, of those known before it."""
    gates, day = job.conf.base.gates, F.lit(job.as_of)
    known = job.lake.read("identity.members").where(F.col("valid_from") < day)
    before = known.where(F.col("valid_to").isNull() | (F.col("valid_to") >= day))
    people = before.agg(F.count_distinct("person_id").alias("n")).first()["n"]
    told = job.lake.read("identity.changes").where(
        (F.col("effective_at") == day) & F.col("change").isin("merged", "split")
    )
    changed = told.agg(F.count_distinct("previous_person_id").alias("n")).first()["n"]
    if people < gates.min_before or changed <= gates.people_changed_max * people:
        return []
    return [
        f"{changed} of {people} people were merged or split, more than gates.people_changed_max "
        f"{gates.people_changed_max}; look at identity.changes of {job.as_of}, mend the rule or the source"
    ]


def _members(job: Job) -> list[str]:
    """Growth or loss of each audience against the run before."""
    gates, day = job.conf.base.gates, F.lit(job.as_of)
    before = (F.col("since") < day) & (F.col("left").isNull() | (F.col("left") >= day))
    rows = job.lake.read("activation.members").groupBy("audience").agg(
        F.count_if(before).alias("before"), F.count_if(F.col("left").isNull()).alias("now")
    )  # fmt: skip
    return [
        f"audience {row['audience']} went from {row['before']} to {row['now']} members, more than "
        f"gates.members_changed_max {gates.members_changed_max}; look at activation.funnels of {job.as_of}"
        for row in rows.orderBy("audience").collect()
        if row["before"] >= gates.min_before
        and abs(row["now"] - row["before"]) > gates.members_changed_max * row["before"]
    ]


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


GATES: dict[str, Callable[[Job], list[str]]] = {"resolve": _people, "audiences": _members, "score": _drift}
