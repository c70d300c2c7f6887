"""Which records are one person though they share no identifier? The whole step: block, train once, score, group."""

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
from cdp_spark.identity.matching.blocking import Rule, proposals, report, rules, sized
from cdp_spark.identity.matching.cluster import kept
from cdp_spark.identity.matching.comparisons import Comparison, comparisons
from cdp_spark.identity.matching.records import filled, prepared
from cdp_spark.identity.matching.score import partners, prior_bits, scored, told, with_rarity
from cdp_spark.identity.matching.train import settings, trained
from cdp_spark.identity.matching.weights import weighted
from cdp_spark.job import Job

KEPT = "a string, b string, score double, first_seen timestamp, rule string"


class Plan(NamedTuple):
    """What a deployment compares and how it blocks; `model_id` changes with what is compared and when asked to."""

    compared: list[Comparison]
    blocked: list[Rule]
    model_id: str


def plan_of(conf: Conf) -> Plan:
    """From the customers' columns that the sources map: the same whatever the rows hold."""
    rules_, sources = conf.identity.matching, conf.sources.values()
    mapped = {column for source in sources if source.entity == "customers" for column in source.columns}
    columns = filled(mapped, rules_.fields)
    compared = comparisons(columns, rules_.fields)
    text = json.dumps([rules_.training, settings(compared)], sort_keys=True)
    return Plan(compared, rules(columns, rules_.fields), hashlib.sha256(text.encode()).hexdigest()[:12])


def match(job: Job) -> dict | None:
    """Write identity.matches, .models and .blocking. Returns the model (its row) where one was trained, else None."""
    lake, how = job.lake, job.conf.identity.matching
    plan = plan_of(job.conf)
    if not how.enabled or not plan.compared or not plan.blocked:
        lake.write("identity.matches", lake.read("identity.matches").where("false"))
        return None
    customers = lake.read("silver.customers").where(F.col("ingest_date") <= F.lit(job.date))
    records = prepared(current(customers), how.fields).localCheckpoint()  # its plan is long and read by each rule
    known = lake.read("identity.models").where(F.col("model_id") == plan.model_id).first()
    model = known.asDict() if known else _fitted(job, records, plan)
    keyed = sized(records, plan.blocked).persist(StorageLevel.MEMORY_AND_DISK)
    lake.write("identity.blocking", report(keyed, how.max_block))
    _tell_blocking(job)
    found, model = _matches(job, records, keyed, plan, model)
    lake.write("identity.matches", found)
    if not known:
        old = lake.read("identity.models").where(F.col("model_id") != plan.model_id)
        row = job.spark.createDataFrame([model], old.schema)
        lake.write("identity.models", old.unionByName(row).localCheckpoint())
    job.log(f"{lake.writes['identity.matches'].rows} links by model {plan.model_id}")
    keyed.unpersist()
    return None if known else model


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
        "settings": json.dumps(found, sort_keys=True),
    }


def _matches(job: Job, records: DataFrame, keyed: DataFrame, plan: Plan, model: dict) -> tuple[DataFrame, dict]:
    how, distinct = job.conf.identity.matching, job.conf.identity.distinct_sources
    weights = weighted(json.loads(model["settings"]), plan.compared)
    rare = with_rarity(records, weights).localCheckpoint()
    pairs = proposals(keyed, how.max_block, distinct).select("a", "b").distinct()
    first = scored(pairs, rare, weights).select("a", "b", "source_a", "source_b", "total", "own").localCheckpoint()
    count = rare.count()
    if model["partners"] is None:
        steps = first.groupBy(F.round("total", 1).alias("bits")).count().collect()
        model = model | {"partners": partners({row["bits"]: row["count"] for row in steps}, count)}
    prior = prior_bits(model["partners"], count)
    groups = grouped_keys(linked(first, prior, how, distinct).where("linked"), how.max_group)
    again = scored(within(groups), rare, weights).withColumn("rule", told(weights))
    found = together(linked(again, prior, how, distinct))
    shape = found.select(
        F.col("a").alias("subject_key_a"), F.col("b").alias("subject_key_b"), "score", "rule",
        F.lit(plan.model_id).alias("model_id"), "first_seen",
    )  # fmt: skip
    return shape.localCheckpoint(), model


def linked(pairs: DataFrame, prior: float, how: Matching, distinct: tuple[str, ...]) -> DataFrame:
    """`pairs` with score (log odds in bits) and linked: good enough as a whole and by what relatives do not share."""
    score = F.col("total") + F.lit(prior)
    apart = (F.col("source_a") != F.col("source_b")) | ~F.col("source_a").isin(list(distinct))
    good = (score >= how.min_score) & (F.col("own") >= how.min_own) & apart
    once = {side: F.when(F.col(side).isin(list(distinct)), F.col(side)) for side in ("source_a", "source_b")}
    return pairs.withColumns({"score": score, "linked": good} | once)


def grouped_keys(links: DataFrame, max_group: int) -> DataFrame:
    """(component, key) of linked records, of groups with at most `max_group`: in larger ones all pairs are too many.

    A larger group is a chain through strangers; its links are left out and its records stay apart.
    """
    both = links.select(F.explode(F.array("a", "b")).alias("key"), node("link", F.col("a"), F.col("b")).alias("dst"))
    found = components(both.select(node("k", F.col("key")).alias("src"), "dst"))
    keys = both.select("key", node("k", F.col("key")).alias("node")).distinct().join(found, "node")
    sizes = keys.groupBy("component").agg(F.count(F.lit(1)).alias("n"))
    return keys.join(sizes.where(F.col("n") <= max_group), "component").select("component", "key")


def within(groups: DataFrame) -> DataFrame:
    """(component, a, b): every pair of a group."""
    two = groups.select("component", F.col("key").alias("b"))
    return groups.withColumnRenamed("key", "a").join(two, "component").where("a < b")


def together(pairs: DataFrame) -> DataFrame:
    """The linked pairs whose records stay in one group; groups are small and independent, so pandas does it."""
    shape = pairs.select("component", "a", "b", "source_a", "source_b", "score", "linked", "first_seen", "rule")
    return shape.groupBy("component").applyInPandas(kept, KEPT)


def _tell_blocking(job: Job) -> None:
    for row in job.lake.read("identity.blocking").where("refused_keys > 0").orderBy("rule").collect():
        job.log(
            f"blocking {row['rule']}: {row['refused_keys']} values are shared by more than "
            f"{job.conf.identity.matching.max_block} records (largest {row['largest']}) and propose no pairs"
        )
