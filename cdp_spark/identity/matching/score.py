"""How likely are two records one person? Trained weights on candidate pairs, each similarity computed once a pair."""

from __future__ import annotations

import re
from math import log2

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.identity.matching.weights import Weighted, own_sql, similarities_sql, tf_columns, total_sql, weight_sql


def with_rarity(records: DataFrame, model: list[Weighted]) -> DataFrame:
    """`records` with tf_<column>: the share of the records with a value that have this value."""
    columns, found = tf_columns(model), records
    totals = records.agg(*(F.count(column).alias(f"all_{column}") for column in columns)) if columns else None
    for column in columns:  # always of `records`, not of what was joined so far: else the plan triples
        counts = records.where(F.col(column).isNotNull()).groupBy(column).agg(F.count(F.lit(1)).alias("n"))
        share = (F.col("n") / F.col(f"all_{column}")).alias(f"tf_{column}")
        found = found.join(counts.crossJoin(F.broadcast(totals)).select(column, share), column, "left")
    return found


def scored(pairs: DataFrame, records: DataFrame, model: list[Weighted]) -> DataFrame:
    """`pairs` (a, b and more) with source_a, source_b, first_seen, total and own (bits), and w_<comparison>.

    records: as `with_rarity` gives them. total: all evidence; own: what tells relatives apart.
    """
    columns = sorted({column for one in model for column in one.comparison.needs})
    columns += [f"tf_{column}" for column in tf_columns(model)]
    rows = pairs
    for side, key in (("l", "a"), ("r", "b")):
        named = [F.col(column).alias(f"{column}_{side}") for column in columns]
        about = [F.col("source").alias(f"source_{key}"), F.col("event_time").alias(f"seen_{key}")]
        rows = rows.join(records.select(F.col("subject_key").alias(key), *about, *named), key)
    alike = [F.expr(spark_sql(sql)).alias(name) for name, sql in similarities_sql(model).items()]
    weights = [F.expr(weight_sql(one)).alias(f"w_{one.comparison.name}") for one in model]
    kept = [*pairs.columns, "source_a", "source_b", F.greatest("seen_a", "seen_b").alias("first_seen")]
    rows = rows.select("*", *alike).select(*kept, *weights)
    return rows.select("*", F.expr(total_sql(model)).alias("total"), F.expr(own_sql(model)).alias("own"))


def spark_sql(similarity: str) -> str:
    """The one function that Spark writes otherwise: array_overlap, the share of words in common."""
    return re.sub(
        r"array_overlap\((\w+), (\w+)\)", r"(size(array_intersect(\1, \2)) / size(array_union(\1, \2)))", similarity
    )


def partners(histogram: dict[float, int], records: int) -> float:
    """Other records of the same person that a record has on average, from the candidates' weights.

    histogram: number of candidate pairs by total weight in bits. The share of pairs that match is the fixed point of
    expectation maximisation with the weights held fast; pairs that no rule proposed count as strangers.
    """
    if records < 2 or not histogram:
        return 0.0
    everything = records * (records - 1) / 2
    share = min(records / everything, 0.5)
    for _ in range(200):
        odds = share / (1 - share)
        expected = sum(n * _chance(odds, total) for total, n in histogram.items())
        share, before = max(expected, 0.5) / everything, share
        if abs(share - before) <= 1e-9 * before:
            break
    return 2 * share * everything / records


def _chance(odds: float, bits: float) -> float:
    there = odds * 2.0 ** max(min(bits, 200.0), -200.0)
    return there / (1 + there)


def prior_bits(partners_a_record: float, records: int) -> float:
    """Log odds that two records drawn at random are one person."""
    share = min(max(partners_a_record / max(records - 1, 1), 1e-12), 0.5)
    return log2(share / (1 - share))


def told(model: list[Weighted]):
    """SQL text of what agrees in a pair, the weightiest first: 'birth, family, given'."""
    parts = ", ".join(f"struct(-w_{one.comparison.name} AS w, '{one.comparison.name}' AS name)" for one in model)
    return F.expr(f"array_join(transform(filter(array_sort(array({parts})), x -> x.w < -1), x -> x.name), ', ')")
