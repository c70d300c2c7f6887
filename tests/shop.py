"""A small shop in a lake: orders of two years, who placed them, and a job that stands at its end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from cdp_spark.job import Job

AS_OF = date(2026, 2, 1)


def shop(spark, lake, n=600, seed=5):
    """Write orders of `n` people over two years, each with a rate and an end, their members and profiles."""
    rng = np.random.default_rng(seed)
    rate, end = rng.gamma(1.2, 1 / 40, n), 730 - rng.exponential(500, n) * (rng.random(n) < 0.6)
    who, day = np.nonzero(rng.random((n, 730)) < rate[:, None] * (np.arange(730)[None, :] < end[:, None]))
    moment = pd.Timestamp(AS_OF) - pd.to_timedelta(730 - day, "D") + pd.Timedelta("10h")
    keys = [f"shop|user_id:{i}" for i in who]
    pdf = pd.DataFrame(
        {
            "source": "shop",
            "record_id": [f"o{i}" for i in range(len(who))],
            "subject_key": keys,
            "event_time": moment,
            "known_at": moment + pd.Timedelta("1h"),
            "amount": rng.gamma(2, 20, len(who)),
        }
    )
    likes = np.where(rng.random(len(who)) < 0.7, who % 5, rng.integers(0, 5, len(who)))  # most buy what they like
    pdf["category"] = [f"c{one}" for one in likes]
    pdf["product_id"] = [f"c{one}-{item}" for one, item in zip(likes, rng.integers(0, 8, len(who)), strict=True)]
    orders = spark.createDataFrame(pdf).selectExpr("*", f"date'{AS_OF}' - interval 1 day as ingest_date")
    given = {"landing": F.lit(1).cast("bigint"), "deleted": F.lit(False), "order_id": F.col("record_id"),
             "quantity": F.lit(1.0), "currency": F.lit("GBP"), "status": F.lit("paid"),
             "ingest_date": F.col("ingest_date").cast("date")}  # fmt: skip
    orders = padded(orders.withColumns(given), lake, "silver.orders")
    lake.write("silver.orders", orders, on=AS_OF - timedelta(1))
    ids = pd.DataFrame(
        {"subject_key": [f"shop|user_id:{i}" for i in range(n)], "person_id": [f"p{i}" for i in range(n)]}
    )
    first = F.lit(date(2024, 1, 1)).cast("timestamp")
    given = {"source": F.lit("shop"), "record_id": F.col("subject_key"), "namespace": F.lit("user_id"),
             "value": F.col("subject_key"), "first_seen": first, "last_seen": first, "landing": F.lit(1).cast("bigint"),
             "sightings": F.lit(1).cast("bigint")}  # fmt: skip
    lake.write("silver.identifiers", padded(spark.createDataFrame(ids).withColumns(given), lake, "silver.identifiers"))
    seen = {"source": F.lit("shop"), "record_id": F.col("subject_key"), "valid_from": F.lit(date(2024, 1, 1))}
    members = spark.createDataFrame(ids).withColumns(seen)
    lake.write("identity.members", padded(members, lake, "identity.members"))
    start = F.lit(date(2024, 1, 1)).cast("timestamp")
    known = {"sources": F.array(F.lit("shop")), "records": F.lit(1), "first_seen": start, "last_seen": start}
    lake.write("gold.profiles", padded(members.select("person_id").withColumns(known), lake, "gold.profiles"))


def padded(frame, lake, name):
    wanted = lake.read(name).schema.fields
    missing = {f.name: F.lit(None).cast(f.dataType) for f in wanted if f.name not in frame.columns}
    return frame.withColumns(missing).select(*(f.name for f in wanted))


def job_on(spark, lake, conf):
    return Job(spark, lake, conf, "conf", "local", AS_OF - timedelta(1), datetime.now(UTC), "r1", "drops", "exports")
