"""How are many declared aggregates computed in one pass? Distinct counts among them by the marks of each value.

Spark expands the rows once for each distinct count, and a collected set is an object a group and count. Here each value
that is counted gets one row a group that says, in the bits of a number, which of the counts it belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlglot
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from cdp_spark.config.load import ConfError
from cdp_spark.config.source import Feature
from cdp_spark.gold.sums import EXACT

BITS = 62  # counts of one value that a number has room for
ITSELF = "_n = 0"  # of the rows that a row becomes, the one that stands for itself


class Parsed(NamedTuple):
    """text: SQL over the columns `plain` (each an aggregate) and `distinct` (value that is counted, condition)."""

    text: str
    plain: dict[str, str]
    distinct: dict[str, tuple[str, str]]


def aggregated(rows: DataFrame, specs: dict[str, Feature], by: list[str], times: int = 1) -> DataFrame:
    """One row per group of `by`, with one double a spec; `rows` has `by`, event_time and what the specs name.

    times: in how many times as many parts as the session shuffles into, where rows stand for several dates each: the
    groups of a part should fit into memory. Raises ConfError for an aggregate that is none.
    """
    found = {name: parsed(name, spec) for name, spec in specs.items()}
    marks = _marks({column: pair for one in found.values() for column, pair in one.distinct.items()})
    if marks:
        found = {name: parsed(name, spec, ITSELF) for name, spec in specs.items()}
    plain = [F.expr(sql).alias(column) for one in found.values() for column, sql in one.plain.items()]
    if marks:  # all rows of a group in one place first: what follows moves nothing any more
        parts = times * int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions"))
        rows = rows.repartition(parts, *by) if times > 1 else rows.repartition(*by)
    groups = _counted_groups(rows, marks, plain, by) if marks else rows.groupBy(*by).agg(*plain)
    return groups.select(*by, *(F.expr(one.text).cast("double").alias(name) for name, one in found.items()))


def _counted_groups(rows: DataFrame, marks: list, plain: list[Column], by: list[str]) -> DataFrame:
    """A row a group: the aggregates `plain`, and of `marks` how many different values each count has."""
    marked = rows.select("*", F.inline(_marked(marks))).where(f"{ITSELF} OR _bits <> 0")
    each = marked.groupBy(*by, "_n", "_value").agg(F.bit_or("_bits").alias("_bits"), *plain)
    known = [F.expr(f"any_value(`{name}`) FILTER (WHERE {ITSELF})").alias(name) for name in each.columns[len(by) + 3 :]]
    counts = [
        F.count_if((F.col("_n") == n) & (F.col("_bits").bitwiseAND(F.lit(1 << bit)) != 0)).alias(column)
        for n, (_, columns) in enumerate(marks, 1)
        for bit, column in enumerate(columns)
    ]
    return each.groupBy(*by).agg(*known, *counts)


def _marks(counts: dict[str, tuple[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """(value, condition by count) of each value that is counted, at most BITS counts each."""
    found: dict[str, dict[str, str]] = {}
    for column, (value, condition) in counts.items():
        found.setdefault(value, {})[column] = condition
    parts = []
    for value, columns in found.items():
        names = list(columns)
        parts += [(value, {n: columns[n] for n in names[at : at + BITS]}) for at in range(0, len(names), BITS)]
    return parts


def _marked(marks: list[tuple[str, dict[str, str]]]) -> Column:
    """What a row becomes: itself (_n 0), and one for each value of it, without bits where that counts nowhere."""
    none = F.lit(None).cast("string")
    made = [F.struct(F.lit(0).alias("_n"), none.alias("_value"), F.lit(0).cast("bigint").alias("_bits"))]
    for n, (value, columns) in enumerate(marks, 1):
        bits = F.lit(0).cast("bigint")
        for bit, condition in enumerate(columns.values()):
            holds = F.coalesce(F.expr(condition), F.lit(False))
            bits = bits.bitwiseOR(F.when(holds, F.lit(1 << bit).cast("bigint")).otherwise(F.lit(0).cast("bigint")))
        text = F.expr(value).cast("string")
        one = F.struct(F.lit(n).alias("_n"), text.alias("_value"), F.when(text.isNotNull(), bits).alias("_bits"))
        made.append(one)
    return F.array(*made)  # not filtered here: Spark compiles no function of arrays


def parsed(name: str, spec: Feature, rows: str = "") -> Parsed:
    """`spec.aggregate` in parts, each aggregate function in it with FILTER (WHERE `where` AND the window).

    rows: what else a row must fulfil that is aggregated, not counted. sum and avg add decimals: see
    cdp_spark/gold/sums.py. Raises ConfError where it holds no aggregate function.
    """
    tree = sqlglot.parse_one(spec.aggregate, read="spark")
    if not list(tree.find_all(exp.AggFunc)):
        raise ConfError([f"features.yml: {spec.aggregate!r} is no aggregate; use one such as count(*) or sum(amount)"])
    only = [f"({spec.where})"] if spec.where else []
    only += [within(spec.window_days)] if spec.window_days else []
    plain: dict[str, str] = {}
    distinct: dict[str, tuple[str, str]] = {}

    def named(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.AggFunc):
            return node
        column = f"_{name}_{len(plain) + len(distinct)}"
        if pair := _counted(node):
            distinct[column] = (pair[0], " AND ".join([*only, pair[1]]))
        else:
            plain[column] = _filtered(node, " AND ".join(filter(None, (rows, *only))))
        return exp.column(column, quoted=True)

    return Parsed(tree.transform(named).sql(dialect="spark"), plain, distinct)


def within(days: int) -> str:
    """Condition of rows of the last so many days before `as_of`."""
    return f"event_time >= cast(date_sub(as_of, {days}) as timestamp)"


def _counted(node: exp.AggFunc) -> tuple[str, str] | None:
    """(value, condition) of a distinct count of one value; of `case when c then value end` c is the condition."""
    if not (isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct) and len(node.this.expressions) == 1):
        return None
    value = node.this.expressions[0]
    if isinstance(value, exp.Case) and len(value.args["ifs"]) == 1 and not value.this and not value.args.get("default"):
        (branch,) = value.args["ifs"]
        return branch.args["true"].sql(dialect="spark"), f"({branch.this.sql(dialect='spark')})"
    return value.sql(dialect="spark"), "true"


def _filtered(node: exp.AggFunc, only: str) -> str:
    """SQL of an aggregate function with its filter, its sums exact."""
    inner = node.copy()
    adds = isinstance(node, exp.Sum | exp.Avg) and not isinstance(node.this, exp.Distinct)
    if adds:
        inner.set("this", exp.cast(inner.this, EXACT, dialect="spark"))
    if only:
        inner = exp.Filter(this=inner, expression=exp.Where(this=sqlglot.parse_one(only, read="spark")))
    return (exp.cast(inner, "double", dialect="spark") if adds else inner).sql(dialect="spark")
