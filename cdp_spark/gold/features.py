"""What was known of each person before a date? Features declared in conf/features.yml, for one or many dates."""

from __future__ import annotations

from datetime import date

import sqlglot
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from sqlglot import exp

from cdp_spark.config.source import Feature
from cdp_spark.gold.people import with_person
from cdp_spark.gold.sums import EXACT
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before


def inputs(job: Job) -> tuple[dict[str, DataFrame], DataFrame]:
    """(rows with person_id by table that features and labels are made of, people with first_seen)."""
    members = job.lake.read("identity.members")
    tables = {"silver.orders", *(feature.table for feature in job.conf.features.values())}
    frames = {name: with_person(job.lake.read(name), members) for name in sorted(tables)}
    return frames, job.lake.read("gold.profiles").select("person_id", "first_seen")


def features(
    frames: dict[str, DataFrame], specs: dict[str, Feature], as_ofs: list[date], people: DataFrame
) -> DataFrame:
    """One row per person and date of `as_ofs`: person_id, as_of, then one double a feature, in the order of `specs`.

    frames: rows with person_id, event_time, known_at by table name; one for each table that `specs` name.
    people: person_id, first_seen; who was first seen on or after a date has no row for it.
    A feature sees rows that had happened and were known before as_of and, with window_days, happened in the last so
    many days; where it is null (no such row) it takes its default. Raises ValueError for an aggregate that is none.
    """
    found = _on_dates(people, as_ofs).where(F.col("first_seen") < F.col("as_of").cast("timestamp"))
    for table in dict.fromkeys(spec.table for spec in specs.values()):
        wanted = {name: spec for name, spec in specs.items() if spec.table == table}
        found = found.join(_of_table(frames[table], wanted, as_ofs), ["person_id", "as_of"], "left")
    return found.select("person_id", "as_of", *(_or_default(name, spec) for name, spec in specs.items()))


def _on_dates(rows: DataFrame, as_ofs: list[date]) -> DataFrame:
    return rows.withColumn("as_of", F.explode(F.array(*(F.lit(day) for day in as_ofs))))


def _of_table(rows: DataFrame, specs: dict[str, Feature], as_ofs: list[date]) -> DataFrame:
    seen = _on_dates(rows, as_ofs).where(known_before(F.col("as_of")))
    windows = [spec.window_days for spec in specs.values()]
    if None not in windows:  # nobody asks for older rows: do not group them
        seen = seen.where(_within(max(windows)))
    values = [F.expr(filtered(spec)).cast("double").alias(name) for name, spec in specs.items()]
    return seen.groupBy("person_id", "as_of").agg(*values)


def _or_default(name: str, spec: Feature) -> Column:
    return F.col(name) if spec.default is None else F.coalesce(F.col(name), F.lit(spec.default)).alias(name)


def _within(days: int) -> str:
    return f"event_time >= cast(date_sub(as_of, {days}) as timestamp)"


def filtered(spec: Feature) -> str:
    """`spec.aggregate` as SQL, each aggregate function in it with FILTER (WHERE `where` AND the window).

    count(distinct x) becomes size(collect_set(x)): Spark expands the rows once for each distinct count otherwise.
    sum and avg add decimals: see cdp_spark/gold/sums.py.
    Raises ValueError where the expression holds no aggregate function.
    """
    tree = sqlglot.parse_one(spec.aggregate, read="spark")
    if not list(tree.find_all(exp.AggFunc)):
        raise ValueError(f"{spec.aggregate!r} is not an aggregate; use one such as count(*) or sum(amount)")
    parts = [f"({spec.where})"] if spec.where else []
    parts += [_within(spec.window_days)] if spec.window_days else []
    only = sqlglot.parse_one(" AND ".join(parts), read="spark") if parts else None
    return tree.transform(lambda node: _filtered(node, only)).sql(dialect="spark")


def _filtered(node: exp.Expression, only: exp.Expression | None) -> exp.Expression:
    if not isinstance(node, exp.AggFunc):
        return node
    distinct = isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct) and len(node.this.expressions) == 1
    inner = exp.ArrayUniqueAgg(this=node.this.expressions[0].copy()) if distinct else node.copy()
    adds = isinstance(node, exp.Sum | exp.Avg) and not isinstance(node.this, exp.Distinct)
    if adds:
        inner.set("this", exp.cast(inner.this, EXACT, dialect="spark"))
    if only is not None:
        inner = exp.Filter(this=inner, expression=exp.Where(this=only.copy()))
    if adds:
        return exp.cast(inner, "double", dialect="spark")
    return exp.Anonymous(this="size", expressions=[inner]) if distinct else inner
