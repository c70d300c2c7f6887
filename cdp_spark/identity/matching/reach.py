"""Which true pairs does each blocking rule propose? Pair completeness, where there is a truth."""

from __future__ import annotations

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.identity.matching.blocking import IDENTICAL, caps, copies, proposals, sized
from cdp_spark.identity.matching.match import compared_records, plan_of
from cdp_spark.lake import Lake

ALL = "all rules together"


def reach(lake: Lake, conf: Conf, truth: pd.DataFrame | None) -> list[dict]:
    """A row a rule (rule, pairs, refused_keys, largest, true_pairs, share) and one of all rules together.

    truth: record_id, entity_id and, where the names are those of the deployment, source. Bounded by the rules' number.
    """
    rows = [row.asDict() for row in lake.read("identity.blocking").orderBy(F.desc("pairs"), "rule").collect()]
    if truth is None:
        return rows
    plan, how, distinct = plan_of(conf), conf.identity.matching, conf.identity.distinct_sources
    records = compared_records(lake.read("silver.customers"), conf).localCheckpoint()
    same = copies(records, plan.compared, distinct).localCheckpoint()
    rest = records.join(same.select(F.col("key").alias("subject_key")), "subject_key", "left_anti")
    keyed = sized(rest, plan.blocked).localCheckpoint()
    pairs = proposals(keyed, caps(keyed, plan.blocked, how.max_block, how.max_rule_pairs), distinct)
    known = _known(records, same, truth).localCheckpoint()
    total = _pairs_inside(known.groupBy("entity_id").agg(F.sum("n").alias("n")))
    by_rule = {row["rule"]: row["n"] for row in _true(pairs, known, "rule").collect()}
    by_rule[IDENTICAL] = _pairs_inside(known)
    every = pairs.select("a", "b").distinct().localCheckpoint()
    by_rule[ALL] = by_rule[IDENTICAL] + (_true(every, known).first()["n"] or 0)
    rows.append({"rule": ALL, "pairs": every.count(), "refused_keys": 0, "largest": 0})
    return [
        row | {"true_pairs": (n := by_rule.get(row["rule"], 0)), "share": n / total if total else 1.0} for row in rows
    ]


def _known(records: DataFrame, same: DataFrame, truth: pd.DataFrame) -> DataFrame:
    """(entity_id, key, n): records of an entity that one compared record stands for, itself and its copies."""
    text = truth.astype(str)[[c for c in ("source", "record_id", "entity_id") if c in truth]]
    labels = records.sparkSession.createDataFrame(text)
    subject = F.expr("substring(subject_key, length(source) + 2)").alias("record_id")
    named = records.select("subject_key", "source", subject)
    key = ["source", "record_id"] if "source" in text else ["record_id"]
    stands = named.join(labels.select(*key, "entity_id"), key)
    stands = stands.join(same.withColumnRenamed("key", "subject_key"), "subject_key", "left")
    return stands.groupBy("entity_id", F.coalesce("first", "subject_key").alias("key")).agg(
        F.count(F.lit(1)).alias("n")
    )


def _pairs_inside(groups: DataFrame) -> int:
    return groups.agg(F.sum(F.expr("n * (n - 1) div 2")).alias("n")).first()["n"] or 0


def _true(pairs: DataFrame, known: DataFrame, *by: str) -> DataFrame:
    """Number of true pairs among `pairs` (a, b), those of copies too."""
    one, two = (known.select("entity_id", F.col("key").alias(s), F.col("n").alias(f"n{s}")) for s in ("a", "b"))
    return pairs.join(one, "a").join(two, ["entity_id", "b"]).groupBy(*by).agg(F.sum(F.expr("na * nb")).alias("n"))
