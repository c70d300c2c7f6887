"""How do the people after differ from those before? In people, audiences and consent, and when that is too much."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.identity import Plan


def moves(before: DataFrame, after: DataFrame) -> DataFrame:
    """(old, new, keys): how many keys went from which person to which; both frames: (subject_key, person_id)."""
    old = before.select("subject_key", F.col("person_id").alias("old"))
    new = after.select("subject_key", F.col("person_id").alias("new"))
    return old.join(new, "subject_key", "full").groupBy("old", "new").agg(F.count(F.lit(1)).alias("keys"))


def people_changed(moved: DataFrame) -> dict[str, int]:
    """Counts of people: before, after, kept (id and records), merged (ended in another), split (lost records)."""
    both = moved.where("old IS NOT NULL AND new IS NOT NULL")
    ids = both.groupBy("old").agg(
        F.count(F.lit(1)).alias("parts"), F.bool_or(F.col("old") == F.col("new")).alias("lives")
    )
    into = both.groupBy("new").agg(F.count(F.lit(1)).alias("origins"))
    same = both.where("old = new").join(into, "new").join(ids, "old").where("parts = 1 AND origins = 1")
    ends = ids.agg(F.count_if(~F.col("lives")).alias("merged"), F.count_if(F.col("parts") > 1).alias("split")).first()
    sizes = moved.agg(F.count_distinct("old").alias("before"), F.count_distinct("new").alias("after")).first()
    return {"before": sizes["before"], "after": sizes["after"], "kept": same.count()} | ends.asDict()


def audiences_changed(moved: DataFrame, inside: DataFrame) -> dict[str, dict[str, int]]:
    """{audience: members, gained, lost}; inside: (audience, person_id) of who is in now.

    Of people, not of records: lost are members whose id ends; gained are ids that come to hold a record of a member.
    An estimate: conditions are not judged anew, as profiles and features of the new people are not there yet.
    """
    alive = moved.where("new IS NOT NULL").select(F.col("new").alias("person_id")).distinct()
    now = inside.join(moved, F.col("person_id") == F.col("old")).select("audience", F.col("new").alias("person_id"))
    now = now.where("person_id IS NOT NULL").distinct()
    counts = (("members", inside), ("lost", inside.join(alive, "person_id", "left_anti")),
              ("gained", now.join(inside, ["audience", "person_id"], "left_anti")))  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    for name, rows in counts:
        for row in rows.groupBy("audience").count().collect():
            found.setdefault(row["audience"], {"members": 0, "gained": 0, "lost": 0})[name] = row["count"]
    return dict(sorted(found.items()))


def consent_conflicts(moved: DataFrame, state: DataFrame) -> int:
    """People and purposes in which one who said yes becomes one with one who said no; silence is neither.

    state: (person_id, purpose, granted, consent_id) of the people before.
    """
    said = state.where("consent_id IS NOT NULL").select(F.col("person_id").alias("old"), "purpose", "granted")
    both = moved.where("new IS NOT NULL").join(said, "old").groupBy("new", "purpose")
    return (
        both.agg(F.bool_or("granted").alias("yes"), F.bool_or(~F.col("granted")).alias("no"))
        .where("yes AND no")
        .count()
    )


def beyond(found: dict, limits: Plan) -> list[str]:
    """The thresholds that a plan exceeds, in words; [] where it may be applied unseen."""
    told, people = [], found["people"]
    for kind in ("merged", "split"):
        share, most = people[kind] / max(people["before"], 1), getattr(limits, f"max_{kind}_share")
        if share > most:
            told.append(
                f"{people[kind]} of {people['before']} people {kind} ({share:.1%}; max_{kind}_share {most:.1%})"
            )
    if found["largest"] and found["largest"][0] > limits.max_cluster:
        told.append(f"a person of {found['largest'][0]} records (max_cluster {limits.max_cluster})")
    for name, one in found["audiences"].items():
        # one side alone: whoever moves to another id is lost and gained; one member is a share of no small audience
        moved = max(one["gained"], one["lost"])
        share = moved / max(one["members"], 1)
        if moved > 1 and share > limits.max_audience_share:
            told.append(f"audience {name}: {share:.1%} of members change (max_audience_share)")
    if found["consent_conflicts"] > limits.max_consent_conflicts:
        told.append(
            f"{found['consent_conflicts']} consent conflicts (max_consent_conflicts {limits.max_consent_conflicts})"
        )
    return told
