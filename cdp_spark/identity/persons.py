"""What is a person called, and for how long? Ids that come from the record that landed first, and their history."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window


def key_hash(subject_key: Column | str = "subject_key") -> Column:
    return F.sha2(F.concat(F.lit("cdp-person-v1|"), F.col("subject_key")), 256)


def person_id(origin: Column) -> Column:
    return F.concat(F.lit("p"), F.substring(origin, 1, 20))


def _order() -> Column:
    """Oldest first: an heir stands where the anchor stood that it took over, before that anchor should it come back."""
    return F.struct("landing", "passed", "origin")


def anchors(identifiers: DataFrame, before: DataFrame) -> DataFrame:
    """(key_hash, landing, origin, passed) of every key ever landed; a landing is never raised, gone keys stay."""
    now = identifiers.groupBy("subject_key").agg(F.min("landing").alias("landing"))
    now = now.select(key_hash().alias("key_hash"), "landing")
    old = before.select("key_hash", F.col("landing").alias("old"), "origin", "passed")
    return now.join(old, "key_hash", "full").select(
        "key_hash",
        F.least("landing", "old").alias("landing"),
        F.coalesce("origin", "key_hash").alias("origin"),
        F.coalesce("passed", F.lit(False)).alias("passed"),
    )


def inherited(known: DataFrame, parts: DataFrame, previous: DataFrame) -> DataFrame:
    """`known` anchors in which the oldest survivor takes over from an anchor that is gone.

    parts: (subject_key, part) now.  previous: (subject_key, person_id) before. A person whose naming key is in no
    part any more keeps its id: its oldest key that is left gets the lost anchor's landing and origin. The lost key
    passes its name on for good: should it come back, it names a person of another id.
    """
    here = parts.select(key_hash().alias("key_hash"))
    old = previous.select("person_id", key_hash().alias("key_hash")).join(known, "key_hash")
    first = old.groupBy("person_id").agg(F.min_by("key_hash", _order()).alias("lost"), F.min(_order()).alias("name"))
    alive = old.join(here, "key_hash").groupBy("person_id").agg(F.min_by("key_hash", _order()).alias("heir"))
    handed = first.join(alive, "person_id").where("lost <> heir")
    heirs = handed.select(F.col("heir").alias("key_hash"), "name")
    lost = handed.select(F.col("lost").alias("key_hash"), F.lit(True).alias("gone"))
    rows = known.join(heirs, "key_hash", "left").join(lost, "key_hash", "left")
    again = F.when(F.col("gone"), F.sha2(F.concat("origin", F.lit("|again")), 256))
    return rows.select(
        "key_hash",
        F.coalesce("name.landing", "landing").alias("landing"),
        F.coalesce(again, "name.origin", "origin").alias("origin"),
        F.coalesce("gone", "name.passed", "passed").alias("passed"),
    )


def named(parts: DataFrame, known: DataFrame) -> DataFrame:
    """(subject_key, person_id): each part is called after its member that landed first (ties: the smaller hash)."""
    keyed = parts.withColumn("key_hash", key_hash()).join(known, "key_hash")
    first = F.min(_order()).over(Window.partitionBy("part"))
    return keyed.select("subject_key", person_id(first["origin"]).alias("person_id"))


def as_known_before(members: DataFrame, as_of: date) -> DataFrame:
    """Members as they stood before `as_of`: what a rerun of that day starts from."""
    rows = members.where(F.col("valid_from") < F.lit(as_of))
    return rows.withColumn("valid_to", F.when(F.col("valid_to") < F.lit(as_of), F.col("valid_to")))


def history(before: DataFrame, now: DataFrame, as_of: date) -> DataFrame:
    """Members with validity: unchanged rows stay, changed or lost ones end at `as_of`, new ones begin there."""
    ended, open_ = before.where("valid_to IS NOT NULL"), before.where("valid_to IS NULL")
    new = now.withColumn("source", F.split_part("subject_key", F.lit("|"), F.lit(1)))
    new = new.withColumn("record_id", F.expr("substring(subject_key, length(source) + 2)"))
    match = open_.join(now.withColumnRenamed("person_id", "now"), "subject_key", "left")
    same = match.where("person_id = now").drop("now")
    closed = match.where("now IS NULL OR person_id <> now").drop("now").withColumn("valid_to", F.lit(as_of))
    fresh = new.join(same.select("subject_key"), "subject_key", "left_anti")
    fresh = fresh.withColumn("valid_from", F.lit(as_of)).withColumn("valid_to", F.lit(None).cast("date"))
    columns = ["subject_key", "source", "record_id", "person_id", "valid_from", "valid_to"]
    parts = [frame.select(*columns) for frame in (ended, same, closed, fresh)]
    return parts[0].unionByName(parts[1]).unionByName(parts[2]).unionByName(parts[3])


def changes(before: DataFrame, now: DataFrame, as_of: date) -> DataFrame:
    """(effective_at, person_id, change, previous_person_id) between the members before and now.

    created: an id never seen.  reactivated: one that had ended.  merged: an id that ended as its keys went to another.
    split: an id whose keys came, in part, from an id that goes on.  erased: an id that ended with all its keys.
    """
    last = before.where("valid_to IS NULL").select("subject_key", F.col("person_id").alias("old"))
    old_ids, ever = last.select("old").distinct(), before.select(F.col("person_id").alias("old")).distinct()
    now_ids = now.select("person_id").distinct()
    born = now_ids.join(old_ids, F.col("person_id") == F.col("old"), "left_anti")
    created = born.join(ever, F.col("person_id") == F.col("old"), "left_anti").withColumn("change", F.lit("created"))
    again = born.join(ever, F.col("person_id") == F.col("old"), "left_semi").withColumn("change", F.lit("reactivated"))
    none = F.lit(None).cast("string").alias("previous_person_id")
    moved = now.join(last, "subject_key").where("person_id <> old").select("person_id", "old").distinct()
    alive = now_ids.select(F.col("person_id").alias("old"))
    merged = moved.join(alive, "old", "left_anti").withColumn("change", F.lit("merged"))
    split = moved.join(alive, "old", "left_semi").withColumn("change", F.lit("split"))
    stayed = moved.select("old").unionByName(alive)
    erased = old_ids.join(stayed, "old", "left_anti").select(
        F.col("old").alias("person_id"), F.lit("erased").alias("change")
    )
    rows = created.unionByName(again).unionByName(erased).select("person_id", "change", none)
    for frame in (merged, split):
        rows = rows.unionByName(frame.select("person_id", "change", F.col("old").alias("previous_person_id")))
    return rows.withColumn("effective_at", F.lit(as_of))
