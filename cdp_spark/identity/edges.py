"""Which links may be used? Identifiers, probabilistic matches and a steward's rows as one table of edges."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity import guards, pairs


class CollisionError(Exception):
    """Two nodes got one 64-bit id: the graph would merge strangers."""


class Guarded(NamedTuple):
    """What the guards let through.

    edges: see identity.edges; `dst` is a value's node, or the other key's where `other_key` is given.
    apart: (subject_key, namespace, value, first_seen) of namespaces that do not link but may keep apart.
    cannot: (subject_key, other_key) that are never one person.  refused: see identity.violations.
    """

    edges: DataFrame
    apart: DataFrame
    cannot: DataFrame
    refused: DataFrame


def node(kind: str, *parts: Column) -> Column:
    """64-bit id of a node; kinds never share ids by construction of the hashed text."""
    return F.xxhash64(F.lit(kind), *parts)


def guarded(
    identifiers: DataFrame, matches: DataFrame, links: DataFrame, keys: DataFrame, rules: Identity, as_of: date
) -> Guarded:
    """The links that hold on `as_of`, and those that do not, each with its code.

    identifiers: silver.identifiers.  matches: `pairs.MATCHES`.  links: `pairs.LINKS`.  keys: (subject_key), distinct.
    """
    rows = guards.judged(identifiers, rules)
    good = rows.where("code IS NULL").withColumn(
        "links", guards.per_namespace(rules, lambda rule: rule.link).cast("boolean")
    )
    fuzzy, manual = pairs.judged_matches(matches, keys, rules), pairs.judged_links(links, keys, as_of)
    said = manual.where("code IS NULL")
    edges = _of_values(good.where("links"), rules)
    edges = edges.unionByName(_of_pairs(fuzzy.where("code IS NULL"), F.lit(pairs.MATCH), rules.match_priority))
    must = said.where(F.col("kind") == pairs.MUST).withColumn("score", F.lit(None).cast("double"))
    edges = edges.unionByName(_of_pairs(must, F.lit(pairs.MUST), 0))
    refused = guards.refused(rows).unionByName(pairs.refused(fuzzy, F.lit(pairs.MATCH)))
    return Guarded(
        edges,
        good.where("NOT links").select("subject_key", "namespace", "value", "first_seen"),
        said.where(F.col("kind") == pairs.CANNOT).select("subject_key", "other_key"),
        refused.unionByName(pairs.refused(manual, F.col("kind"))),
    )


def _of_values(rows: DataFrame, rules: Identity) -> DataFrame:
    return rows.select(
        "subject_key",
        "namespace",
        "value",
        F.lit(None).cast("string").alias("other_key"),
        F.lit("same value").alias("rule"),
        guards.per_namespace(rules, lambda rule: rule.priority).cast("int").alias("priority"),
        F.lit(None).cast("double").alias("score"),
        "first_seen",
        "last_seen",
        node("k", F.col("subject_key")).alias("src"),
        node("v", F.col("namespace"), F.col("value")).alias("dst"),
    )


def _of_pairs(rows: DataFrame, namespace: Column, priority: int) -> DataFrame:
    nothing = F.lit(None).cast("timestamp")
    return rows.select(
        "subject_key",
        namespace.alias("namespace"),
        F.col("other_key").alias("value"),
        "other_key",
        "rule",
        F.lit(priority).cast("int").alias("priority"),
        F.col("score").cast("double").alias("score"),
        nothing.alias("first_seen"),
        nothing.alias("last_seen"),
        node("k", F.col("subject_key")).alias("src"),
        node("k", F.col("other_key")).alias("dst"),
    )


def bipartite(edges: DataFrame) -> DataFrame:
    """(src, dst) from keys to values alone: a link between two keys becomes a value of its own that both carry."""
    pair = node("p", F.col("src"), F.col("dst"))
    between = edges.where("other_key IS NOT NULL").select(
        F.explode(F.array("src", "dst")).alias("src"), pair.alias("dst")
    )
    return edges.where("other_key IS NULL").select("src", "dst").unionByName(between)


def refuse_collisions(edges: DataFrame, keys: DataFrame) -> None:
    """Raises CollisionError where two different nodes share an id (2^64 ids: about 1 in 10^5 at 20 M nodes).

    keys: (subject_key) of every key, those without an edge too.
    """
    own = keys.select(node("k", F.col("subject_key")).alias("id"), F.col("subject_key").alias("text"))
    values = edges.where("other_key IS NULL").select(
        F.col("dst").alias("id"), F.concat_ws("\u0001", "namespace", "value").alias("text")
    )
    nodes = own.unionByName(values).distinct()
    if nodes.groupBy("id").count().where("count > 1").limit(1).count():
        raise CollisionError("two nodes share a 64-bit id; nothing was linked: change the hashed text in edges.py")
