"""Whose row is this? Rows of silver with the person they belong to."""

from __future__ import annotations

from pyspark.sql import DataFrame


def with_person(rows: DataFrame, members: DataFrame) -> DataFrame:
    """`rows` with person_id of their current person; rows about nobody (no subject) drop out."""
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    return rows.join(current, "subject_key")


def heirs(members: DataFrame) -> DataFrame:
    """person_id of any time, and each current person (`now`) that its records belong to; erased people have none."""
    then = members.select("person_id", "subject_key").distinct()
    current = members.where("valid_to IS NULL").select("subject_key", members["person_id"].alias("now"))
    return then.join(current, "subject_key").select("person_id", "now").distinct()
