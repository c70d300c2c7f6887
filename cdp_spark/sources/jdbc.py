"""Which rows of a database's table are new? Read since the last watermark, with an overlap, by several readers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from cdp_spark.config.source import Jdbc, Source
from cdp_spark.sources.read import Raw, SourceError, typed_rows

FETCH = 10_000  # rows a round trip: PostgreSQL's driver fetches the whole result at once by default


def jdbc_rows(spark: SparkSession, name: str, source: Source, bronze: DataFrame, day: date) -> Raw:
    """Rows of the table whose watermark lies in [last one of the days before `day` - overlap, end of `day`).

    bronze: what was landed; the days before `day` tell where to begin, so a rerun of a day reads the same range, and
    rows of the overlap are known by their content and not taken twice. Raises SourceError where the database cannot
    be read; its words are not told, as they may hold a login.
    """
    where = between(source.jdbc, last_watermark(bronze, source.jdbc, day), day)
    with _telling(name, source):
        frame = _read(spark, source.jdbc, where)
    if missing := [field for field in (*source.required, *source.key) if field not in frame.columns]:
        raise SourceError(f"source {name}: field {missing[0]!r} is no column of {source.jdbc.table}")
    return typed_rows(frame, source, F.lit(source.jdbc.table))


def without_watermark(spark: SparkSession, name: str, source: Source) -> str | None:
    """What to warn of where rows of the table have no watermark: they belong to no day, and are never landed."""
    asked = f"(SELECT count(*) AS rows_of FROM {source.jdbc.table} WHERE {source.jdbc.watermark} IS NULL) AS cdp"
    with _telling(name, source):
        count = int(_reader(spark, source.jdbc).option("dbtable", asked).load().first()["rows_of"])
    if not count:
        return None
    return (
        f"source {name}: {count} rows of {source.jdbc.table} have no {source.jdbc.watermark}, so that no day lands "
        "them: give them one there, or name a view as `table` that does"
    )


@contextmanager
def _telling(name: str, source: Source) -> Iterator[None]:
    """Errors of the database as SourceError."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        java = getattr(error, "java_exception", None)
        kind = java.getClass().getSimpleName() if java else type(error).__name__
        raise SourceError(
            f"source {name}: table {source.jdbc.table} cannot be read ({kind}). Does the database that the environment "
            f"variable {source.jdbc.url_env} names answer, do table and column {source.jdbc.watermark} exist, and may "
            f"the login of {source.jdbc.user_env} and {source.jdbc.password_env} read them?"
        ) from None


def last_watermark(bronze: DataFrame, jdbc: Jdbc, day: date) -> datetime | None:
    """The largest watermark landed before `day`; None where nothing was."""
    before = bronze.where(F.col("_ingest_date") < F.lit(day))
    found = before.agg(F.max(F.col("data")[jdbc.watermark].cast("timestamp")).cast("string").alias("last")).first()
    return datetime.fromisoformat(found["last"]) if found["last"] else None


def between(jdbc: Jdbc, last: datetime | None, day: date) -> str:
    """The condition that the database judges, with moments in UTC."""
    end = datetime.combine(day + timedelta(days=1), datetime.min.time())
    where = f"{jdbc.watermark} < TIMESTAMP WITH TIME ZONE '{end:%Y-%m-%d %H:%M:%S}+00'"
    if last is None:
        return where
    begin = (last - jdbc.overlap).replace(tzinfo=UTC)
    return f"{where} AND {jdbc.watermark} >= TIMESTAMP WITH TIME ZONE '{begin:%Y-%m-%d %H:%M:%S.%f}+00'"


def _reader(spark: SparkSession, jdbc: Jdbc) -> DataFrameReader:
    options = {"url": os.environ.get(jdbc.url_env, ""), "driver": jdbc.driver, "fetchsize": str(FETCH)}
    options |= {
        key: os.environ.get(env, "") for key, env in (("user", jdbc.user_env), ("password", jdbc.password_env)) if env
    }
    options["sessionInitStatement"] = "SET TIME ZONE 'UTC'"
    return spark.read.format("jdbc").options(**options)


def _read(spark: SparkSession, jdbc: Jdbc, where: str) -> DataFrame:
    reader = _reader(spark, jdbc)
    rows = f"(SELECT * FROM {jdbc.table} WHERE {where}) AS cdp"
    if jdbc.partitions == 1:
        return reader.option("dbtable", rows).load()
    ends = f"(SELECT min({jdbc.partition}) AS low, max({jdbc.partition}) AS high FROM {rows}) AS ends"
    found = reader.option("dbtable", ends).load().first()
    if found["low"] is None:
        return reader.option("dbtable", rows).load()
    shared = {"partitionColumn": jdbc.partition, "numPartitions": str(jdbc.partitions)}
    shared |= {"lowerBound": str(found["low"]), "upperBound": str(found["high"])}
    return reader.options(**shared).option("dbtable", rows).load()
