"""Which records are one person though they share no identifier? The whole step: train once, block, score, group."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.matching import Matching
from cdp_spark.config.models import Conf
from cdp_spark.gold.profiles import current
from cdp_spark.identity.components import components
from cdp_spark.identity.edges import node
from cdp_spark.identity.matching.blocking import (
    COPY_BITS,
    IDENTICAL,
    Rule,
    caps,
    copies,
    proposals,
    report,
    rules,
    sized,
)
from cdp_spark.identity.matching.cluster import kept
from cdp_spark.identity.matching.comparisons import Comparison, comparisons
from cdp_spark.identity.matching.records import filled, prepared
from cdp_spark.identity.matching.score import least_own, mixture, prior_bits, scored, told, with_rarity
from cdp_spark.identity.matching.train import settings, trained
from cdp_spark.identity.matching.weights import weighted
from cdp_spark.job import Job

KEPT = "a string, b string, score double, first_seen timestamp, rule string"


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
    """links: a, b, score, first_seen, rule.  keyed, limits: see `sized`, `caps`.  partners, relatives: of a record, on
    average.  large, most: groups above max_group, and the records of the largest."""

    links: DataFrame
    keyed: DataFrame
    limits: dict[str, int]
    partners: float
    relatives: float
    large: int
    most: int


def plan_of(conf: Conf) -> Plan:
    """From the customers' columns that the sources map: the same whatever the rows hold."""
    rules_, sources = conf.identity.matching, conf.sources.values()
    mapped = {column for source in sources if source.entity == "customers" for column in source.columns}
    columns = filled(mapped, rules_.fields)
    compared = comparisons(columns, rules_.fields)
    text = json.dumps([rules_.training, settings(compared)], sort_keys=True)
    return Plan(compared, rules(columns, rules_.fields), hashlib.sha256(text.encode()).hexdigest()[:12])


def match(job: Job) -> dict | None:
    """Write identity.matches, .models and .blocking. Returns the model in use (its row), None where nothing matches."""
    lake, how = job.lake, job.conf.identity.matching
    plan = plan_of(job.conf)
    if not how.enabled or not plan.compared or not plan.blocked:
        if how.enabled:
            job.warn("matching is enabled, but no source of customers maps a column that can be compared")
        elif not any(source.identifiers for source in job.conf.sources.values()):
            job.warn(
                "no source carries identifiers and `matching:` is not enabled: every record is a person of its own"
            )
        lake.write("identity.matches", lake.read("identity.matches").where("false"))
        return None
    customers = lake.read("silver.customers").where(F.col("ingest_date") <= F.lit(job.date))
    records = prepared(current(customers), how.fields).localCheckpoint()  # its plan is long and read by each rule
    distinct = job.conf.identity.distinct_sources
    same = copies(records, plan.compared, distinct).localCheckpoint()
    rest = records.join(same.select(F.col("key").alias("subject_key")), "subject_key", "left_anti").localCheckpoint()
    known = lake.read("identity.models").where(F.col("model_id") == plan.model_id).first()
    model = known.asDict() if known else _fitted(job, rest, plan)
    found = matched(rest, plan, model, how, distinct)
    lake.write("identity.blocking", report(found.keyed, found.limits, same.count()))
    _tell(job, plan.blocked, found)
    lake.write("identity.matches", _rows(found.links.unionByName(copied(same, records)), plan.model_id))
    found.keyed.unpersist()
    job.log(f"{lake.writes['identity.matches'].rows} links by model {plan.model_id}")
    if known:
        return model
    model |= {"partners": found.partners, "relatives": found.relatives}
    old = lake.read("identity.models").where(F.col("model_id") != plan.model_id)
    row = job.spark.createDataFrame([model], old.schema)
    lake.write("identity.models", old.unionByName(row).localCheckpoint())
    return model


def _rows(links: DataFrame, model_id: str) -> DataFrame:
    keys = (F.col("a").alias("subject_key_a"), F.col("b").alias("subject_key_b"))
    return links.select(*keys, "score", "rule", F.lit(model_id).alias("model_id"), "first_seen").localCheckpoint()


def _fitted(job: Job, records: DataFrame, plan: Plan) -> dict:
    """A model fitted on the sample with the smallest hashes: the same rows whatever their order."""
    size = job.conf.identity.matching.sample_records
    sample = records.drop("event_time").orderBy(F.xxhash64("subject_key"), "subject_key").limit(size).toPandas()
    job.log(f"training the matching model on {len(sample)} records")
    found = trained(sample, plan.compared, seed=job.conf.base.seed)
    return {
        "model_id": plan.model_id,
        "trained_on": job.date,
        "records": len(sample),
        "partners": None,
        "relatives": None,
        "settings": json.dumps(found, sort_keys=True),
    }


