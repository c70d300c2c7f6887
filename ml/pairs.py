"""What is known of each person and category on a date, and who bought in it later? The rows of interests."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.people import then
from cdp_spark.gold.sums import exact_sum
from cdp_spark.silver.time import known_before
from ml.people import at_most

MOST_CATEGORIES = 20  # by orders of the year
GAP_DAYS, HORIZON_DAYS = 1, 30
ROWS = 200_000  # learned from, a fixed sample of people
KEYS = ["person_id", "category", "as_of"]
NAMES = (
    "own_orders",
    "own_spend",
    "own_last_days",
    "own_views_90d",
    "orders",
    "last_order_days",
    "share",
    "popularity",
)


def pairs(orders: DataFrame, events: DataFrame, dates: list[date]) -> DataFrame:
    """One row per person who bought in the year before a date, category and date: person_id, category, as_of, NAMES.

    orders, events: rows of silver with `history`; paid ones and those of people. What was known before the date counts.
    """
    bought, seen = _dated(orders, dates, 365), _dated(events, dates, 90)
    own = bought.groupBy("person_id", "as_of", "category").agg(
        F.count_distinct("order_id").cast("double").alias("own_orders"),
        exact_sum("amount").alias("own_spend"),
        F.datediff("as_of", F.max("event_time")).cast("double").alias("own_last_days"),
    )
    people = bought.groupBy("person_id", "as_of").agg(
        F.count_distinct("order_id").cast("double").alias("orders"),
        F.datediff("as_of", F.max("event_time")).cast("double").alias("last_order_days"),
    )
    counts = own.groupBy("as_of", "category").agg(F.count("*").alias("buyers"))
    popular = counts.join(people.groupBy("as_of").agg(F.count("*").alias("all")), "as_of")
    popular = popular.withColumn("popularity", F.col("buyers") / F.col("all"))
    views = seen.groupBy("person_id", "as_of", "category").agg(F.count("*").cast("double").alias("own_views_90d"))
    grid = people.join(F.broadcast(popular.where(F.col("category").isin(_usual(orders, max(dates))))), "as_of")
    key = ["person_id", "as_of", "category"]
    found = (
        grid.join(own, key, "left").join(views, key, "left").na.fill(0.0, ["own_orders", "own_spend", "own_views_90d"])
    )
    found = found.withColumn("share", F.col("own_orders") / F.col("orders"))
    return found.select("person_id", "category", "as_of", *NAMES)


def _dated(rows: DataFrame, dates: list[date], days: int) -> DataFrame:
    found = rows.withColumn("as_of", F.explode(F.array(*(F.lit(day) for day in dates)))).where(
        known_before(F.col("as_of"))
    )
    found = found.where(F.col("event_time") >= F.date_sub("as_of", days).cast("timestamp"))
    return found.withColumn("person_id", then(F.col("as_of"))).where("person_id IS NOT NULL")


def _usual(orders: DataFrame, day: date) -> list[str]:
    """The MOST_CATEGORIES categories of the most orders in the year before `day`."""
    rows = orders.where(known_before(day)).where(F.col("event_time") >= F.date_sub(F.lit(day), 365).cast("timestamp"))
    counts = rows.groupBy("category").agg(F.count_distinct("order_id").alias("n")).orderBy(F.desc("n"), "category")
    return [row["category"] for row in counts.limit(MOST_CATEGORIES).collect()]


def with_labels(known: DataFrame, orders: DataFrame, dates: list[date], as_of: date) -> DataFrame:
    """`known` with label: 1 is a paid order in the category in the HORIZON_DAYS after the gap."""
    rows, day = orders.where(known_before(as_of)), F.to_date("event_time")
    parts = []
    for one in dates:
        start = one + timedelta(GAP_DAYS)
        inside = rows.where((day > F.lit(start)) & (day <= F.lit(start + timedelta(HORIZON_DAYS))))
        parts.append(inside.select(then(one).alias("person_id"), "category", F.lit(one).alias("as_of")))
    bought = reduce(DataFrame.unionByName, parts).distinct().withColumn("label", F.lit(1))
    joined = known.join(bought, ["person_id", "category", "as_of"], "left")
    return joined.withColumn("label", F.coalesce("label", F.lit(0)))


def sampled(rows: DataFrame) -> DataFrame:
    """At most about ROWS rows, all of some people, in an order that a second training finds again; nobody's ids."""
    rows = rows.persist()
    return at_most(rows, ROWS, salt=6).orderBy("as_of", "person_id", "category").drop("person_id", "category")
