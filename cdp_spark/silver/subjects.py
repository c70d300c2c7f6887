"""Whom is a row about, and which identifiers does it show? Subject keys and sightings."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import RECORD, Source


def id_column(namespace: str) -> str:
    return f"_id_{namespace}"


def subject_of(source_col: Column, namespace: str) -> Column:
    """'<source>|<namespace>:<value>', null where the row has no such identifier."""
    value = F.col(id_column(namespace))
    return F.when(value.isNotNull(), F.concat(source_col, F.lit(f"|{namespace}:"), value))


def row_subject(source: Source) -> Column:
    """The strongest subject present in a row; the record itself where the source names no subjects."""
    if not source.subjects:
        return F.concat(F.col("_source"), F.lit("|"), F.col("_record_id"))
    return F.coalesce(*(subject_of(F.col("_source"), namespace) for namespace in source.subjects))


def sightings(rows: DataFrame, source: Source) -> DataFrame:
    """One row per subject key, namespace and value seen in standardised `rows` of one ingest date.

    Each present subject sees its own value; a weaker one (a cookie) also the next stronger one's (its account); the
    strongest present sees the row's other identifiers. So a shared cookie never carries the e-mail of whoever used it.
    """
    pairs = _pairs(source)
    if not pairs:
        return _aggregated(rows.where("false").select("*", *(F.lit(None).cast("string").alias(c) for c in PAIR)))
    long = rows.select("*", F.explode(F.array(*pairs)).alias("pair")).select("*", "pair.*")
    return _aggregated(long.where("_subject IS NOT NULL AND _value IS NOT NULL"))


PAIR = ("_subject", "_namespace", "_value")


def _pair(subject: Column, namespace: str) -> Column:
    value = F.col(id_column(namespace))
    return F.struct(subject.alias("_subject"), F.lit(namespace).alias("_namespace"), value.alias("_value"))


def _pairs(source: Source) -> list[Column]:
    named, name = source.subjects, F.col("source")
    others = [namespace for namespace in source.identifiers if namespace not in named]
    found = [_pair(F.col("subject_key"), namespace) for namespace in others]
    if source.entity == "customers" and not named:
        found.append(_record_itself(others))
    for place, namespace in enumerate(named):
        subject = subject_of(name, namespace)
        found.append(_pair(subject, namespace))
        for nearer, stronger in enumerate(reversed(named[:place])):
            between = named[place - nearer : place]
            absent = reduce(lambda a, b: a & b, (F.col(id_column(n)).isNull() for n in between), F.lit(True))
            found.append(_pair(F.when(absent, subject), stronger))
    return found


def _record_itself(namespaces: list[str]) -> Column:
    """The record's own id, where its row carries no identifier: nobody is lost for want of one."""
    none = reduce(lambda a, b: a & b, (F.col(id_column(n)).isNull() for n in namespaces), F.lit(True))
    return F.struct(
        F.when(none, F.col("subject_key")).alias("_subject"),
        F.lit(RECORD).alias("_namespace"),
        F.col("record_id").alias("_value"),
    )


def _aggregated(long: DataFrame) -> DataFrame:
    found = long.groupBy(F.col("_subject").alias("subject_key"), "source", "ingest_date",
                         F.col("_namespace").alias("namespace"), F.col("_value").alias("value"))  # fmt: skip
    found = found.agg(
        F.min("event_time").alias("first_seen"),
        F.max("event_time").alias("last_seen"),
        F.min("landing").alias("landing"),
        F.count(F.lit(1)).alias("sightings"),
    )
    return found.withColumn("record_id", F.expr("substring(subject_key, length(source) + 2)"))


def identifiers(seen: DataFrame) -> DataFrame:
    """One row per subject key, namespace and value over all ingest dates in `seen`."""
    return seen.groupBy("subject_key", "source", "record_id", "namespace", "value").agg(
        F.min("first_seen").alias("first_seen"),
        F.max("last_seen").alias("last_seen"),
        F.min("landing").alias("landing"),
        F.sum("sightings").alias("sightings"),
    )
