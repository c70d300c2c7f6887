"""What does a landed row mean? Bronze rows of one source as rows of its silver table, with their subject."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from cdp_spark.config.contract import Table
from cdp_spark.config.source import Identity, Source
from cdp_spark.config.sql import columns_of, parsed
from cdp_spark.contracts import row_checks
from cdp_spark.silver.normalise import normalised
from cdp_spark.silver.subjects import id_column, row_subject
from cdp_spark.sources.land import with_fields

UNREAD = "_unread"
CONVERSIONS = (exp.Cast, exp.TryCast, exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.StrToTime, exp.StrToDate, exp.Trim)


def standardised(bronze: DataFrame, source: Source, table: Table, identity: Identity, region: str) -> DataFrame:
    """One row per bronze row: the contract's columns, `_id_<namespace>` columns, `rule` where it breaks a check, and
    `_unread`: which of `unread_names` were given and could not be understood, so that they are null."""
    wide = with_fields(bronze, source.fields)
    region = source.region or region
    ids = [
        normalised(F.expr(sql).cast("string"), identity.identifiers[ns].normaliser, region).alias(id_column(ns))
        for ns, sql in source.identifiers.items()
    ]
    wide = wide.select("*", *ids)
    rows = wide.select(
        F.col("_source").alias("source"),
        F.col("_record_id").alias("record_id"),
        row_subject(source).alias("subject_key"),
        "event_time",
        "known_at",
        F.col("_ingest_date").alias("ingest_date"),
        F.col("_landing").alias("landing"),
        (F.expr(source.deleted) if source.deleted else F.lit(False)).alias("deleted"),
        *(_column(name, table, source, region) for name in _own(table)),
        *(id_column(ns) for ns in source.identifiers),
        *(given(sql).alias(f"_given_{name}") for name, sql in unread_names(source).items()),
    )
    empty = [F.when(F.col(f"_given_{n}") & F.col(_place(n, source)).isNull(), F.lit(n)) for n in unread_names(source)]
    rows = rows.withColumn(UNREAD, F.array_compact(F.array(*empty)) if empty else F.array().cast("array<string>"))
    rows = rows.drop(*(f"_given_{name}" for name in unread_names(source)))
    return _with_rule(_with_consent_value(rows, source), table)


def unread_names(source: Source) -> dict[str, str]:
    """What can be given and not understood, by name: the SQL of what was given.

    Identifiers, and columns that only convert (`EMAIL`, `to_date(BORN)`, `cast(x as double)`): of other expressions
    null may be the meaning.
    """
    found = dict(source.identifiers)
    for name, sql in source.columns.items():
        tree = parsed(sql)
        while isinstance(tree, CONVERSIONS):
            tree = tree.this
        if isinstance(tree, exp.Column):
            found.setdefault(name, tree.sql(dialect="spark"))
    return found


def given(sql: str) -> Column:
    """True where the expression has a value that is no blank."""
    return F.coalesce(F.trim(F.expr(sql).cast("string")) != "", F.lit(False))


def _place(name: str, source: Source) -> str:
    return id_column(name) if name in source.identifiers else name


def _own(table: Table) -> list[str]:
    given = {"source", "record_id", "subject_key", "event_time", "known_at", "ingest_date", "landing", "deleted"}
    return [name for name in table.columns if name not in given]


def _column(name: str, table: Table, source: Source, region: str) -> Column:
    column = table.columns[name]
    if name == "extra" and name not in source.columns:
        return _extra(source).alias(name)
    value = F.expr(source.columns[name]) if name in source.columns else F.lit(None)
    if column.normaliser and name in source.columns:
        value = normalised(value.cast("string"), column.normaliser, region)
    return value.cast(column.type).alias(name)


def _extra(source: Source) -> Column:
    """Fields that no column and no identifier takes, as JSON text; null where there is none."""
    used = {*source.key, *columns_of(source.event_time)}
    for sql in (*source.columns.values(), *source.identifiers.values()):
        used |= columns_of(sql)
    rest = F.map_filter("_row.data", lambda key, value: ~key.isin(sorted(used)) & value.isNotNull())
    return F.when(F.size(rest) > 0, F.to_json(rest))


def _with_consent_value(rows: DataFrame, source: Source) -> DataFrame:
    """A consent's `value` as the normaliser of its namespace writes it."""
    if source.entity != "consents":
        return rows
    value = F.lit(None).cast("string")
    for namespace in source.identifiers:
        value = F.when(F.col("namespace") == namespace, F.col(id_column(namespace))).otherwise(value)
    return rows.withColumn("value", value)


def _with_rule(rows: DataFrame, table: Table) -> DataFrame:
    """`rule` and `reason`: the first promise of the contract that a row breaks, null for a good row."""
    rule = reason = F.lit(None).cast("string")
    for check in reversed(row_checks(table)):
        rule = F.when(~check.good, F.lit(check.name)).otherwise(rule)
        reason = F.when(~check.good, F.lit(f"expected {check.expected}")).otherwise(reason)
    return rows.withColumn("rule", rule).withColumn("reason", reason)


def new_rows(bronze: DataFrame, earlier: DataFrame, source: Source) -> DataFrame:
    """The day's bronze rows that say something new.

    append: keys that no earlier day landed.  snapshot, cdc: rows that differ from the record's newest earlier row.
    """
    if source.mode == "append":
        return bronze.join(earlier.select("_record_id").distinct(), "_record_id", "left_anti")
    # the newest by its day: a missed day that is landed later has the larger number and is older all the same
    newest = F.max_by("_hash", F.struct("_ingest_date", "event_time")).alias("_hash")
    last = earlier.groupBy("_record_id").agg(newest)
    return bronze.join(last, ["_record_id", "_hash"], "left_anti")


def gone(day: DataFrame, before: DataFrame, landing: int) -> DataFrame:
    """Bronze rows of the last snapshot whose record is missing from today's: each is a delete known today."""
    lost = before.join(day.select("_record_id").distinct(), "_record_id", "left_anti")
    return lost.withColumn("_landing", F.lit(landing).cast("bigint"))
