"""Who was who on a day? Members, redirects of ended ids, and what an old id is called today."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window


class UnknownIdError(Exception):
    """No run ever gave this id, or none of its records is left."""

    exit_code = 2


def _holds(at: date) -> Column:
    """Validity is [valid_from, valid_to): a run as of a day begins what holds on that day."""
    return (F.col("valid_from") <= F.lit(at)) & (F.col("valid_to").isNull() | (F.col("valid_to") > F.lit(at)))


def members_as_of(members: DataFrame, at: date) -> DataFrame:
    """The rows of identity.members that held on `at`: members as the last run as of `at` or before left them."""
    return members.where(_holds(at))


def known_on(members: DataFrame, at: date) -> DataFrame:
    """identity.members as it stood after the run as of `at`: what began later is not there, what ended later holds."""
    ended = F.when(F.col("valid_to") <= F.lit(at), F.col("valid_to"))
    return members.where(F.col("valid_from") <= F.lit(at)).withColumn("valid_to", ended)


def redirects(changes: DataFrame) -> DataFrame:
    """(person_id, to_person_id, valid_from, valid_to): each ended id with the one that took its records over.

    A redirect holds until the id is reactivated, or ends anew in another; null: holds today. The id it leads to may
    have ended later itself: `resolve_id` follows to the end.
    """
    merged = changes.where("change = 'merged'").select(
        F.col("previous_person_id").alias("person_id"), F.col("person_id").alias("to_person_id"), "effective_at"
    )
    back = changes.where("change = 'reactivated'").select(
        "person_id", F.lit(None).cast("string").alias("to_person_id"), "effective_at"
    )
    day = F.datediff("effective_at", F.lit(date(1970, 1, 1)))
    after = Window.partitionBy("person_id").orderBy("day").rangeBetween(1, Window.unboundedFollowing)
    rows = merged.unionByName(back).withColumn("day", day).withColumn("valid_to", F.min("effective_at").over(after))
    return rows.where("to_person_id IS NOT NULL").select(
        "person_id", "to_person_id", F.col("effective_at").alias("valid_from"), "valid_to"
    )


def resolve_id(members: DataFrame, person_id: str, at: date | None = None) -> list[str]:
    """What `person_id` is called on `at` (today by default): itself, or those who have the records it had at its end.

    More than one id where its records were parted later. Before its first day it is what the first run made of it.
    Raises UnknownIdError where no run gave the id, or where its records are gone.
    """
    mine = members.where(F.col("person_id") == F.lit(person_id))
    span = mine.agg(F.min("valid_from").alias("begin"), F.count(F.lit(1)).alias("rows")).first()
    if not span["rows"]:
        raise UnknownIdError(
            "no run ever gave this person id: is it one of this lake, written in full (p and 20 characters)?"
        )
    at = max(at or date.max, span["begin"])
    if not members_as_of(mine, at).isEmpty():
        return [person_id]
    ended = mine.where(F.col("valid_to") <= F.lit(at))
    last = ended.agg(F.max("valid_to")).first()[0]
    keys = ended.where(F.col("valid_to") == F.lit(last)).select("subject_key").distinct()
    found = members_as_of(members, at).join(keys, "subject_key").select("person_id").distinct()
    ids = sorted(row["person_id"] for row in found.limit(1000).collect())
    if not ids:
        raise UnknownIdError(f"this person ended on {last} and none of its records is left: they were erased")
    return ids
