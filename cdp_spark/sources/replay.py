"""Can bad rows be good now? A day's quarantine judged again by the source's present rules, without its drop."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.job import Job
from cdp_spark.sources.ingest import Landed, SourceError, write_rows
from cdp_spark.sources.land import judged
from cdp_spark.sources.read import one_object


def kept_rows(bronze: DataFrame, quarantine: DataFrame) -> DataFrame:
    """Raw rows (data, file, raw, rule, reason) of a day: what was landed, and what was set aside."""
    data = one_object("raw")
    bad = quarantine.select(
        data.alias("data"),
        "file",
        F.when(data.isNull(), F.col("raw")).alias("raw"),
        F.when(data.isNull(), F.col("rule")).alias("rule"),
        F.when(data.isNull(), F.col("reason")).alias("reason"),
    )
    none = F.lit(None).cast("string")
    good = bronze.select(
        "data", F.col("_file").alias("file"), none.alias("raw"), none.alias("rule"), none.alias("reason")
    )
    return good.unionByName(bad)


def replay(job: Job, name: str) -> Landed:
    """Judge the quarantined rows of source `name` on the job's day again; those that are good now join bronze.

    Raises SourceError where the source is unknown, nothing of it was landed on that day, or too much is bad still.
    """
    if name not in job.conf.sources:
        raise SourceError(f"no source {name!r}. Known: {', '.join(sorted(job.conf.sources))}")
    source, base, day = job.conf.sources[name], job.conf.base, F.lit(job.date)
    bronze = job.lake.read(f"bronze.{name}").where(F.col("_ingest_date") == day)
    aside = job.lake.read("bronze._quarantine").where(F.col("table_name") == f"bronze.{name}")
    raw = kept_rows(bronze, aside.where(F.col("ingest_date") == day))
    landings = job.lake.read("bronze._landings").where(F.col("ingest_date") == day)
    landing = landings.agg(F.max("landing").alias("landing")).first()["landing"]
    if landing is None:
        raise SourceError(f"nothing was landed on {job.date}: there is nothing to replay")
    rows = judged(raw, source, job.date, max_chars=base.max_field_chars, tolerance=base.future_tolerance)
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        account = write_rows(job, name, source, rows, landing)
    finally:
        rows.unpersist()
    if account.status == "failed":
        raise SourceError(account.message)
    correct_account(job, account)
    return account


def correct_account(job: Job, account: Landed) -> None:
    """Put the source's new numbers into the day's account; the rows that came in are those that came in before."""
    table = job.lake.read("bronze._reconciliation").where(F.col("ingest_date") == F.lit(job.date))
    mine = (F.col("layer") == "bronze") & (F.col("source") == account.source)
    came = F.greatest("rows_in", F.lit(account.rows_in))
    new = (
        table.where(mine)
        .withColumn("rows_in", came)
        .withColumns(
            {
                "rows_out": F.lit(account.rows_out).cast("bigint"),
                "quarantined": F.lit(account.quarantined).cast("bigint"),
                "deduplicated": came - F.lit(account.rows_out + account.quarantined),
                "status": F.lit("landed"),
                "message": F.lit(None).cast("string"),
            }
        )
    )
    job.lake.write("bronze._reconciliation", table.where(~mine).unionByName(new), on=job.date)
