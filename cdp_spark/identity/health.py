"""Is the identity graph well? Counts, sizes, changes, coverage, hubs and bridges of one run, as long rows."""

from __future__ import annotations

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.identity.guards import usual

PERCENTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
OUTLIER_TIMES = 5  # a value on five times as many records as is usual in its namespace is suspected
OUTLIER_LEAST = 5  # a family shares a value, an outlier is more
OUTLIERS = 20  # told a namespace: a list to act on


def health(
    members: DataFrame,
    edges: DataFrame,
    violations: DataFrame,
    changes: DataFrame,
    evidence: DataFrame,
    identifiers: DataFrame,
    as_of: date,
) -> DataFrame:
    """(as_of, metric, dimension, member, value) after the run of `as_of`, one row a number; values only by their hash.

    members: with their validity. The other frames: identity.edges, .violations, .changes, .evidence and
    silver.identifiers, as the run left them.
    """
    now = members.where("valid_to IS NULL").select("subject_key", "source", "person_id").localCheckpoint()
    sizes = (
        now.groupBy("person_id").agg(F.count(F.lit(1)).alias("n"), F.min("source").alias("source")).localCheckpoint()
    )
    parts = [
        _totals(sizes),
        _sizes(sizes),
        _counted(now, "records", "source", F.col("source")),
        _counted(sizes.where("n = 1"), "singletons", "source", F.col("source")),
        _counted(changes.where(F.col("effective_at") == F.lit(as_of)), "changes", "change", F.col("change")),
        _churn(members, as_of),
        _coverage(identifiers, now),
        _counted(violations, "refused_links", "code", F.col("code")),
        _hubs(violations),
        _counted(evidence.where("bridge"), "bridges", "namespace", F.col("namespace")),
        _outliers(edges),
    ]
    rows = reduce(DataFrame.unionByName, parts)
    return rows.select(F.lit(as_of).alias("as_of"), "metric", "dimension", "member", F.col("value").cast("double"))


def _row(metric: str, dimension: str, member: Column, value: Column) -> list[Column]:
    return [
        F.lit(metric).alias("metric"),
        F.lit(dimension).alias("dimension"),
        member.cast("string").alias("member"),
        value.cast("double").alias("value"),
    ]


def _counted(rows: DataFrame, metric: str, dimension: str, member: Column) -> DataFrame:
    counts = rows.groupBy(member.alias("member")).agg(F.count(F.lit(1)).alias("n"))
    return counts.select(*_row(metric, dimension, F.col("member"), F.col("n")))


def _long(one: DataFrame, metric: dict[str, tuple[str, str]]) -> DataFrame:
    """One wide row as long rows: column -> (metric, member)."""
    cells = F.array(*(F.struct(*_row(m, "total" if not k else "size", F.lit(k or "all"), F.col(f"`{c}`")))
                      for c, (m, k) in metric.items()))  # fmt: skip
    return one.select(F.explode(cells).alias("c")).select("c.*")


def _totals(sizes: DataFrame) -> DataFrame:
    """Consolidation rate as vendors count it: 1 - people / records."""
    one = sizes.agg(F.count(F.lit(1)).alias("people"), F.coalesce(F.sum("n"), F.lit(0)).alias("records"))
    one = one.withColumn("rate", F.when(F.col("records") > 0, 1 - F.col("people") / F.col("records")).otherwise(0))
    return _long(one, {"people": ("people", ""), "records": ("records", ""), "rate": ("consolidation_rate", "")})


def _sizes(sizes: DataFrame) -> DataFrame:
    """Exact percentiles of records a person, and the largest; no rows where there is nobody."""
    found = [F.percentile("n", F.lit(share)).alias(name) for name, share in PERCENTILES.items()]
    one = sizes.agg(*found, F.max("n").alias("largest"))
    return _long(one, {name: ("person_size", name) for name in (*PERCENTILES, "largest")}).where("value IS NOT NULL")


def _churn(members: DataFrame, as_of: date) -> DataFrame:
    """Share of the records known before whose person_id is another one now."""
    before = members.where(
        (F.col("valid_from") < F.lit(as_of)) & (F.coalesce("valid_to", F.lit(as_of)) >= F.lit(as_of))
    )
    now = members.where("valid_to IS NULL").select("subject_key", F.col("person_id").alias("now"))
    both = before.join(now, "subject_key")
    share = F.coalesce(F.avg((F.col("person_id") != F.col("now")).cast("double")), F.lit(0.0))
    return both.agg(share.alias("n")).select(*_row("id_churn", "total", F.lit("all"), F.col("n")))


def _coverage(identifiers: DataFrame, now: DataFrame) -> DataFrame:
    """Share of the people who have a value of each namespace."""
    has = identifiers.join(now.select("subject_key", "person_id"), "subject_key")
    counts = has.groupBy("namespace").agg(F.count_distinct("person_id").alias("n"))
    people = now.agg(F.count_distinct("person_id").alias("people"))
    share = F.col("n") / F.col("people")
    return counts.crossJoin(F.broadcast(people)).select(*_row("coverage", "namespace", F.col("namespace"), share))


def _hubs(violations: DataFrame) -> DataFrame:
    """Values over their hub limit, counted a namespace."""
    hubs = violations.where("code = 'hub_limit'").select("namespace", "value").distinct()
    return _counted(hubs, "hubs", "namespace", F.col("namespace"))


def _outliers(edges: DataFrame) -> DataFrame:
    """Values that link unusually many records and are below their limit: to be looked at, perhaps blocked."""
    degrees = edges.where("other_key IS NULL").groupBy("namespace", "value").agg(F.count(F.lit(1)).alias("n"))
    normal = degrees.groupBy("namespace").agg(usual("n").alias("usual"))
    many = degrees.join(F.broadcast(normal), "namespace").where(F.col("n") > F.col("usual") * OUTLIER_TIMES)
    hashed = F.substring(F.sha2(F.concat_ws("|", "namespace", "value"), 256), 1, 16)
    first = Window.partitionBy("namespace").orderBy(F.desc("n"), hashed)
    top = (
        many.where(F.col("n") > OUTLIER_LEAST).withColumn("k", F.row_number().over(first)).where(F.col("k") <= OUTLIERS)
    )
    return top.select(*_row("suspect_value", "namespace", F.concat_ws(":", "namespace", hashed), F.col("n")))
