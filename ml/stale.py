"""Which rows are older than they should be? The newest of a table that a later run could not make anew."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from cdp_spark.job import Job


def mark_stale(job: Job, table: str, theirs: Column | None = None) -> bool:
    """Mark the newest rows of a by_date table, or those of `theirs`, as stale; False where nothing is left to mark.

    They stay, under their own date, so that their age still tells. Raises ValueError for a table that is not of `ml`.
    """
    if not table.startswith("ml."):  # who may be addressed is written elsewhere, and asked for there
        raise ValueError(f"{table}: rows of models alone are marked as stale")
    theirs, known_as = F.lit(True) if theirs is None else theirs, F.coalesce("stale", F.lit(False))
    known = job.lake.read(table).where(F.col("as_of") <= F.lit(job.as_of))
    newest = known.where(theirs).agg(F.max("as_of").alias("day")).first()["day"]
    day = known.where(F.col("as_of") == F.lit(newest))
    if newest is None or day.where(theirs & ~known_as).isEmpty():
        return False
    job.lake.write(table, day.withColumn("stale", known_as | theirs), on=newest)
    return True
