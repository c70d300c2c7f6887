"""Whose row is this? Rows of silver with the person they belong to."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def with_person(rows: DataFrame, members: DataFrame) -> DataFrame:
    """`rows` with person_id of their current person; rows about nobody (no subject) drop out."""
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    return rows.join(current, "subject_key")


def histories(rows: DataFrame, key: str, value: str) -> DataFrame:
    """`key`, history: what `value` each key had when, for `then`. rows: key, value, valid_from, valid_to."""
    one = F.struct("valid_from", "valid_to", F.col(value).alias("value"))
    return rows.groupBy(key).agg(F.sort_array(F.collect_list(one)).alias("history"))


def then(as_of: Column | date) -> Column:
    """The value of `history` that held on the day `as_of`; before the first one, the first: history begins with it.

    Null where an earlier value has ended and none followed.
    """
    day = as_of if isinstance(as_of, Column) else F.lit(as_of)
    first = F.get("history", F.lit(0))
    alone = F.when(first["valid_to"].isNull() | (first["valid_to"] > day), first["value"])
    held = F.filter("history", lambda h: (h.valid_from <= day) & (h.valid_to.isNull() | (h.valid_to > day)))
    later = F.filter("history", lambda h: h.valid_from > day)
    several = F.coalesce(F.get(held, F.lit(0)), F.get(later, F.lit(0)))["value"]
    return F.when(F.size("history") == 1, alone).otherwise(several)  # most people were never another: no array for them


def with_history(rows: DataFrame, members: DataFrame) -> DataFrame:
    """`rows` with the history of their person: who it was on a day, not who it turned out to be later."""
    return rows.join(histories(members, "subject_key", "person_id"), "subject_key")


def heirs(members: DataFrame) -> DataFrame:
    """person_id of any time, and each current person (`now`) that its records belong to; erased people have none."""
    then = members.select("person_id", "subject_key").distinct()
    current = members.where("valid_to IS NULL").select("subject_key", members["person_id"].alias("now"))
    return then.join(current, "subject_key").select("person_id", "now").distinct()


def heir(members: DataFrame) -> DataFrame:
    """person_id of any time and the one current person (`now`) that goes on for it: of a split the part with the id."""
    other = F.col("now") != F.col("person_id")
    return heirs(members).groupBy("person_id").agg(F.min_by("now", F.struct(other, "now")).alias("now"))
