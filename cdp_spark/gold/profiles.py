"""What do we know of each person? One golden record: each attribute from the most trusted, newest record with it."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

ATTRIBUTES = ("user_id", "first_name", "last_name", "birth_date", "gender", "email", "phone", "street", "city",
              "postcode", "country", "language", "tier", "points", "segment")  # fmt: skip


def current(customers: DataFrame) -> DataFrame:
    """The newest version of each record that was not deleted: by its day, as a missed day may be landed last."""
    newest = Window.partitionBy("source", "record_id").orderBy(F.desc("ingest_date"), F.desc("event_time"))
    return customers.withColumn("_n", F.row_number().over(newest)).where("_n = 1 AND NOT deleted").drop("_n")


def profiles(customers: DataFrame, identifiers: DataFrame, members: DataFrame, priority: dict[str, int]) -> DataFrame:
    """One row per current person. `priority` by source: 1 is the most trusted; then the newest, then the record id."""
    people = members.where("valid_to IS NULL").select("subject_key", "person_id")
    return (
        _seen(identifiers, people)
        .join(_attributes(current(customers), people, priority), "person_id", "left")
        .join(_identifiers(identifiers, people), "person_id", "left")
        .select("person_id", *ATTRIBUTES, "identifiers", "sources", "records", "first_seen", "last_seen")
    )


def _attributes(records: DataFrame, people: DataFrame, priority: dict[str, int]) -> DataFrame:
    rank = F.create_map(*(F.lit(part) for pair in priority.items() for part in pair))
    order = F.struct(-F.coalesce(rank[F.col("source")], F.lit(99)), "event_time", "record_id")
    ranked = records.join(people, "subject_key").withColumn("_order", order)
    best = [F.expr(f"max_by({c}, _order) FILTER (WHERE {c} IS NOT NULL)").alias(c) for c in ATTRIBUTES]
    return ranked.groupBy("person_id").agg(*best)


def _seen(identifiers: DataFrame, people: DataFrame) -> DataFrame:
    return identifiers.join(people, "subject_key").groupBy("person_id").agg(
        F.array_sort(F.collect_set("source")).alias("sources"),
        F.count_distinct("subject_key").cast("int").alias("records"),
        F.min("first_seen").alias("first_seen"),
        F.max("last_seen").alias("last_seen"),
    )  # fmt: skip


def _identifiers(identifiers: DataFrame, people: DataFrame) -> DataFrame:
    each = identifiers.join(people, "subject_key").groupBy("person_id", "namespace")
    values = each.agg(F.array_sort(F.collect_set("value")).alias("values"))
    entries = F.array_sort(F.collect_list(F.struct("namespace", "values")))
    return values.groupBy("person_id").agg(F.map_from_entries(entries).alias("identifiers"))
