"""May this person be addressed for this purpose? The only door between people and audiences."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.activation import Purpose

REFUSALS = ("denied", "withdrawn", "objected")
FACT = ("namespace", "value", "purpose", "channel", "status", "event_time", "source", "record_id")


def consented(people: DataFrame, state: DataFrame, *, purpose: str) -> DataFrame:
    """The rows of `people` who say yes to `purpose` in `state` (one row per person and purpose), with consent_id.

    No row, or no clear yes, is a no. consent_id is null where the basis asks for no consent.
    """
    yes = state.where((F.col("purpose") == purpose) & F.col("granted")).select("person_id", "consent_id")
    return people.drop("consent_id").join(yes, "person_id", "inner")


def consent_state(
    facts: DataFrame, identifiers: DataFrame, members: DataFrame, purposes: dict[str, Purpose], run_at: datetime
) -> DataFrame:
    """One row per current person and purpose: person_id, purpose, granted (never null), consent_id.

    facts: rows of silver.consents; one counts for whoever holds its (namespace, value). The newest of each source,
    identifier and channel up to `run_at` stands; between those the purpose's policy decides. Silence is a no under
    consent and a yes under legitimate interest, where a refusal is a no; under contract nothing is asked.
    Two people who share an identifier share what was said under it. A refusal made for a person that was split later
    holds for all its parts. consent_id is "<source>|<record_id>" of the newest standing fact.
    """
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    people = current.select("person_id").distinct()
    said = of_persons(standing(facts, purposes, run_at), identifiers, members)
    found = []
    for name, purpose in purposes.items():
        mine = decided(said.where(F.col("purpose") == name), purpose)
        row = people.join(mine, "person_id", "left")
        granted = F.lit(True) if purpose.basis == "contract" else F.coalesce("granted", F.lit(silence(purpose)))
        found.append(row.select("person_id", F.lit(name).alias("purpose"), granted.alias("granted"), "consent_id"))
    state = found[0]
    for more in found[1:]:
        state = state.unionByName(more)
    return state


def silence(purpose: Purpose) -> bool:
    """What no fact at all means: a no, unless the legal basis asks for no consent."""
    return purpose.basis != "consent"


def standing(facts: DataFrame, purposes: dict[str, Purpose], run_at: datetime) -> DataFrame:
    """The newest fact of each source, identifier, purpose and channel up to `run_at`, with refused and yes.

    Where two are of the same moment the refusal stands. A grant older than its purpose's expires_after is no yes.
    """
    by_record = Window.partitionBy("source", "record_id").orderBy(F.desc("event_time"), F.desc("known_at"))
    refused = F.col("status").isin(*REFUSALS)
    past = facts.where(F.col("event_time") <= F.lit(run_at))
    if "deleted" in facts.columns:
        past = past.withColumn("_n", F.row_number().over(by_record)).where("_n = 1").drop("_n")
        past = past.where(~F.col("deleted") | refused)  # a deleted record grants nothing any more, but a no stays a no
    past = past.select(*FACT, refused.alias("refused"))
    same = Window.partitionBy("source", "namespace", "value", "purpose", "channel")
    newest = same.orderBy(F.desc("event_time"), F.desc("refused"), "status", "record_id")
    alone = past.withColumn("_n", F.row_number().over(newest)).where("_n = 1").drop("_n")
    return alone.where(_counts(purposes)).withColumn("yes", (F.col("status") == "granted") & _valid(purposes, run_at))


def _counts(purposes: dict[str, Purpose]) -> Column:
    """Facts about the purpose's channels, or about any channel."""
    found = F.lit(False)
    for name, purpose in purposes.items():
        here = F.col("purpose") == name
        found = found | (here & F.col("channel").isin("any", *purpose.channels) if purpose.channels else here)
    return found


def _valid(purposes: dict[str, Purpose], run_at: datetime) -> Column:
    valid = F.lit(True)
    for name, purpose in purposes.items():
        if purpose.expires_after:
            old = F.col("event_time") < F.lit(run_at - purpose.expires_after)
            valid = valid & ~((F.col("purpose") == name) & old)
    return valid


def of_persons(facts: DataFrame, identifiers: DataFrame, members: DataFrame) -> DataFrame:
    """One row per fact and current person it holds for: the fact's columns and person_id."""
    holders = identifiers.select("namespace", "value", "subject_key").distinct()
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    held = facts.join(holders, ["namespace", "value"])
    direct = held.join(current, "subject_key").drop("subject_key")
    then = members.select("subject_key", F.col("person_id").alias("_then"), F.col("valid_to").alias("_until"))
    # Whom the parts of a person as it was belong to now: a refusal holds for those who were one when it was made.
    parts = then.join(current, "subject_key").groupBy("_then", "person_id").agg(
        F.max(F.coalesce("_until", F.lit("9999-12-31").cast("date"))).alias("_together")
    )  # fmt: skip
    before = F.col("_until").isNull() | (F.col("event_time") < F.col("_until").cast("timestamp"))
    refusals = held.where("refused").join(then, "subject_key").where(before).drop("subject_key", "_until")
    inherited = refusals.join(parts, "_then").where(F.col("event_time") < F.col("_together").cast("timestamp"))
    return direct.unionByName(inherited.drop("_then", "_together")).distinct()


def decided(said: DataFrame, purpose: Purpose) -> DataFrame:
    """One row per person with a standing fact: person_id, granted, consent_id. `said` is about one purpose only."""
    no = F.col("refused") if purpose.basis == "legitimate_interest" else ~F.col("yes")
    order = F.struct("event_time", no.alias("no"), "source", "record_id")
    last = F.max(F.struct("event_time", no.alias("no")))["no"]
    granted = ~last if purpose.policy == "latest" else ~F.bool_or(no)
    newest = F.max(order)
    found = said.groupBy("person_id").agg(granted.alias("granted"), newest.alias("_newest"))
    identity = F.concat_ws("|", "_newest.source", "_newest.record_id")
    return found.select("person_id", "granted", identity.alias("consent_id"))
