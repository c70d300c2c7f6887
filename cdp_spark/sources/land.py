"""Which rows of a drop are good, which are bad and why, which came twice? From raw rows to bronze and quarantine."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.source import Source

SEPARATOR = "|"
EARLIEST = date(1900, 1, 1)  # before it no customer was born: such a time is a number that was read as a date
KEPT = ("_row.data", "_row.file", "_file", "_record_id", "_hash", "_ingest_date", "event_time", "known_at")


def with_fields(rows: DataFrame, fields: tuple[str, ...]) -> DataFrame:
    """`rows` with each declared field as a column of its own, for the source's expressions.

    What else they hold (data, reason, ...) is in `_row`: a field may well be called Data or reason.
    """
    kept = [name for name in rows.columns if name.startswith("_") or name in ("event_time", "known_at")]
    own, taken = [name for name in rows.columns if name not in kept], {name.lower() for name in kept}
    wide = [F.col("data")[name].alias(name) for name in fields if name.lower() not in taken]
    return rows.select(*kept, F.struct(*own).alias("_row"), *wide)


def content_hash(data: str = "_row.data") -> Column:
    """SHA-256 of a row's fields in the order of their names: equal rows hash equal whatever their key order."""
    return F.sha2(F.to_json(F.array_sort(F.map_entries(F.col(data)))), 256)


def known_at(source: Source, day: date) -> Column:
    """When we could have known a row: the source's own column, else event time plus latency, else the landing day."""
    landed = F.lit(day).cast("timestamp")
    if source.available:
        return F.coalesce(F.expr(source.available).cast("timestamp"), landed)
    if source.latency is not None:
        seconds = int(source.latency.total_seconds())
        return F.col("event_time") + F.expr(f"INTERVAL {seconds} SECONDS")
    return landed


def judged(rows: DataFrame, source: Source, day: date, *, max_chars: int, tolerance: timedelta) -> DataFrame:
    """Every raw row with its key, times and hash, and the first rule it broke (null for a good one)."""
    wide = with_fields(rows, tuple(dict.fromkeys((*source.fields, *source.key))))
    wide = wide.withColumn("_ingest_date", F.lit(day)).withColumn("_file", F.col("_row.file"))
    wide = wide.withColumn("event_time", F.expr(source.event_time).cast("timestamp"))
    wide = wide.withColumn("_hash", content_hash()).withColumn("known_at", known_at(source, day))
    key = [F.nullif(F.trim(F.col(f"`{name}`")), F.lit("")) for name in source.key]
    joined = reduce(lambda a, b: F.concat(a, F.lit(SEPARATOR), b), key) if key else F.col("_hash")
    unread = F.coalesce(F.col("_row.rule").startswith("malformed"), F.lit(False))
    # null where a part is missing or the row could not be read: it names no record
    wide = wide.withColumn("_record_id", F.when(~unread, joined))
    rule, reason = F.lit(None).cast("string"), F.lit(None).cast("string")
    for name, bad, expected in reversed(_rules(source, day, max_chars, tolerance)):
        broke = F.coalesce(bad, F.lit(False))
        rule, reason = F.when(broke, F.lit(name)).otherwise(rule), F.when(broke, F.lit(expected)).otherwise(reason)
    wide = wide.withColumn("_broke", F.coalesce("_row.rule", rule))
    wide = wide.withColumn("_why", F.coalesce("_row.reason", reason))
    raw = F.when(F.col("_broke").isNotNull(), F.coalesce("_row.raw", F.to_json("_row.data")))
    return wide.select(*KEPT, raw.alias("raw"), F.col("_broke").alias("rule"), F.col("_why").alias("reason"))


def _rules(source: Source, day: date, max_chars: int, tolerance: timedelta) -> list[tuple[str, Column, str]]:
    """(rule, true where broken, what was expected), the first broken one is told; never a value in the words."""
    latest = F.lit(day + timedelta(days=1) + tolerance).cast("timestamp")
    longest = F.array_max(F.transform(F.map_values("_row.data"), lambda text: F.length(text)))
    found = [("field_too_long", longest > max_chars, f"expected fields of at most {max_chars} characters")]
    for name in dict.fromkeys((*source.key, *source.required)):
        empty = F.col(f"`{name}`").isNull() | (F.trim(F.col(f"`{name}`")) == "")
        found.append((f"{name}_missing", empty, f"expected a value in {name}"))
    for name in source.key:
        found.append(
            (f"{name}_control", F.col(f"`{name}`").rlike(r"\p{Cntrl}"), f"expected no control characters in {name}")
        )
    found.append(("event_time", F.col("event_time").isNull(), "expected a time that event_time can read"))
    found.append(("event_time_future", F.col("event_time") > latest, f"expected no time after {day} plus tolerance"))
    found.append(("event_time_past", F.col("event_time") < F.lit(EARLIEST), f"expected no time before {EARLIEST}"))
    for name, sql in source.identifiers.items():
        inner = F.regexp_replace(F.expr(sql).cast("string"), r"^\s+|\s+$", "")
        found.append((f"{name}_control", inner.rlike(r"\p{Cntrl}"), f"expected no control characters in {name}"))
    for check in source.checks:
        if check.severity == "quarantine":
            found.append((check.label, ~F.coalesce(F.expr(check.expr), F.lit(False)), f"expected {check.expr}"))
    return found


def deduplicated(rows: DataFrame, source: Source) -> DataFrame:
    """Good rows with `_copy` > 1 for a repeated row, and rule `duplicate_key` where one key carries two contents.

    Of rows with one key and one event time but other contents the smallest hash stays: the same one whatever the order.
    In an append source a key names one row for good, so its event time does not tell versions apart.
    """
    same = Window.partitionBy("_record_id", "_hash").orderBy("_file")
    versions = ["_record_id"] if source.mode == "append" else ["_record_id", "event_time"]
    rival = Window.partitionBy(*versions).orderBy("event_time", "_hash")
    rows = rows.withColumn("_copy", F.row_number().over(same))
    rows = rows.withColumn("_rival", F.dense_rank().over(rival))
    clash = F.col("_rival") > 1
    rows = rows.withColumn("rule", F.when(clash, F.lit("duplicate_key")))
    rows = rows.withColumn("raw", F.when(clash, F.to_json("data")))
    return rows.withColumn("reason", F.when(clash, F.lit("expected one content for a key")))


def bronze_rows(rows: DataFrame, name: str, landing: int, landed_at: Column) -> DataFrame:
    """Rows in the shape of bronze.<source>."""
    return rows.select(
        "data",
        F.lit(name).alias("_source"),
        "_record_id",
        "_hash",
        "_ingest_date",
        F.lit(landing).cast("bigint").alias("_landing"),
        "_file",
        landed_at.alias("_landed_at"),
        "event_time",
        "known_at",
    )


def quarantined(rows: DataFrame, name: str, day: date) -> DataFrame:
    """Rows that broke a rule, in the shape of bronze._quarantine."""
    return rows.select(
        F.lit(f"bronze.{name}").alias("table_name"),
        F.lit(name).alias("source"),
        F.lit(day).alias("ingest_date"),
        "file",
        F.col("_record_id").alias("record_id"),
        "raw",
        "rule",
        "reason",
        F.sha2(F.coalesce("raw", F.lit("")), 256).alias("row_hash"),
    )
