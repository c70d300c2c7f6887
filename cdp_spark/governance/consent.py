"""May this person be addressed for this purpose? The only door between people and audiences."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.activation import Purpose

REFUSALS = ("denied", "withdrawn", "objected")
FACT = ("namespace", "value", "purpose", "channel", "status", "event_time", "source", "record_id", "text_version")


def consented(people: DataFrame, state: DataFrame, *, purpose: str) -> DataFrame:
    """The rows of `people` who say yes to `purpose` in `state` (one row per person and purpose), with consent_id.

    No row, or no clear yes, is a no. consent_id is null where the basis asks for no consent.
    """
    yes = state.where((F.col("purpose") == purpose) & F.col("granted")).select("person_id", "consent_id")
    return people.drop("consent_id").join(yes, "person_id", "inner")


def permitted(rows: DataFrame, state: DataFrame) -> DataFrame:
    """The rows (person_id, purpose, ...) whose person says yes to the row's own purpose in `state`."""
    yes = state.where("granted").select("person_id", "purpose")
    return rows.join(yes, ["person_id", "purpose"], "left_semi")


def consent_state(
    facts: DataFrame, identifiers: DataFrame, members: DataFrame, purposes: dict[str, Purpose], run_at: datetime
) -> DataFrame:
    """One row per current person and purpose: person_id, purpose, granted (never null), consent_id.

    facts: rows of silver.consents; one counts for whoever holds its (namespace, value). The newest of each source,
    identifier and channel up to `run_at` stands; between those the purpose's policy decides. Silence is a no under
    consent and a yes under legitimate interest, where a refusal is a no; under contract nothing is asked.
    Two people who share an identifier share what was said under it. A refusal made for a person that was split later
    holds for all its parts, until a part says yes itself. consent_id is "<source>|<record_id>" of the fact that
    decides: of a no the newest refusal, else the newest standing fact.
    """
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    people = current.select("person_id").distinct()
    said = of_persons(standing(facts, purposes, run_at), identifiers, members)
    found = []
    for name, purpose in purposes.items():
        mine = decided(said.where(F.col("purpose").isin(name, *purpose.categories)), name, purpose)
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
    if "text_version" not in facts.columns:
        past = past.withColumn("text_version", F.lit(None).cast("string"))
    if "deleted" in facts.columns:
        past = past.withColumn("_n", F.row_number().over(by_record)).where("_n = 1").drop("_n")
        past = past.where(~F.col("deleted") | refused)  # a deleted record grants nothing any more, but a no stays a no
    past = past.select(*FACT, refused.alias("refused"))
    same = Window.partitionBy("source", "namespace", "value", "purpose", "channel")
    newest = same.orderBy(F.desc("event_time"), F.desc("refused"), "status", "record_id")
    alone = past.withColumn("_n", F.row_number().over(newest)).where("_n = 1").drop("_n")
    return alone.where(_counts(purposes)).withColumn("yes", (F.col("status") == "granted") & _valid(purposes, run_at))


def _about(name: str, purpose: Purpose) -> Column:
    return F.col("purpose").isin(name, *purpose.categories)


def _counts(purposes: dict[str, Purpose]) -> Column:
    """Facts about the purpose's channels, or about any channel."""
    found = F.lit(False)
    for name, purpose in purposes.items():
        here = _about(name, purpose)
        found = found | (here & F.col("channel").isin("any", *purpose.channels) if purpose.channels else here)
    return found


def _valid(purposes: dict[str, Purpose], run_at: datetime) -> Column:
    """Whether a grant is neither too old nor given under a text that does not count for its purpose."""
    valid = F.lit(True)
    for name, purpose in purposes.items():
        here = _about(name, purpose)
        if purpose.expires_after:
            valid = valid & ~(here & (F.col("event_time") < F.lit(run_at - purpose.expires_after)))
        if purpose.texts:
            valid = valid & ~(here & ~F.coalesce(F.col("text_version").isin(*purpose.texts), F.lit(False)))
    return valid


def of_persons(facts: DataFrame, identifiers: DataFrame, members: DataFrame) -> DataFrame:
    """One row per fact and current person it holds for: the fact's columns, person_id, and inherited: whether it holds
    only because it was said of a person that both were then."""
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
    # A fact that is inherited and direct stands twice: its direct row is never lifted.
    direct = direct.withColumn("inherited", F.lit(False))
    inherited = inherited.drop("_then", "_together").withColumn("inherited", F.lit(True))
    return direct.unionByName(inherited).distinct()


