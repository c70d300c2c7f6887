"""What was known of each person before a date? Features declared in conf/features.yml, for one or many dates."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Feature
from cdp_spark.gold.aggregates import aggregated, within
from cdp_spark.gold.people import histories, then, with_history
from cdp_spark.gold.texts import MOOD, TOPIC, with_reading
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before

HOME = "_home"


class Inputs(NamedTuple):
    """What features and labels are made of. frames: rows by table; people and households as `features` takes them."""

    frames: dict[str, DataFrame]
    people: DataFrame
    households: DataFrame


def inputs(job: Job, past: bool = False) -> Inputs:
    """Rows with the history of their person. past: everybody who ever was a person, not only who is one today."""
    members = job.lake.read("identity.members")
    tables = {"silver.orders", *(feature.table for feature in job.conf.features.values())}
    frames = {name: with_history(job.lake.read(name), members) for name in sorted(tables)}
    for name in {one.table for one in job.conf.features.values() if reads_text(one)}:
        frames[name] = with_reading(frames[name], job.conf.texts)
    people = job.lake.read("gold.profiles").select("person_id", "first_seen")
    if past:
        seen = job.lake.read("silver.identifiers").groupBy("subject_key").agg(F.min("first_seen").alias("first_seen"))
        people = with_history(seen, members)
    return Inputs(frames, people, job.lake.read("identity.households"))


def reads_text(spec: Feature) -> bool:
    """Whether a feature reads what a text says."""
    return any(word in f"{spec.aggregate} {spec.where}" for word in (TOPIC, MOOD))


def features(
    frames: dict[str, DataFrame],
    specs: dict[str, Feature],
    as_ofs: list[date],
    people: DataFrame,
    households: DataFrame | None = None,
) -> DataFrame:
    """One row per person and date of `as_ofs`: person_id, as_of, then one double a feature, in the order of `specs`.

    frames: rows with event_time, known_at by table name; one for each table that `specs` name.
    people: first_seen; who was first seen on or after a date has no row for it.
    Both have person_id, or `history` (cdp_spark.gold.people.histories): the person of a row is then who it was on each
    date, so that people merged later are two before. households: identity.households; None: everybody lives alone.
    A feature sees rows that had happened and were known before as_of and, with window_days, happened in the last so
    many days; where it is null (no such row) it takes its default. Raises ConfError for an aggregate that is none.
    """
    found = _on_dates(people, as_ofs).groupBy("person_id", "as_of").agg(F.min("first_seen").alias("first_seen"))
    found = found.where(F.col("first_seen") < F.col("as_of").cast("timestamp"))
    found = _at_home(found, households)
    for table, of in dict.fromkeys((spec.table, spec.of) for spec in specs.values()):
        wanted = {name: spec for name, spec in specs.items() if (spec.table, spec.of) == (table, of)}
        seen = _seen(frames[table], wanted, as_ofs)
        seen, key = (seen, "person_id") if of == "person" else (_at_home(seen, households), HOME)
        found = found.join(aggregated(seen, wanted, [key, "as_of"], len(as_ofs)), [key, "as_of"], "left")
    return found.select("person_id", "as_of", *(_or_default(name, spec) for name, spec in specs.items()))


def _on_dates(rows: DataFrame, as_ofs: list[date]) -> DataFrame:
    dated = rows.withColumn("as_of", F.explode(F.array(*(F.lit(day) for day in as_ofs))))
    if "history" not in rows.columns:
        return dated
    return dated.withColumn("person_id", then(F.col("as_of"))).drop("history").where("person_id IS NOT NULL")


def _at_home(rows: DataFrame, households: DataFrame | None) -> DataFrame:
    """`rows` with the household on their date: whose members share it; who is in none is one by itself."""
    if households is None:
        return rows.withColumn(HOME, F.col("person_id"))
    named = rows.join(histories(households, "person_id", "household_id"), "person_id", "left")
    return named.withColumn(HOME, F.coalesce(then(F.col("as_of")), "person_id")).drop("history")


def _seen(rows: DataFrame, specs: dict[str, Feature], as_ofs: list[date]) -> DataFrame:
    seen = _on_dates(rows, as_ofs).where(known_before(F.col("as_of")))
    windows = [spec.window_days for spec in specs.values()]
    if None not in windows:  # nobody asks for older rows: do not group them
        seen = seen.where(within(max(windows)))
    return seen


def _or_default(name: str, spec: Feature) -> Column:
    return F.col(name) if spec.default is None else F.coalesce(F.col(name), F.lit(spec.default)).alias(name)
