"""Whose rows may a model see, and those of how many people?"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.people import with_person
from cdp_spark.job import Job

PARTS = 10_000


def of_permitted(rows: DataFrame, permitted: DataFrame | None) -> DataFrame:
    """The rows whose person may be profiled (`permitted`: person_id); all where no consent applies (None)."""
    if permitted is None:
        return rows
    return rows.join(permitted.select("person_id").distinct(), "person_id", "left_semi")


def orders_of(job: Job, permitted: DataFrame | None) -> DataFrame:
    """Rows of silver.orders with the person_id of today, of who may be profiled."""
    orders = with_person(job.lake.read("silver.orders"), job.lake.read("identity.members"))
    return of_permitted(orders, permitted)


def at_most(rows: DataFrame, most: int, salt: int, size: int | None = None) -> DataFrame:
    """All rows of so many people that about `most` of `size` are left (None: of rows, which are counted).

    By a hash of the person: the same ones every time, whatever the order of rows; another `salt` takes others.
    """
    share = int(PARTS * most / max(rows.count() if size is None else size, 1))
    if share >= PARTS:
        return rows
    return rows.where(F.pmod(F.xxhash64("person_id", F.lit(salt)), F.lit(PARTS)) < max(share, 1))