def copied(same: DataFrame, records: DataFrame) -> DataFrame:
    """The links of copies to the record that stands for them: a, b, score, first_seen, rule."""
    seen = records.select("subject_key", "event_time")
    one, two = (seen.toDF(side, f"seen_{side}") for side in ("a", "b"))
    pairs = same.select(F.col("first").alias("a"), F.col("key").alias("b")).join(one, "a").join(two, "b")
    return pairs.select("a", "b", F.lit(COPY_BITS).alias("score"), F.greatest("seen_a", "seen_b").alias("first_seen"),
                        F.lit(IDENTICAL).alias("rule"))  # fmt: skip


def matched(records: DataFrame, plan: Plan, model: dict, how: Matching, distinct: tuple[str, ...]) -> Found:
    """The links among prepared `records`, none a copy, by `model`: settings, partners, relatives (None: counted)."""
    weights = weighted(json.loads(model["settings"]), plan.compared)
    rare = with_rarity(records, weights).localCheckpoint()
    keyed, size = sized(rare, plan.blocked).persist(StorageLevel.MEMORY_AND_DISK), size_of(rare, distinct)
    limits = caps(keyed, plan.blocked, how.max_block, how.max_rule_pairs)
    pairs = proposals(keyed, limits, distinct).select("a", "b").distinct()
    first = (
        scored(pairs, rare, weights).select("a", "b", "source_a", "source_b", "total", "own", "named").localCheckpoint()
    )
    partners, relatives = model["partners"], model["relatives"]
    if None in (partners, relatives):
        partners, relatives = mixture(histogram(first), *size)
    bar = bars(partners, how.household_size or relatives, size, how)
    groups = grouped_keys(linked(first, bar, distinct).where("linked")).localCheckpoint()
    large = groups.where(F.col("n") > how.max_group)
    big = large.agg(F.count_distinct("component").alias("groups"), F.max("n").alias("n")).first()
    again = scored(within(groups, first, how.max_group), rare, weights).withColumn("rule", told(weights))
    links = together(linked(again, bar, distinct))
    return Found(links, keyed, limits, partners, relatives, big["groups"], big["n"] or 0)


def histogram(pairs: DataFrame) -> dict[tuple[float, float], int]:
    """Number of scored `pairs` by (total, own), in half bits: some thousand entries however many pairs."""
    steps = [F.round(F.col(name) * 2).alias(name) for name in ("total", "own")]
    return {(row["total"] / 2, row["own"] / 2): row["count"] for row in pairs.groupBy(*steps).count().collect()}


class Size(NamedTuple):
    """How many records there are, and how many pairs of them may be linked at all."""

    records: int
    pairs: float


def size_of(records: DataFrame, distinct: tuple[str, ...]) -> Size:
    """Pairs inside a source that holds each person once are none that may be linked."""
    counts = {row["source"]: row["count"] for row in records.groupBy("source").count().collect()}
    whole = sum(counts.values())
    apart = sum(n * (n - 1) / 2 for source, n in counts.items() if source in distinct)
    return Size(whole, whole * (whole - 1) / 2 - apart)


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


def grouped_keys(links: DataFrame) -> DataFrame:
    """(component, key, n) of linked records; n: records of the component."""
    both = links.select(F.explode(F.array("a", "b")).alias("key"), node("link", F.col("a"), F.col("b")).alias("dst"))
    found = components(both.select(node("k", F.col("key")).alias("src"), "dst"))
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
    """The linked pairs whose records stay in one group; groups are small and independent, so pandas does it."""
    shape = pairs.select("component", "a", "b", "source_a", "source_b", "score", "linked", "first_seen", "rule")
    return shape.groupBy("component").applyInPandas(kept, KEPT)


def _tell(job: Job, used: list[Rule], found: Found) -> None:
    """Whatever was not looked at in full, so that nothing is lost in silence: sizes, never a value."""
    how, limits = job.conf.identity.matching, found.limits
    for rule in used:
        if limits[rule.name] < min(how.max_block, rule.most or how.max_block):
            job.warn(
                f"blocking by {rule.name} would propose more than matching.max_rule_pairs {how.max_rule_pairs} pairs: "
                f"its values on more than {limits[rule.name]} records propose none"
            )
    if found.large:
        job.warn(
            f"{found.large} group(s) of linked records are larger than matching.max_group {how.max_group} (largest: "
            f"{found.most}): proposed_only, their records are compared only where blocking proposed it"
        )
    for row in job.lake.read("identity.blocking").where("refused_keys > 0").orderBy("rule").collect():
        job.log(
            f"blocking by {row['rule']}: {row['refused_keys']} values are shared by more than {row['max_block']} "
            f"records, the largest by {row['largest']}, and propose no pairs"
        )
