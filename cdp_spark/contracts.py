"""Does a frame keep its table's promise? Schema, row checks and table checks of a contract, as Spark expressions."""

from __future__ import annotations

import hashlib
from datetime import date
from functools import cache
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from cdp_spark.config.contract import Table


class ContractError(Exception):
    """A frame breaks its table's contract in a way that stops the write. The message never holds a row's values."""


class RowCheck(NamedTuple):
    """`good` is true for a row that keeps the promise `name`."""

    name: str
    severity: str
    good: Column
    expected: str


def schema(table: Table) -> StructType:
    """The contract's columns as Spark's schema, all nullable: Delta keeps the data, `checks` keep the promise."""
    return _parsed(", ".join(f"`{name}` {column.type}" for name, column in table.columns.items()))


@cache
def _parsed(ddl: str) -> StructType:
    """The schema that `ddl` is; remembered, as each read and write asks and only Java can parse it."""
    return StructType.fromDDL(ddl)


def conformed(frame: DataFrame, name: str, table: Table) -> DataFrame:
    """`frame` with exactly the contract's columns in their order.

    Raises ContractError where a column is missing or has another type than the contract's.
    """
    wanted = {f.name: f.dataType for f in schema(table).fields}
    found = {f.name: f.dataType for f in frame.schema.fields}
    if missing := [c for c in wanted if c not in found]:
        raise ContractError(f"{name}: the frame lacks {missing}; its contract stands in conf/tables")
    unlike = [
        f"{c} is {found[c].simpleString()}, expected {wanted[c].simpleString()}"
        for c in wanted
        if found[c].simpleString() != wanted[c].simpleString()
    ]
    if unlike:
        raise ContractError(f"{name}: {'; '.join(unlike)}")
    return frame.select(*(F.col(f"`{c}`") for c in wanted))


def row_checks(table: Table) -> list[RowCheck]:
    """Every promise about single rows: required columns, allowed values, declared expressions."""
    found = []
    for name, column in table.columns.items():
        col = F.col(f"`{name}`")
        if column.required:
            found.append(RowCheck(f"{name} required", "fail", col.isNotNull(), f"a value in {name}"))
        if column.values:
            known = col.isNull() | col.isin(*column.values)
            found.append(RowCheck(f"{name} values", "fail", known, f"{name} one of {', '.join(column.values)}"))
    for check in table.checks:
        if check.expr:
            good = F.coalesce(F.expr(check.expr), F.lit(False))
            found.append(RowCheck(check.label, check.severity, good, check.expr))
    return found


def violations(frame: DataFrame, table: Table) -> dict[str, int]:
    """Rows that break each row check and, by `unique`, keys held by more than one row; one pass each. {} is good."""
    checks = row_checks(table)
    counts = [F.count_if(~check.good).alias(f"c{i}") for i, check in enumerate(checks)]
    first = frame.agg(F.count(F.lit(1)).alias("rows"), *counts).first()
    found = {check.name: first[f"c{i}"] for i, check in enumerate(checks) if first[f"c{i}"]}
    for check in table.checks:
        if check.unique and (twice := repeated_keys(frame, check.unique)):
            found[check.label] = twice
    return found


def quarantine_rows(rows: DataFrame, name: str, rule: str, expected: str, on: date | None) -> DataFrame:
    """Rows of `name` in the shape of bronze._quarantine, with the rule they broke and what it expected."""
    raw = F.to_json(F.struct(*(F.col(f"`{c}`") for c in rows.columns)))
    source = F.col("source") if "source" in rows.columns else F.lit(name.split(".")[-1])
    return rows.select(
        F.lit(name).alias("table_name"),
        source.alias("source"),
        F.lit(on).cast("date").alias("ingest_date"),
        F.lit(None).cast("string").alias("file"),
        (F.col("record_id") if "record_id" in rows.columns else F.lit(None)).cast("string").alias("record_id"),
        raw.alias("raw"),
        F.lit(rule).alias("rule"),
        F.lit(f"expected {expected}").alias("reason"),
        F.sha2(raw, 256).alias("row_hash"),
    )


def counted(frame: DataFrame, each: dict[str, Column], key: tuple[str, ...]) -> dict[str, int]:
    """In one pass: rows, the rows for which each column of `each` is true, and `repeated` (see `repeated_keys`)."""
    counts = {"rows": F.count(F.lit(1)), **{name: F.count_if(col) for name, col in each.items()}}
    whole = frame.groupBy(*(f"`{c}`" for c in key)).agg(*(col.alias(name) for name, col in counts.items()))
    repeated = F.count_if(F.col("rows") > 1) if key else F.lit(0)
    sums = {name: F.coalesce(F.sum(name), F.lit(0)) for name in counts} | {"repeated": repeated}
    return whole.agg(*(col.alias(name) for name, col in sums.items())).first().asDict()


def repeated_keys(frame: DataFrame, key: tuple[str, ...]) -> int:
    """How many values of `key` stand in more than one row."""
    return frame.groupBy(*key).agg(F.count(F.lit(1)).alias("n")).where("n > 1").count()


def fingerprint(rows: DataFrame) -> str:
    """16 hex digits that name the content of `rows`: the same in any order of rows, another after any change of one.

    Unlike a table's version it is the same again after a rerun that wrote the same rows.
    """
    digest = F.sha2(F.to_json(F.struct(*(F.col(f"`{c}`") for c in rows.columns)), {"ignoreNullFields": "false"}), 256)
    parts = [F.conv(F.substring(digest, start, 15), 16, 10).cast("decimal(38,0)") for start in (1, 16)]
    sums = rows.agg(F.count(F.lit(1)).alias("rows"), *(F.sum(part).alias(f"s{i}") for i, part in enumerate(parts)))
    found = sums.first()
    return hashlib.sha256(f"{found['rows']}|{found['s0']}|{found['s1']}".encode()).hexdigest()[:16]
