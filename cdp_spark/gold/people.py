"""Whose row is this? Rows of silver with the person they belong to."""

from __future__ import annotations

from pyspark.sql import DataFrame


def with_person(rows: DataFrame, members: DataFrame) -> DataFrame:
    """`rows` with person_id of their current person; rows about nobody (no subject) drop out."""
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    return rows.join(current, "subject_key")