def decided(said: DataFrame, name: str, purpose: Purpose) -> DataFrame:
    """One row per person with a standing fact: person_id, granted, consent_id. `said`: the purpose and its categories.

    Each category is decided by the policy like the purpose itself. A no to one of them is a no; a yes is a yes to the
    purpose or to all its categories.
    """
    said = said.where(F.col("channel").isin("any", *purpose.channels)) if purpose.channels else said
    no = F.col("refused") if purpose.basis == "legitimate_interest" else ~F.col("yes")
    facts = _unlifted(said, purpose).withColumn("no", no)
    # The fact that decided: where one refusal is enough, the newest refusal goes before any grant.
    refuses = F.lit(False) if purpose.policy == "latest" else F.col("no")
    newest = F.max(F.struct(refuses.alias("refuses"), "event_time", "no", "source", "record_id")).alias("_newest")
    parts = _together(facts, purpose).groupBy("person_id", "purpose").agg(
        _decision(purpose).alias("granted"), newest
    )  # fmt: skip
    own = F.coalesce(F.bool_or(F.col("granted") & (F.col("purpose") == name)), F.lit(False))
    granted = F.count_if(F.col("granted") & (F.col("purpose") != name))
    enough = own | (granted == len(purpose.categories)) if purpose.categories else F.lit(True)
    asks = enough if purpose.basis == "consent" else F.lit(True)
    found = parts.groupBy("person_id").agg(
        (F.bool_and("granted") & asks).alias("granted"),
        F.max(F.struct(~F.col("granted"), F.col("_newest").alias("of"))).alias("_n"),
    )
    return found.select("person_id", "granted", F.concat_ws("|", "_n.of.source", "_n.of.record_id").alias("consent_id"))


def _unlifted(said: DataFrame, purpose: Purpose) -> DataFrame:
    """`said` without what a later word took back.

    A word about any channel gives way to a later one of the same source and identifier about the purpose's one channel.
    A refusal inherited from before a split, which may stand under an identifier that the part no longer holds, gives
    way to a later yes of the part's own about the channel.
    """
    only = purpose.channels[0] if len(purpose.channels) == 1 else None
    channel = F.when((F.col("channel") == "any") & F.lit(only is not None), F.lit(only)).otherwise(F.col("channel"))
    rows, about = said.withColumn("_channel", channel), ("person_id", "purpose", "_channel")
    same = Window.partitionBy(*about, "source", "namespace", "value")
    narrow = F.max(F.when(F.col("channel") == F.col("_channel"), F.col("event_time"))).over(same)
    own = F.max(F.when(F.col("yes") & ~F.col("inherited"), F.col("event_time"))).over(Window.partitionBy(*about))
    late = F.when(F.col("channel") != F.col("_channel"), narrow > F.col("event_time"))
    again = F.when(F.col("inherited"), own > F.col("event_time"))
    taken = F.coalesce(late, F.lit(False)) | F.coalesce(again, F.lit(False))
    return rows.withColumn("_taken", taken).where("NOT _taken").drop("_taken", "_channel")


def _together(facts: DataFrame, purpose: Purpose) -> DataFrame:
    """Of each person and part of a purpose the facts that the policy lets speak."""
    mine = Window.partitionBy("person_id", "purpose")
    if purpose.policy == "source_precedence":
        ranks = F.array_position(F.array(*map(F.lit, purpose.precedence)), F.col("source"))
        rank = F.when(ranks > 0, ranks).otherwise(len(purpose.precedence) + 1)
        return facts.withColumn("_rank", rank).withColumn("_best", F.min("_rank").over(mine)).where("_rank = _best")
    if purpose.policy == "conflict_denies":
        last = Window.partitionBy("person_id", "purpose", "source").orderBy(
            F.desc("event_time"), F.desc("no"), "record_id"
        )
        return facts.withColumn("_n", F.row_number().over(last)).where("_n = 1")
    return facts


def _decision(purpose: Purpose) -> Column:
    """Whether the facts that speak are a yes; of two facts of the same moment the no is the newer."""
    if purpose.policy == "latest":
        return ~F.max(F.struct("event_time", "no"))["no"]
    return ~F.bool_or("no")
