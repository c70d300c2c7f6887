"""How does a day's bronze become silver? Each entity from all its sources, with accounts that add up."""

from __future__ import annotations

from datetime import date
from functools import partial, reduce
from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from cdp_spark.config.source import Source
from cdp_spark.job import Job, side_by_side
from cdp_spark.lake import QUARANTINE
from cdp_spark.silver.standardise import UNREAD, gone, new_rows, standardised, unread_names
from cdp_spark.silver.subjects import identifiers, sightings
from cdp_spark.sources.land import with_fields


class Standardised(NamedTuple):
    """One source's day: good rows, bad rows, what was seen of whom, and the account."""

    good: DataFrame
    bad: DataFrame
    seen: DataFrame
    account: tuple


def build(job: Job) -> None:
    """Write every silver table for the job's day, then the identifiers of all days."""
    cached: list[DataFrame] = []
    everything = side_by_side(partial(_one, cached=cached), job, job.conf.sources)
    done: dict[str, list[Standardised]] = {}
    for source, part in zip(job.conf.sources.values(), everything, strict=True):
        done.setdefault(f"silver.{source.entity}", []).append(part)
    side_by_side(partial(_write_entity, done=done), job, done)
    job.lake.write("silver.sightings", _union([part.seen for part in everything]), on=job.date)
    seen = job.lake.read("silver.sightings").where(F.col("ingest_date") <= F.lit(job.date))
    job.lake.write("silver.identifiers", identifiers(seen))
    _write_accounts(job, [part.account for part in everything])
    for frame in cached:
        frame.unpersist()


def _one(job: Job, name: str, cached: list[DataFrame]) -> Standardised:
    source = job.conf.sources[name]
    table = job.conf.tables[f"silver.{source.entity}"]
    bronze = job.lake.read(f"bronze.{name}")
    today = bronze.where(F.col("_ingest_date") == F.lit(job.date))
    earlier = bronze.where(F.col("_ingest_date") < F.lit(job.date))
    fresh = new_rows(today, earlier, source)
    wanted = _wanted(fresh, source) if source.where else fresh
    region = job.conf.base.region
    rows = standardised(wanted, source, table, job.conf.identity, region).persist(StorageLevel.MEMORY_AND_DISK)
    cached.append(rows)
    good, bad = rows.where("rule IS NULL"), rows.where("rule IS NOT NULL")
    found, landed = _counts(rows, source), today.count()
    new = fresh.count() if source.where else found["n"]
    empty = told_unread(found, source)
    if empty:
        job.log(f"{name}: left empty, as not understood: {empty}")
    if source.mode == "append" and landed > new and (other := _told_otherwise(today, earlier)):
        job.warn(
            f"source {name}: {other} rows say something else under a key that an earlier day landed, and are left out: "
            "mode append keeps a key's first row. For a list of all there are say mode: snapshot, for changes cdc"
        )
    account = (name, landed, found["good"], found["n"] - found["good"], landed - new, new - found["n"], empty or None)
    seen = sightings(good, source)
    if source.mode == "snapshot":
        good = good.unionByName(_deleted(job, name, source, earlier, today))
    return Standardised(good, bad, seen, account)


def _told_otherwise(today: DataFrame, earlier: DataFrame) -> int:
    """How many of today's rows have the key of an earlier one and none of its contents."""
    known = today.join(earlier.select("_record_id").distinct(), "_record_id", "left_semi")
    return known.join(earlier.select("_record_id", "_hash"), ["_record_id", "_hash"], "left_anti").count()


def _wanted(fresh: DataFrame, source: Source) -> DataFrame:
    """The bronze rows that the source's `where` lets through, as they were."""
    columns = ["_row.data" if name == "data" else name for name in fresh.columns]
    return with_fields(fresh, source.fields).where(source.where).select(*columns)


def _counts(rows: DataFrame, source: Source) -> Row:
    """n, good, and of each column and identifier that can be left empty how often it was."""
    empty = [F.count_if(F.array_contains(UNREAD, name)).alias(f"unread {name}") for name in unread_names(source)]
    return rows.agg(F.count(F.lit(1)).alias("n"), F.count_if(F.col("rule").isNull()).alias("good"), *empty).first()


