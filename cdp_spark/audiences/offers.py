"""What is the best that a person can be offered? The eligible offer of the highest expected value."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.journeys import Offer

RANKED = "array<struct<loss:double,offer:string>>"


def ranked(offers: dict[str, Offer], day: date | None = None) -> Column:
    """Of a row of `candidates`: its eligible offers with loss = -(score x value - cost), the best first, else by name.

    An expected value that is null, not a number, or not above 0 makes no offer. With `day`, offers that the row's map
    `offered` (offer -> date of the last time) names within the offer's rest_days before `day` are left out.
    """
    found = []
    for name, offer in offers.items():
        value = F.expr(f"CAST(({offer.score}) * ({offer.value}) - ({offer.cost}) AS double)")
        fit = F.expr(f"({offer.where})") & ~F.isnan(value) & (value > 0)
        if day is not None and offer.rest_days:
            last = F.col("offered")[name]
            fit = fit & (last.isNull() | (last <= F.lit(day - timedelta(days=offer.rest_days))))
        found.append(F.when(fit, F.struct((-value).alias("loss"), F.lit(name).alias("offer"))))
    if not found:
        return F.array().cast(RANKED)
    return F.array_sort(F.array_compact(F.array(*found))).cast(RANKED)


def best(offers: Column, names: tuple[str, ...]) -> Column:
    """The first of `offers` (as of `ranked`) among `names`; null where there is none."""
    return F.get(F.filter(offers, lambda one: one["offer"].isin(*names)), F.lit(0))


def offered(actions: DataFrame, day: date) -> DataFrame:
    """One row per person with actions before `day`: person_id, offered (map: message or offer -> date of the last)."""
    last = actions.where(F.col("as_of") < F.lit(day)).groupBy("person_id", "action").agg(F.max("as_of").alias("last"))
    pairs = F.map_from_entries(F.collect_list(F.struct("action", "last")))
    return last.groupBy("person_id").agg(pairs.alias("offered"))
