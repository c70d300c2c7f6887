"""Why was this person addressed, or not? From an export row over the audience back to the facts and their files."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.people import heirs
from cdp_spark.governance.consent import consent_state, of_persons, standing
from cdp_spark.identity.state import published
from cdp_spark.job import Job

FACT = ("purpose", "channel", "status", "event_time", "known_at", "source", "record_id", "text_version", "namespace")


def persons(job: Job, who: str) -> list[str]:
    """Current persons that `who` names: a person_id of any time, a subject key, or a value of an export row."""
    members = published(job.lake, "identity.members")
    sent = job.lake.read("activation.sent").where(F.array_contains(F.map_values("values"), who)).select("person_id")
    then = members.where((F.col("person_id") == who) | (F.col("subject_key") == who)).select("person_id")
    named = then.unionByName(sent).distinct()
    return sorted(row["now"] for row in named.join(heirs(members), "person_id").select("now").distinct().collect())


def trace(job: Job, person: str, known: datetime | None = None) -> dict:
    """All that decides about one person at job.run_at, as plain values; what was said under is masked.

    known: only what was known by then. Keys: person_id, purposes, facts (stands: it counts now), audiences, sent.
    """
    lake, purposes = job.lake, job.conf.purposes
    identifiers, members = lake.read("silver.identifiers"), published(lake, "identity.members")
    facts = lake.read("silver.consents")
    if known:
        facts = facts.where(F.col("known_at") <= F.lit(known))
    state = consent_state(facts, identifiers, members, purposes, job.run_at).where(F.col("person_id") == person)
    counts = of_persons(standing(facts, purposes, job.run_at), identifiers, members)
    counts = counts.where(F.col("person_id") == person).select("source", "record_id", "namespace", "value").distinct()
    keys = members.where(F.col("person_id") == person).select("subject_key")
    mine = facts.join(
        identifiers.join(keys, "subject_key").select("namespace", "value").distinct(), ["namespace", "value"]
    )
    said = (
        mine.select(*FACT, "value").unionByName(facts.join(counts, [*counts.columns]).select(*FACT, "value")).distinct()
    )
    stands = counts.withColumn("stands", F.lit(True))
    rows = said.join(stands, ["source", "record_id", "namespace", "value"], "left")
    rows = rows.select(*FACT, _masked("value").alias("value"), F.coalesce("stands", F.lit(False)).alias("stands"))
    found = rows.orderBy("purpose", F.desc("event_time"), "source", "record_id").collect()
    return {
        "person_id": person,
        "purposes": [_purpose(row, purposes[row["purpose"]]) for row in state.orderBy("purpose").collect()],
        "facts": [row.asDict() | {"file": _file(job, row["source"], row["record_id"])} for row in found],
        "audiences": _rows(lake.read("activation.members"), person, "audience", "since", "left", "arm", "consent_id"),
        "sent": _rows(
            _sent(lake.read("activation.sent"), members, person),
            person,
            "destination",
            "delivery_id",
            "op",
            "audience",
            "sent_at",
        ),
    }


def _purpose(row, purpose) -> dict:
    told = {"purpose": row["purpose"], "granted": row["granted"], "decided_by": row["consent_id"]}
    return told | {"basis": purpose.basis, "policy": purpose.policy}


def _masked(name: str) -> Column:
    """The first character and nothing else: enough to tell two addresses apart, too little to use one."""
    return F.concat(F.substring(name, 1, 1), F.lit("***"))


def _rows(frame: DataFrame, person: str, *columns: str) -> list[dict]:
    mine = frame.where(F.col("person_id") == person).select(*columns).orderBy(*columns)
    return [row.asDict() for row in mine.collect()]


def _sent(sent: DataFrame, members: DataFrame, person: str) -> DataFrame:
    """Rows of activation.sent about a person, also those that left under an id it had before a merge."""
    then = heirs(members).where(F.col("now") == person).select("person_id")
    return sent.join(then, "person_id", "left_semi").withColumn("person_id", F.lit(person))


def _file(job: Job, source: str, record_id: str) -> str | None:
    """The file that a fact came in, where bronze still has it."""
    if not job.lake.exists(f"bronze.{source}"):
        return None
    row = job.lake.read(f"bronze.{source}").where(F.col("_record_id") == record_id).select("_file").first()
    return row["_file"].rsplit("/", 1)[-1] if row and row["_file"] else None
