"""Which records are the same person? The whole step: guards, graph, limits, lasting ids, history."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import functions as F

from cdp_spark.identity.components import components
from cdp_spark.identity.edges import guarded_edges, node, refuse_collisions
from cdp_spark.identity.limits import persons_parts
from cdp_spark.identity.matching.links import with_matches
from cdp_spark.identity.persons import anchors, as_known_before, changes, history, inherited, named
from cdp_spark.job import Job
from cdp_spark.storage import Storage


def resolve(job: Job) -> None:
    """Write identity.* for the job's date; what a crash left behind is made anew by the next run of the date."""
    lake = job.lake
    identifiers, rules = with_matches(lake.read("silver.identifiers"), lake.read("identity.matches"), job.conf.identity)
    edges, apart, refused = guarded_edges(identifiers, rules)
    edges = edges.persist(StorageLevel.MEMORY_AND_DISK)
    keys = identifiers.select("subject_key").distinct()
    refuse_collisions(edges, keys)
    checkpoints = f"{lake.root}/_cdp/checkpoints"
    job.spark.sparkContext.setCheckpointDir(checkpoints)
    labels = components(edges, engine=rules.engine, local_max_edges=rules.local_max_edges)
    nodes = keys.withColumn("node", node("k", F.col("subject_key")))
    raw = nodes.join(labels, "node", "left").withColumn("component", F.coalesce("component", "node"))
    raw = raw.persist(StorageLevel.MEMORY_AND_DISK)
    parts, cut = persons_parts(edges, apart, raw.select("subject_key", "component"), rules)
    before = as_known_before(lake.read("identity.members"), job.as_of).localCheckpoint()
    known = anchors(identifiers, lake.read("identity.anchors"))
    current = before.where("valid_to IS NULL").select("subject_key", "person_id")
    known = inherited(known, parts, current).localCheckpoint()
    now = named(parts, known).localCheckpoint()
    lake.write("identity.edges", edges)
    lake.write("identity.components", raw.select("subject_key", "node", "component"))
    lake.write("identity.violations", refused.unionByName(cut))
    lake.write("identity.anchors", known)
    moment = F.lit(job.run_at.replace(tzinfo=None)).cast("timestamp")
    told = changes(before, now, job.as_of).withColumn("recorded_at", moment).withColumn("run_id", F.lit(job.run_id))
    lake.write("identity.members", history(before, now, job.as_of))
    lake.write("identity.changes", told, on=job.as_of)
    Storage(job.spark).delete(checkpoints)
    people = now.agg(F.count(F.lit(1)).alias("keys"), F.count_distinct("person_id").alias("people")).first()
    job.log(f"{people['keys']} records and keys are {people['people']} people")
    for frame in (edges, raw, labels):
        frame.unpersist()
