"""What did an audience's treatment change? Treated and held-out members by what they did after they entered.

Intention to treat: everybody who entered counts in the arm of their first entry, whether anything reached them or not.
Rule for merges: records that became one person after they had entered in different arms belong to neither; they are
left out and counted as mixed.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.audiences.lift import Effect, LiftError, Moments, SampleRatio, effect, sample_ratio
from cdp_spark.gold.people import heirs, with_person
from cdp_spark.job import Job

KPIS = {
    "spend": "coalesce(sum(amount), 0)",
    "orders": "cast(count(distinct order_id) as double)",
    "conversion": "cast(count(order_id) > 0 as double)",
}


class Lift(NamedTuple):
    """An audience's effect on a KPI over `days` days after entering; mixed: people left out, who were in both arms."""

    audience: str
    kpi: str
    days: int
    ratio: SampleRatio
    effect: Effect
    mixed: int


def enrolled(changes: DataFrame, members: DataFrame, audience: str) -> DataFrame:
    """One row per current person who ever entered: person_id, arm (treatment, holdout or mixed), entered (date)."""
    rows = changes.where((F.col("audience") == audience) & (F.col("change") == "entered"))
    now = rows.join(heirs(members), "person_id").select(F.col("now").alias("person_id"), "person_id", "arm", "as_of")
    now = now.toDF("person_id", "_then", "arm", "as_of")
    # One person may be drawn again after a split: the first entry of each id is what it was assigned.
    first = now.groupBy("person_id", "_then").agg(
        F.min_by("arm", "as_of").alias("arm"), F.min("as_of").alias("entered")
    )
    arm = F.when(F.count_distinct("arm") > 1, "mixed").otherwise(F.first("arm"))
    return first.groupBy("person_id").agg(arm.alias("arm"), F.min("entered").alias("entered"))


def outcomes(people: DataFrame, orders: DataFrame, kpi: str, days: int, as_of: date) -> DataFrame:
    """One row per person of `enrolled` whose days are over by `as_of`: person_id, arm, value of the KPI.

    orders: rows of silver.orders with person_id. What was paid in [entered, entered + days) counts.
    """
    whole = people.where(F.date_add("entered", days) <= F.lit(as_of))
    paid = orders.where("status = 'paid' AND NOT deleted").select(
        "person_id", "order_id", "amount", F.to_date("event_time").alias("day")
    )
    inside = (F.col("day") >= F.col("entered")) & (F.col("day") < F.date_add("entered", days))
    rows = whole.join(paid, "person_id").where(inside).select("person_id", "order_id", "amount")
    return whole.join(rows, "person_id", "left").groupBy("person_id", "arm").agg(F.expr(KPIS[kpi]).alias("value"))


def lift(job: Job, audience: str, kpi: str, days: int) -> Lift:
    """Raises LiftError where the audience holds nobody out, nobody's days are over, or the split cannot be trusted."""
    rule = job.conf.audiences[audience]
    if not rule.holdout:
        raise LiftError(f"audience {audience} holds nobody out; set `holdout: 0.1` in conf/audiences/{audience}.yml")
    members = job.lake.read("identity.members")
    people = enrolled(job.lake.read("activation.changes"), members, audience)
    paid = with_person(job.lake.read("silver.orders"), members)
    rows = outcomes(people, paid, kpi, days, job.as_of).groupBy("arm")
    found = rows.agg(F.count("*").alias("n"), F.avg("value").alias("mean"), F.var_samp("value").alias("v")).collect()
    arms = {row["arm"]: Moments(row["n"], row["mean"], row["v"] or 0.0) for row in found}
    counts = {arm: arms[arm].n if arm in arms else 0 for arm in ("treatment", "holdout")}
    if not min(counts.values()):
        raise LiftError(
            f"audience {audience}: {counts} people entered {days} days before {job.as_of}; too early to tell"
        )
    ratio = sample_ratio(counts, {"treatment": 1 - rule.holdout, "holdout": rule.holdout})
    if ratio.verdict == "refuse":
        raise LiftError(
            f"audience {audience}: {counts} people for a holdout of {rule.holdout} (p = {ratio.p:.2g}): the split is "
            "broken and no effect is told. Was `holdout` changed, or do members of one arm leave the data?"
        )
    mixed = arms["mixed"].n if "mixed" in arms else 0
    return Lift(audience, kpi, days, ratio, effect(arms["treatment"], arms["holdout"]), mixed)
