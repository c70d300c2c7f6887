"""How likely are two records one person? Trained weights on candidate pairs, each similarity computed once a pair."""

from __future__ import annotations

import re
from math import log2

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.identity.matching.counted import Counted
from cdp_spark.identity.matching.weights import (
    Weighted,
    named_sql,
    own_sql,
    similarities_sql,
    tf_columns,
    total_sql,
    weight_sql,
)

# where a file holds hardly any relatives, or hardly any duplicates: what is assumed all the same
FEW = 0.02


def with_rarity(records: DataFrame, model: list[Weighted], known: Counted) -> DataFrame:
    """`records` with tf_<column>: the share of strangers who have this record's value, as `known` has it."""
    found = records
    for column in tf_columns(model):
        rows = records.sparkSession.createDataFrame(list(known.shares[column].items()), "_hash bigint, _share double")
        found = found.withColumn("_hash", F.xxhash64(column)).join(F.broadcast(rows), "_hash", "left")
        share = F.when(F.col(column).isNotNull(), F.coalesce("_share", F.lit(known.rest[column])))
        found = found.withColumn(f"tf_{column}", share).drop("_hash", "_share")
    return found


def scored(pairs: DataFrame, records: DataFrame, model: list[Weighted]) -> DataFrame:
    """`pairs` (a, b and more) with source_a, source_b, first_seen, total, own (bits), named and w_<comparison>.

    records: as `with_rarity` gives them. total: all evidence; own: what tells relatives apart; named: some of that
    speaks for the pair.
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
    sums = {"total": total_sql(model), "own": own_sql(model), "named": named_sql(model)}
    return rows.select("*", *(F.expr(sql).alias(name) for name, sql in sums.items()))


def spark_sql(similarity: str) -> str:
    """The one function that Spark writes otherwise: array_overlap, the share of words in common."""
    return re.sub(
        r"array_overlap\((\w+), (\w+)\)", r"(size(array_intersect(\1, \2)) / size(array_union(\1, \2)))", similarity
    )


def mixture(histogram: dict[tuple[float, float], int], records: int, everything: float) -> tuple[float, float]:
    """(partners, relatives): other records of the same person, and of others of its household, that a record has.

    histogram: number of candidate pairs by (total, own) in bits. Expectation maximisation over three kinds of pairs
    with the weights held fast: one person, two relatives (who share all but what is their own), two strangers. Pairs
    that no rule proposed count as strangers: `everything` is the number of pairs that may be linked at all. Means over
    all records of the file.
    """
    if everything < 1 or not histogram:
        return 0.0, 0.0
    total, own = (np.clip(side, -200, 200) for side in np.array(list(histogram), float).T)
    count = np.array(list(histogram.values()), float)
    one, two = 2.0**total, 2.0 ** np.clip(total - own, -200, 200)
    same = kin = min(records / everything, 0.25)
    for _ in range(300):
        whole = same * one + kin * two + 1
        before, same = same, max(float((count * same * one / whole).sum()), 0.5) / everything
        kin = max(float((count * kin * two / whole).sum()), 0.5) / everything
        if abs(same - before) <= 1e-9 * before:
            break
    return 2 * same * everything / records, 2 * kin * everything / records


def least_own(relatives_a_record: float, partners_a_record: float, probability: float) -> float:
    """Bits of own evidence with which a record that shares a household is one person with `probability`.

    By Bayes: the odds before are duplicates against relatives, both as the file has them.
    """
    odds = max(relatives_a_record, FEW) / max(partners_a_record, FEW)
    return log2(odds * probability / (1 - probability))


def prior_bits(partners: float, records: int, everything: float) -> float:
    """Log odds that two records drawn at random, of `everything` pairs that may be linked, are one person."""
    share = min(max(partners * records / 2 / max(everything, 1), 1e-12), 0.5)
    return log2(share / (1 - share))


def told(model: list[Weighted]):
    """SQL text of what agrees in a pair, the weightiest first: 'birth, family, given'."""
    parts = ", ".join(f"struct(-w_{one.comparison.name} AS w, '{one.comparison.name}' AS name)" for one in model)
    return F.expr(f"array_join(transform(filter(array_sort(array({parts})), x -> x.w < -1), x -> x.name), ', ')")
