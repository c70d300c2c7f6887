"""Which prepared records are linked? Scored pairs, the bars that a pair must reach, and groups that stay together."""

from __future__ import annotations

import json
from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.matching import Matching
from cdp_spark.config.source import Identity
from cdp_spark.identity.components import components_by
from cdp_spark.identity.edges import node
from cdp_spark.identity.matching.blocking import Rule, caps, proposals, sized
from cdp_spark.identity.matching.cluster import settled
from cdp_spark.identity.matching.comparison import Comparison
from cdp_spark.identity.matching.counted import Counted, Size, counted, holds, read, size_of
from cdp_spark.identity.matching.score import least_own, mixture, prior_bits, scored, told, with_rarity
from cdp_spark.identity.matching.weights import Weighted, tf_columns, weighted

KEPT = "a string, b string, score double, first_seen timestamp, rule string, refused string"


class Plan(NamedTuple):
    """What a deployment compares and how it blocks; `model_id` changes with what is compared and when asked to."""

    compared: list[Comparison]
    blocked: list[Rule]
    model_id: str


class Bars(NamedTuple):
    """In bits: log odds of any two records, least log odds of a link, least weight of what tells relatives apart."""

    prior: float
    score: float
    own: float


class Found(NamedTuple):
    """links: a, b, score, first_seen, rule, refused (see `settled`).  keyed, limits: see `sized`, `caps`.  partners,
    relatives: of a record, on average.  counted: what the scores rest on.  large, most: groups above max_group, and the
    records of the largest."""

    links: DataFrame
    keyed: DataFrame
    limits: dict[str, int]
    partners: float
    relatives: float
    counted: Counted
    large: int
    most: int


def matched(records: DataFrame, plan: Plan, model: dict, rules: Identity) -> Found:
    """The links among prepared `records`, none a copy, by `model`: settings, partners, relatives, counted.

    What the model lacks (None) is counted in `records`; so is `counted` where it does not hold for a file of that size.
    """
    how, distinct = rules.matching, rules.distinct_sources
    weights = weighted(json.loads(model["settings"]), plan.compared)
    known = _counted(records, weights, read(model["counted"]), distinct)
    rare = with_rarity(records, weights, known).localCheckpoint()
    keyed = sized(rare, plan.blocked).persist(StorageLevel.MEMORY_AND_DISK)
    limits = caps(keyed, plan.blocked, how.max_block, how.max_rule_pairs)
    first = scored(proposals(keyed, limits, distinct).select("a", "b").distinct(), rare, weights)
    first = first.select("a", "b", "source_a", "source_b", "total", "own", "named").localCheckpoint()
    partners, relatives = model["partners"], model["relatives"]
    if None in (partners, relatives):
        partners, relatives = mixture(histogram(first), *known.size)
    bar = bars(partners, how.household_size or relatives, known.size, how)
    groups = grouped_keys(linked(first, bar, distinct).where("linked"), rules).localCheckpoint()
    big = groups.where(F.col("n") > how.max_group)
    big = big.agg(F.count_distinct("component").alias("groups"), F.max("n").alias("n")).first()
    again = scored(within(groups, first, how.max_group), rare, weights).withColumn("rule", told(weights))
    links = together(linked(again, bar, distinct))
    return Found(links, keyed, limits, partners, relatives, known, big["groups"], big["n"] or 0)


def _counted(records: DataFrame, weights: list[Weighted], known: Counted | None, distinct: tuple[str, ...]) -> Counted:
    size = size_of(records, distinct)
    if known and holds(known, size) and known.shares.keys() >= tf_columns(weights).keys():
        return known
    return counted(records, weights, size)


def histogram(pairs: DataFrame) -> dict[tuple[float, float], int]:
    """Number of scored `pairs` by (total, own), in half bits: some thousand entries however many pairs."""
    steps = [F.round(F.col(name) * 2).alias(name) for name in ("total", "own")]
    return {(row["total"] / 2, row["own"] / 2): row["count"] for row in pairs.groupBy(*steps).count().collect()}


def bars(partners: float, relatives: float, size: Size, how: Matching) -> Bars:
    """What a pair must reach in a file of that size, whose records have so many partners and relatives on average."""
    own = least_own(relatives, partners, how.household_probability)
    return Bars(prior_bits(partners, *size), how.min_score, own)


def linked(pairs: DataFrame, bar: Bars, distinct: tuple[str, ...]) -> DataFrame:
    """`pairs` with score (log odds in bits) and linked: good enough as a whole and by what relatives do not share."""
    score = F.col("total") + F.lit(bar.prior)
    apart = (F.col("source_a") != F.col("source_b")) | ~F.col("source_a").isin(list(distinct))
    good = (score >= bar.score) & (F.col("own") >= bar.own) & F.col("named") & apart
    once = {side: F.when(F.col(side).isin(list(distinct)), F.col(side)) for side in ("source_a", "source_b")}
    return pairs.withColumns({"score": score, "linked": good} | once)


def grouped_keys(links: DataFrame, rules: Identity) -> DataFrame:
    """(component, key, n) of linked records; n: records of the component."""
    both = links.select(F.explode(F.array("a", "b")).alias("key"), node("link", F.col("a"), F.col("b")).alias("dst"))
    found = components_by(rules, both.select(node("k", F.col("key")).alias("src"), "dst"))
    keys = both.select("key", node("k", F.col("key")).alias("node")).distinct().join(found, "node")
    sizes = keys.groupBy("component").agg(F.count(F.lit(1)).alias("n"))
    return keys.join(sizes, "component").select("component", "key", "n")


def within(groups: DataFrame, known: DataFrame, max_group: int) -> DataFrame:
    """(component, a, b): every pair of a group with at most `max_group` records; of a larger one its `known` pairs.

    In larger groups all pairs are too many; what blocking proposed holds them together or apart (`proposed_only`).
    """
    small, large = groups.where(F.col("n") <= max_group), groups.where(F.col("n") > max_group)
    two = small.select("component", F.col("key").alias("b"))
    every = small.withColumnRenamed("key", "a").join(two, "component").where("a < b")
    one, other = (large.select("component", F.col("key").alias(side)) for side in ("a", "b"))
    rest = known.select("a", "b").join(one, "a").join(other, ["component", "b"])
    return every.select("component", "a", "b").unionByName(rest.select("component", "a", "b"))


def together(pairs: DataFrame) -> DataFrame:
    """The linked pairs, and why some are refused; groups are small and independent, so pandas does it."""
    shape = pairs.select("component", "a", "b", "source_a", "source_b", "score", "linked", "first_seen", "rule")
    return shape.groupBy("component").applyInPandas(settled, KEPT)