def told_unread(found: Row, source: Source) -> str:
    """'email 12, birth_date 3': how often something was given that is no such thing."""
    counts = {name: found[f"unread {name}"] for name in unread_names(source)}
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def _deleted(job: Job, name: str, source: Source, earlier: DataFrame, today: DataFrame) -> DataFrame:
    """A delete of each record that the last snapshot held and today's drop does not, neither landed nor set aside."""
    last = earlier.agg(F.max("_ingest_date").alias("day")).first()["day"]
    before = earlier.where(F.col("_ingest_date") == F.lit(last)) if last else earlier
    landing = job.lake.read("bronze._landings").where(F.col("ingest_date") == F.lit(job.date)).agg(F.max("landing"))
    lost = before.where("false")
    if last and not today.isEmpty():
        aside = job.lake.read(QUARANTINE).where(F.col("table_name") == f"bronze.{name}")
        known, hidden = set_aside(aside, job.date, last)
        if hidden.isEmpty():
            lost = gone(today, before, landing.first()[0] or 0).join(known, "_record_id", "left_anti")
        else:
            job.warn(f"source {name}: rows that name no record were set aside: who is missing is not taken for deleted")
    moment = F.lit(job.date).cast("timestamp")
    lost = lost.withColumn("_ingest_date", F.lit(job.date)).withColumn("known_at", moment)
    table = job.conf.tables[f"silver.{source.entity}"]
    rows = standardised(lost, source, table, job.conf.identity, job.conf.base.region)
    return rows.where("rule IS NULL").withColumn("event_time", moment).withColumn("deleted", F.lit(True))


def set_aside(quarantine: DataFrame, day: date, last: date | None) -> tuple[DataFrame, DataFrame]:
    """Of a source's bad rows of `day`: the records they name, and those that name none and are new since `last`.

    A row that is as unreadable as on the day of the last snapshot hides no record that was landed then.
    """
    today = quarantine.where(F.col("ingest_date") == F.lit(day))
    nameless = today.where("record_id IS NULL")
    before = quarantine.where(F.col("ingest_date") == F.lit(last)).select("row_hash")
    named = today.where("record_id IS NOT NULL").select(F.col("record_id").alias("_record_id")).distinct()
    return named, nameless.join(before, "row_hash", "left_anti")


def _write_entity(job: Job, name: str, done: dict[str, list[Standardised]]) -> None:
    parts = done[name]
    columns = list(job.conf.tables[name].columns)
    bad = [part.bad for part in parts]
    broken = sum(part.account[3] for part in parts)
    job.lake.quarantine(name, _union([_quarantined(frame, name) for frame in bad]), job.date, rows=broken)
    job.lake.write(name, _union([part.good.select(*columns) for part in parts]), on=job.date)
    rows = sum(part.account[2] for part in parts)
    job.log(f"{name}: {rows} rows, {broken} bad")


def _quarantined(bad: DataFrame, name: str) -> DataFrame:
    inner = [c for c in bad.columns if c not in ("rule", "reason", UNREAD)]
    raw = F.to_json(F.struct(*(F.col(f"`{c}`") for c in inner)))
    return bad.select(
        F.lit(name).alias("table_name"),
        "source",
        "ingest_date",
        F.lit(None).cast("string").alias("file"),
        "record_id",
        raw.alias("raw"),
        "rule",
        "reason",
        F.sha2(raw, 256).alias("row_hash"),
    )


def _union(frames: list[DataFrame]) -> DataFrame:
    return reduce(lambda a, b: a.unionByName(b), frames)


def _write_accounts(job: Job, accounts: list[tuple]) -> None:
    table = job.lake.read("bronze._reconciliation")
    landed = table.where((F.col("ingest_date") == F.lit(job.date)) & (F.col("layer") == "bronze"))
    rows = [
        ("silver", name, job.date, rows_in, out, bad, repeated, filtered, "landed", empty and f"left empty: {empty}")
        for name, rows_in, out, bad, repeated, filtered, empty in accounts
    ]
    silver = job.spark.createDataFrame(rows, table.schema)
    job.lake.write("bronze._reconciliation", landed.unionByName(silver), on=job.date)
