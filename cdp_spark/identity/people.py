"""Which records are the same person? Guards, graph, limits and lasting ids as one pure function."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity.edges import guarded, node, refuse_collisions
from cdp_spark.identity.incremental import Base, parted, signed
from cdp_spark.identity.persons import anchors, as_known_before, changes, history, inherited, named


class Resolved(NamedTuple):
    """Everything a run of identity says, in the shapes of conf/tables/identity.yml.

    now: (subject_key, person_id) of today.  changes: without recorded_at and run_id.  work: what was recomputed.
    """

    edges: DataFrame
    components: DataFrame
    violations: DataFrame
    anchors: DataFrame
    now: DataFrame
    members: DataFrame
    changes: DataFrame
    work: dict[str, int]

    def release(self) -> None:
        """Give back what is held in memory, once everything is written."""
        for frame in (self.edges, self.components):
            frame.unpersist()


def resolved(
    identifiers: DataFrame,
    matches: DataFrame,
    links: DataFrame,
    members: DataFrame,
    known: DataFrame,
    rules: Identity,
    as_of: date,
    base: Base | None = None,
) -> Resolved:
    """Who is who on `as_of`.

    identifiers: silver.identifiers.  matches: at least `pairs.MATCHES`.  links: `pairs.LINKS`.  members, known:
    identity.members and .anchors as they stand (empty before the first run).  base: what an earlier run with the same
    rules left; given it, only components that it touches are recomputed, and the result equals the one without it.
    """
    # a column of its own by its alias: Spark fails to join a checkpoint with deeper plans over the same table's column
    keys = identifiers.select(F.col("subject_key").alias("subject_key")).distinct().localCheckpoint()
    good = guarded(identifiers, matches, links, keys, rules, as_of)
    good = good._replace(edges=good.edges.persist(StorageLevel.MEMORY_AND_DISK), cannot=good.cannot.localCheckpoint())
    refuse_collisions(good.edges, keys)
    nodes = signed(keys.withColumn("node", node("k", F.col("subject_key"))), good)
    found = parted(good, nodes, rules, base)
    before = as_known_before(members, as_of).localCheckpoint()
    current = before.where("valid_to IS NULL").select("subject_key", "person_id")
    parts = found.components.select("subject_key", "part")
    heirs = inherited(anchors(identifiers, known), parts, current).localCheckpoint()
    now = named(parts, heirs).localCheckpoint()
    return Resolved(
        good.edges,
        found.components,
        good.refused.unionByName(found.refused),
        heirs,
        now,
        history(before, now, as_of),
        changes(before, now, as_of),
        found.work,
    )
