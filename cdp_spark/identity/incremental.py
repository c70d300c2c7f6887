"""What has to be recomputed? The raw components that a run touches; the rest is taken from the run before."""

from __future__ import annotations

from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity.components import components_by
from cdp_spark.identity.edges import Guarded, bipartite
from cdp_spark.identity.limits import CUT_CODES, persons_parts

AUTO_MAX_SHARE = 0.5  # of the keys: above it a full run is cheaper than finding out what to leave


class Base(NamedTuple):
    """identity.components and identity.violations as one complete run with the same rules left them."""

    components: DataFrame
    violations: DataFrame


class Parted(NamedTuple):
    """components: see identity.components.  refused: links refused after the graph.  work: rows and keys by kind."""

    components: DataFrame
    refused: DataFrame
    work: dict[str, int]


def signed(nodes: DataFrame, good: Guarded) -> DataFrame:
    """(subject_key, node, signature): the signature changes where anything does that decides a key's person.

    An exclusive or over hashes of the key's usable links (value, priority, score, first seen), of its values that
    keep apart and of its CANNOT-LINK rows: hubs, windows, expired rules and matches are in it by their effect.
    """
    one = F.xxhash64(F.lit("link"), "namespace", "value", "other_key", "priority", "score", "first_seen")
    rows = good.edges.select("subject_key", one.alias("h"))
    two = F.xxhash64(F.lit("apart"), "namespace", "value", "first_seen")
    rows = rows.unionByName(good.apart.select("subject_key", two.alias("h")))
    for mine, other in (("subject_key", "other_key"), ("other_key", "subject_key")):
        three = F.xxhash64(F.lit("cannot"), F.col(other))
        rows = rows.unionByName(good.cannot.select(F.col(mine).alias("subject_key"), three.alias("h")))
    hashes = rows.groupBy("subject_key").agg(F.bit_xor("h").alias("signature"))
    return nodes.join(hashes, "subject_key", "left").withColumn("signature", F.coalesce("signature", F.lit(0)))


def parted(good: Guarded, nodes: DataFrame, rules: Identity, base: Base | None) -> Parted:
    """Components and parts of every key of `nodes` (see `signed`); from `base` where nothing touches a component."""
    nodes = nodes.persist(StorageLevel.MEMORY_AND_DISK)
    work = {"keys": nodes.count()}
    reach = None
    if base is not None and rules.incremental != "never":
        reach = touched(good, nodes, base).localCheckpoint()
        work["touched_keys"] = reach.count()
        if rules.incremental == "auto" and work["touched_keys"] > AUTO_MAX_SHARE * work["keys"]:
            reach = None
    found = _computed(good, nodes, rules) if reach is None else _partly(good, reach, nodes, rules, base)
    nodes.unpersist()
    full = {"incremental": 0, "touched_keys": work["keys"]} if reach is None else {"incremental": 1}
    return found._replace(work=work | full | found.work)


def touched(good: Guarded, nodes: DataFrame, base: Base) -> DataFrame:
    """(subject_key, node, signature) of every key whose raw component may differ from the one in `base`.

    Those are the keys that changed, came or went, the keys that now share a value or a link with one of them, and
    all others that were in one raw component with any of these.
    """
    old = base.components.select("subject_key", F.col("component").alias("was"), F.col("signature").alias("old"))
    both = nodes.join(old, "subject_key", "full").localCheckpoint()
    changed = both.where("NOT (signature <=> old) OR node IS NULL OR was IS NULL")
    links = bipartite(good.edges)
    values = links.join(changed.select(F.col("node").alias("src")), "src").select("dst").distinct()
    near = links.join(values, "dst").select(F.col("src").alias("node")).distinct()
    moved = changed.select("node", "was").unionByName(both.join(near, "node").select("node", "was"))
    here = both.where("node IS NOT NULL")
    reach = here.join(moved.where("was IS NOT NULL").select("was").distinct(), "was", "left_semi")
    reach = reach.select(*nodes.columns).unionByName(here.where("was IS NULL").select(*nodes.columns))
    return reach.distinct()


def _partly(good: Guarded, reach: DataFrame, nodes: DataFrame, rules: Identity, base: Base) -> Parted:
    mine = reach.select("subject_key")
    here = good._replace(edges=good.edges.join(mine, "subject_key"), apart=good.apart.join(mine, "subject_key"))
    found = _computed(here, reach, rules)
    kept = base.components.join(nodes.select("subject_key"), "subject_key", "left_semi")
    kept = kept.join(mine, "subject_key", "left_anti").select(*found.components.columns)
    told = base.violations.where(F.col("code").isin(*CUT_CODES)).join(nodes, "subject_key", "left_semi")
    told = told.join(mine, "subject_key", "left_anti").select(*found.refused.columns)
    return Parted(
        found.components.unionByName(kept).localCheckpoint(),
        found.refused.unionByName(told).localCheckpoint(),
        found.work,
    )


def _computed(good: Guarded, nodes: DataFrame, rules: Identity) -> Parted:
    links = bipartite(good.edges)
    labels = components_by(rules, links)
    raw = nodes.join(labels, "node", "left").withColumn("component", F.coalesce("component", "node")).localCheckpoint()
    labels.unpersist()
    parts, refused = persons_parts(good, raw.select("subject_key", "component"), rules)
    found = raw.join(parts, "subject_key").select("subject_key", "node", "component", "part", "signature")
    return Parted(found.localCheckpoint(), refused, {"rows_into_components": links.count()})
