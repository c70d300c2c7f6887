"""What does the step `resolve` read and write? The world around `people.resolved`."""

from __future__ import annotations

from pyspark.sql import functions as F

from cdp_spark.identity.gate import approval, word_for
from cdp_spark.identity.pairs import links_frame
from cdp_spark.identity.people import Resolved, resolved
from cdp_spark.identity.state import base_of, row_of_run
from cdp_spark.job import Job

WRITES = ("edges", "components", "violations", "anchors", "members")


def resolve(job: Job) -> None:
    """Write identity.* for the job's date; identity.runs last: without its row the tables before it do not count.

    Raises PlanError, before anything is written, where changed rules change more than `plan:` allows.
    """
    lake, word = job.lake, word_for(job)
    found = resolved(
        lake.read("silver.identifiers"),
        lake.read("identity.matches"),
        links_frame(job.spark, job.conf.links),
        lake.read("identity.members"),
        lake.read("identity.anchors"),
        job.conf.identity,
        job.as_of,
        base_of(lake, job.conf),
    )
    try:
        said = approval(job, word, found)
        for name in WRITES:
            lake.write(f"identity.{name}", getattr(found, name))
        moment = F.lit(job.run_at.replace(tzinfo=None)).cast("timestamp")
        told = found.changes.withColumn("recorded_at", moment).withColumn("run_id", F.lit(job.run_id))
        lake.write("identity.changes", told, on=job.as_of)
        lake.write("identity.runs", row_of_run(job, found, said, word.applied), on=job.as_of)
        tell(job, found)
    finally:
        found.release()


def tell(job: Job, found: Resolved) -> None:
    """Lines of progress: people, what was recomputed, and what was refused, by code and number."""
    people = found.now.agg(F.count_distinct("person_id").alias("people")).first()["people"]
    how = "incremental" if found.work["incremental"] else "full"
    job.log(f"{found.work['keys']} records and keys are {people} people ({how}: {found.work['touched_keys']} touched)")
    refused = {row["code"]: row["count"] for row in found.violations.groupBy("code").count().collect()}
    if refused:
        job.log("refused links: " + ", ".join(f"{code} {count}" for code, count in sorted(refused.items())))
    for code, meaning in TOLD.items():
        if refused.get(code):
            job.warn(f"{refused[code]} links: {code}: {meaning}")


TOLD = {
    "expired_rule": "rows of conf/links.csv that have expired and are ignored: remove or renew them",
    "unknown_key": "a row of conf/links.csv or a match names a record that there is not: mend or remove it",
    "unknown_namespace": "identifiers of a namespace that conf/identity.yml does not name link nobody",
    "component_too_large": "a component beyond exact_max_links broke a limit; its weakest namespace links nobody there "
    "(weakest_out): block the value that ties it, or lower max_records",
}
