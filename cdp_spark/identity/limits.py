"""Is this component one person? Those that break a limit, a CANNOT-LINK row or a source's promise are cut."""

from __future__ import annotations

from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.source import Identity
from cdp_spark.identity.components import components_by
from cdp_spark.identity.cut import CANNOT, SOURCE, cut
from cdp_spark.identity.edges import Guarded, bipartite, node

PERIOD = {"daily": "day", "weekly": "week", "monthly": "month", "annually": "year"}
LINK = ("subject_key", "namespace", "value", "other_key", "priority", "score", "first_seen")
FACT = ("constraint", "place", "item")
DONE = "subject_key string, part bigint, namespace string, value string, code string, detail string"
CUT_CODES = ("limit_exceeded", "distinct_source", "cannot_link", "component_too_large")


def counts(rules: Identity) -> dict[str, int]:
    """Items a part may hold, by constraint: a namespace with a limit, a source without duplicates, CANNOT-LINK."""
    return {n: r.limit.count for n, r in rules.identifiers.items() if r.limit} | {SOURCE: 1, CANNOT: 1}


def _period(rules: Identity) -> Column:
    """The calendar period in which a component first saw a value, as its namespace's limit counts; '' for ever."""
    first, found = F.min("first_seen").over(Window.partitionBy("component", "namespace", "value")), F.lit("")
    for name, rule in rules.identifiers.items():
        if rule.limit and rule.limit.window in PERIOD:
            start = F.coalesce(F.date_trunc(PERIOD[rule.limit.window], first).cast("string"), F.lit(""))
            found = F.when(F.col("namespace") == name, start).otherwise(found)
    return found


def facts(guarded: Guarded, found: DataFrame, rules: Identity) -> DataFrame:
    """(component, subject_key, namespace, value, constraint, place, item): what parts may hold a limited number of.

    namespace and value are null where the fact is the key's own, not that of a value it is linked to.
    """
    limited = [name for name, rule in rules.identifiers.items() if rule.limit]
    seen = ["subject_key", "namespace", "value", "first_seen"]
    values = guarded.edges.select(*seen, F.lit(True).alias("links"))
    values = values.unionByName(guarded.apart.select(*seen, F.lit(False).alias("links")))
    values = values.where(F.col("namespace").isin(limited)).join(found, "subject_key")
    own = [F.when(F.col("links"), F.col(name)).alias(name) for name in ("namespace", "value")]
    values = values.withColumn("place", _period(rules)).select(
        "component", "subject_key", *own, F.col("namespace").alias("constraint"), "place", F.col("value").alias("item")
    )
    return values.unionByName(_of_sources(found, rules)).unionByName(_of_pairs(guarded.cannot, found))


def _own(rows: DataFrame, constraint: str) -> DataFrame:
    nothing = F.lit(None).cast("string")
    return rows.select("component", "subject_key", nothing.alias("namespace"), nothing.alias("value"),
                       F.lit(constraint).alias("constraint"), "place", F.col("subject_key").alias("item"))  # fmt: skip


def _of_sources(found: DataFrame, rules: Identity) -> DataFrame:
    source = F.split_part("subject_key", F.lit("|"), F.lit(1))
    return _own(found.where(source.isin(list(rules.distinct_sources))).withColumn("place", source), SOURCE)


def _of_pairs(cannot: DataFrame, found: DataFrame) -> DataFrame:
    place = F.concat_ws("\u0001", "subject_key", "other_key")
    ends = cannot.withColumn("place", place).select(
        "place", F.explode(F.array("subject_key", "other_key")).alias("end")
    )
    return _own(ends.withColumnRenamed("end", "subject_key").join(found, "subject_key"), CANNOT)


def broken(held: DataFrame, allowed: dict[str, int]) -> DataFrame:
    """(component) of those that hold more items of a constraint in one place than a person may."""
    found = held.groupBy("component", "constraint", "place").agg(F.count_distinct("item").alias("n"))
    over = [(F.col("constraint") == name) & (F.col("n") > count) for name, count in allowed.items()]
    return found.where(reduce(lambda a, b: a | b, over)).select("component").distinct()


def persons_parts(guarded: Guarded, found: DataFrame, rules: Identity) -> tuple[DataFrame, DataFrame]:
    """(parts, refused): part of each subject key after limits, and the links that were refused.

    found: (subject_key, component).  Only components that break a constraint are cut, each exactly (see `cut`) up to
    `exact_max_links` links. Above that the fallback `weakest_out`: the links of the component's weakest priority link
    nobody there (code component_too_large, logged by the caller), and what then still hangs together is judged anew.
    """
    held = facts(guarded, found, rules).localCheckpoint()
    over = broken(held, counts(rules)).localCheckpoint()
    work = guarded.edges.select(*LINK).join(found, "subject_key").join(over, "component")
    sizes = work.groupBy("component").agg(F.count(F.lit(1)).alias("n"), F.max("priority").alias("weakest"))
    large = sizes.where((F.col("n") > rules.exact_max_links) & (F.col("weakest") > 0)).localCheckpoint()
    small = over.join(large, "component", "left_anti")
    parts, refused = _exactly(work.join(small, "component"), held.join(small, "component"), rules)
    whole = found.join(over, "component", "left_anti").select("subject_key", F.col("component").alias("part"))
    parts = whole.unionByName(parts)
    if large.isEmpty():
        return parts, refused
    more, told = _weakest_out(guarded, found.join(large, "component"), rules)
    return parts.unionByName(more), refused.unionByName(told)


def _exactly(work: DataFrame, held: DataFrame, rules: Identity) -> tuple[DataFrame, DataFrame]:
    rows = work.unionByName(held, allowMissingColumns=True)
    done = rows.groupBy("component").applyInPandas(_cutter(counts(rules)), DONE).localCheckpoint()
    return done.where("code IS NULL").select("subject_key", "part"), done.where("code IS NOT NULL").drop("part")


def _cutter(allowed: dict[str, int]):
    def run(rows: pd.DataFrame) -> pd.DataFrame:
        isfact = rows["constraint"].notna()
        keys, refused = cut(rows[~isfact], rows[isfact], allowed)
        first = pd.DataFrame({"subject_key": list(keys), "part": list(keys.values())})
        both = pd.concat([first, refused], ignore_index=True)
        columns = ["subject_key", "part", "namespace", "value", "code", "detail"]
        return both.reindex(columns=columns).astype({"part": "Int64"})

    return run


def _weakest_out(guarded: Guarded, large: DataFrame, rules: Identity) -> tuple[DataFrame, DataFrame]:
    """(parts, refused) of components too large to cut; large: (subject_key, component, n, weakest)."""
    links = guarded.edges.join(large.select("subject_key", "weakest"), "subject_key")
    strong = links.where("priority < weakest").drop("weakest").localCheckpoint()
    told = links.where("priority >= weakest").select(
        "subject_key", "namespace", "value", F.lit("component_too_large").alias("code"),
        F.lit("weakest_out: the weakest links of a component too large to cut").alias("detail"),
    )  # fmt: skip
    labels = components_by(rules, bipartite(strong))
    keys = large.select("subject_key").withColumn("node", node("k", F.col("subject_key")))
    again = keys.join(labels, "node", "left").select("subject_key", F.coalesce("component", "node").alias("component"))
    parts, refused = persons_parts(guarded._replace(edges=strong), again.localCheckpoint(), rules)
    labels.unpersist()
    return parts, refused.unionByName(told)
