"""How is the business doing? Daily numbers for reports, and the weekly feed for marketing-mix models."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.sums import exact_sum
from cdp_spark.silver.time import known_before

DAYS = 90


def kpis(orders: DataFrame, events: DataFrame, as_of: date) -> DataFrame:
    """One row per day of the last 90, metric, dimension and member. Both frames carry person_id."""
    paid = _recent(orders.where("status <> 'cancelled'"), as_of)
    visits = _recent(events.where("NOT is_bot"), as_of)
    parts = [
        _metric(paid, "revenue", exact_sum("amount"), "channel"),
        _metric(paid.where("status = 'paid'"), "orders", F.count_distinct("order_id"), "channel"),
        _metric(paid.where("status = 'paid'"), "customers", F.count_distinct("person_id"), "channel"),
        _metric(visits, "visitors", F.count_distinct("person_id"), "channel"),
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole.select(F.lit(as_of).alias("as_of"), "day", "metric", "dimension", "member", "value")


def _recent(rows: DataFrame, as_of: date) -> DataFrame:
    since = F.lit(as_of - timedelta(days=DAYS)).cast("timestamp")
    return rows.where(known_before(as_of) & (F.col("event_time") >= since)).withColumn("day", F.to_date("event_time"))


def _metric(rows: DataFrame, metric: str, value, by: str) -> DataFrame:
    total = rows.groupBy("day").agg(value.cast("double").alias("value"))
    total = total.withColumn("dimension", F.lit("total")).withColumn("member", F.lit("all"))
    split = rows.groupBy("day", F.coalesce(by, F.lit("none")).alias("member")).agg(value.cast("double").alias("value"))
    both = total.unionByName(split.withColumn("dimension", F.lit(by)))
    return both.where("value IS NOT NULL").withColumn("metric", F.lit(metric))


def mmm_weekly(spend: DataFrame, orders: DataFrame, profiles: DataFrame, region: str, as_of: date) -> DataFrame:
    """One row per week, region and channel, named as Google Meridian does; kpi = paid orders of week and region."""
    sold = orders.where(known_before(as_of)).join(profiles.select("person_id", "country"), "person_id", "left")
    sold = sold.withColumn("time", F.to_date(F.date_trunc("week", "event_time")))
    sold = sold.withColumn("geo", F.coalesce("country", F.lit(region)))
    kpi = sold.where("status = 'paid'").groupBy("time", "geo").agg(F.count_distinct("order_id").alias("kpi"))
    money = sold.where("status <> 'cancelled'").groupBy("time", "geo").agg(exact_sum("amount").alias("revenue"))
    media = spend.where(known_before(as_of)).groupBy(F.col("week").alias("time"), "geo", "channel").agg(
        F.coalesce(exact_sum("impressions"), F.lit(0.0)).alias("media"),
        exact_sum("amount").alias("media_spend"),
        F.coalesce(exact_sum("clicks"), F.lit(0.0)).alias("clicks"),
    )  # fmt: skip
    joined = media.join(kpi, ["time", "geo"], "left").join(money, ["time", "geo"], "left")
    count, revenue = F.coalesce(F.col("kpi").cast("double"), F.lit(0.0)), F.coalesce("revenue", F.lit(0.0))
    return joined.select(F.lit(as_of).alias("as_of"), "time", "geo", "channel", "media", "media_spend", "clicks",
                         count.alias("kpi"), revenue.alias("revenue"),
                         F.when(count > 0, revenue / count).alias("revenue_per_kpi"))  # fmt: skip
