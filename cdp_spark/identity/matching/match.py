"""Which records are one person though they share no identifier? The whole step: train once, block, score, group."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.matching import filled
from cdp_spark.config.models import Conf
from cdp_spark.gold.profiles import current
from cdp_spark.identity.guards import names_nobody
from cdp_spark.identity.matching.blocking import COPY_BITS, IDENTICAL, Rule, copies, report, rules
from cdp_spark.identity.matching.comparisons import comparisons
from cdp_spark.identity.matching.counted import written
from cdp_spark.identity.matching.links import Found, Plan, matched
from cdp_spark.identity.matching.records import prepared
from cdp_spark.identity.matching.train import settings, trained
from cdp_spark.job import Job
from cdp_spark.lake import Lake


class Made(NamedTuple):
    """links: rows of identity.matches.  found: see `links.matched`.  copied: links of copies.  model: the row of
    identity.models as it is now; before: as it was, None where it was trained just now."""

    links: DataFrame
    found: Found
    copied: int
    model: dict
    before: dict | None


def plan_of(conf: Conf) -> Plan:
    """From the customers' columns that the sources map: the same whatever the rows hold."""
    rules_, sources = conf.identity.matching, conf.sources.values()
    mapped = {column for source in sources if source.entity == "customers" for column in source.columns}
    columns = filled(mapped, rules_.fields)
    compared = comparisons(columns, rules_.fields, rules_.comparisons)
    text = json.dumps([rules_.training, settings(compared)], sort_keys=True)
    blocked = rules(columns, rules_.fields, rules_.blocking)
    return Plan(compared, blocked, hashlib.sha256(text.encode()).hexdigest()[:12])


def match(job: Job) -> dict | None:
    """Write identity.matches, .models and .blocking. Returns the model in use (its row), None where nothing matches."""
    lake, plan = job.lake, plan_of(job.conf)
    if not possible(job.conf, plan):
        _tell_why_none(job)
        lake.write("identity.matches", lake.read("identity.matches").where("false"))
        return None
    done = made(lake, job.conf, plan, job.date, job.log)
    lake.write("identity.blocking", report(done.found.keyed, done.found.limits, done.copied))
    _tell(job, plan.blocked, done.found)
    lake.write("identity.matches", done.links)
    done.found.keyed.unpersist()
    refused = done.links.where("refused IS NOT NULL").count()
    linking = lake.writes["identity.matches"].rows - refused
    job.log(f"{linking} links by model {plan.model_id}; {refused} refused for the other records of their groups")
    if done.model != done.before and done.model["records"]:  # what nobody was there to train is trained another day
        _keep(lake, done.model)
    return done.model


def possible(conf: Conf, plan: Plan) -> bool:
    """Is matching asked for, and do the sources map anything that can be compared?"""
    return bool(conf.identity.matching.enabled and plan.compared and plan.blocked)


def made(lake: Lake, conf: Conf, plan: Plan, day: date, log: Callable[[str], None]) -> Made:
    """The links that `conf` makes of the customers known on `day`; reads the lake and writes nothing."""
    distinct = conf.identity.distinct_sources
    customers = lake.read("silver.customers").where(F.col("ingest_date") <= F.lit(day))
    records = compared_records(customers, conf).localCheckpoint()  # its plan is long and read by each rule
    same = copies(records, plan.compared, distinct).localCheckpoint()
    rest = records.join(same.select(F.col("key").alias("subject_key")), "subject_key", "left_anti").localCheckpoint()
    known = lake.read("identity.models").where(F.col("model_id") == plan.model_id).first()
    before = known.asDict() if known else None
    model = before or _fitted(conf, rest, plan, day, log)
    found = matched(rest, plan, model, conf.identity)
    said = {"partners": found.partners, "relatives": found.relatives, "counted": written(found.counted)}
    if before and before["counted"] != said["counted"]:
        log(f"the file is another size than when model {plan.model_id} was counted: how common values are is anew")
    links = _rows(found.links.unionByName(copied(same, records)), plan.model_id)
    return Made(links, found, same.count(), model | said, before)


def compared_records(customers: DataFrame, conf: Conf) -> DataFrame:
    """The newest row of each record, prepared; numbers and addresses that name nobody say nothing of two records."""
    rules, rows = conf.identity, current(customers)
    for name in ("national_id", "account_number", "email", "phone"):
        own = rules.identifiers[name].blocked_values if name in rules.identifiers else ()
        rows = rows.withColumn(name, F.when(~names_nobody(F.col(name), rules, own), F.col(name)))
    return prepared(rows, rules.matching.fields)


def _keep(lake: Lake, model: dict) -> None:
    old = lake.read("identity.models").where(F.col("model_id") != model["model_id"])
    row = lake.spark.createDataFrame([model], old.schema)
    lake.write("identity.models", old.unionByName(row).localCheckpoint())


def _rows(links: DataFrame, model_id: str) -> DataFrame:
    keys = (F.col("a").alias("subject_key_a"), F.col("b").alias("subject_key_b"))
    return links.select(
        *keys, "score", "rule", F.lit(model_id).alias("model_id"), "first_seen", "refused"
    ).localCheckpoint()


def _fitted(conf: Conf, records: DataFrame, plan: Plan, day: date, log: Callable[[str], None]) -> dict:
    """A model fitted on the sample with the smallest hashes: the same rows whatever their order."""
    size = conf.identity.matching.sample_records
    sample = records.drop("event_time").orderBy(F.xxhash64("subject_key"), "subject_key").limit(size).toPandas()
    log(f"training the matching model on {len(sample)} records")
    found = trained(sample, plan.compared, seed=conf.base.seed)
    known = {"model_id": plan.model_id, "trained_on": day, "records": len(sample)}
    later = dict.fromkeys(("partners", "relatives", "counted"))
    return known | later | {"settings": json.dumps(found, sort_keys=True)}


def copied(same: DataFrame, records: DataFrame) -> DataFrame:
    """The links of copies to the record that stands for them: a, b, score, first_seen, rule, refused."""
    seen = records.select("subject_key", "event_time")
    one, two = (seen.toDF(side, f"seen_{side}") for side in ("a", "b"))
    pairs = same.select(F.col("first").alias("a"), F.col("key").alias("b")).join(one, "a").join(two, "b")
    return pairs.select("a", "b", F.lit(COPY_BITS).alias("score"), F.greatest("seen_a", "seen_b").alias("first_seen"),
                        F.lit(IDENTICAL).alias("rule"), F.lit(None).cast("string").alias("refused"))  # fmt: skip


def _tell_why_none(job: Job) -> None:
    if job.conf.identity.matching.enabled:
        job.warn("matching is enabled, but no source of customers maps a column that can be compared")
    elif not any(source.identifiers for source in job.conf.sources.values()):
        job.warn("no source carries identifiers and `matching:` is not enabled: every record is a person of its own")


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
