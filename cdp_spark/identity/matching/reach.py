"""Which true pairs does each blocking rule propose? Pair completeness, where there is a truth."""

from __future__ import annotations

import pandas as pd
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.gold.profiles import current
from cdp_spark.identity.matching.blocking import proposals, sized
from cdp_spark.identity.matching.match import plan_of
from cdp_spark.identity.matching.records import prepared
from cdp_spark.lake import Lake


def reach(lake: Lake, conf: Conf, truth: pd.DataFrame | None) -> list[dict]:
    """A row a rule (rule, pairs, refused_keys, largest, true_pairs, share) and one of all rules together.

    truth: record_id, entity_id and, where the names are those of the deployment, source. Bounded by the rules' number.
    """
    rows = [row.asDict() for row in lake.read("identity.blocking").orderBy(F.desc("pairs"), "rule").collect()]
    if truth is None:
        return rows
    how, distinct = conf.identity.matching, conf.identity.distinct_sources
    records = prepared(current(lake.read("silver.customers")), how.fields).localCheckpoint()
    pairs = proposals(sized(records, plan_of(conf).blocked), how.max_block, distinct)
    text = truth.astype(str)[[c for c in ("source", "record_id", "entity_id") if c in truth]]
    labels = lake.spark.createDataFrame(text)
    subject = F.expr("substring(subject_key, length(source) + 2)").alias("record_id")
    named = records.select("subject_key", "source", subject)
    key = ["source", "record_id"] if "source" in text else ["record_id"]
    known = named.join(labels, key).select("subject_key", "entity_id").localCheckpoint()
    sizes = known.groupBy("entity_id").count()
    total = sizes.agg(F.sum(F.expr("count * (count - 1) / 2")).alias("n")).first()["n"] or 0
    one, two = (known.select(F.col("subject_key").alias(s), F.col("entity_id").alias(f"e{s}")) for s in ("a", "b"))
    true = pairs.join(one, "a").join(two, "b").where("ea = eb").localCheckpoint()
    by_rule = {row["rule"]: row["count"] for row in true.groupBy("rule").count().collect()}
    together = {"rule": "all rules together", "pairs": pairs.select("a", "b").distinct().count()}
    rows.append(together | {"refused_keys": 0, "largest": 0})
    by_rule["all rules together"] = true.select("a", "b").distinct().count()
    return [
        row | {"true_pairs": (n := by_rule.get(row["rule"], 0)), "share": n / total if total else 1.0} for row in rows
    ]
