"""What does an audience's condition see? One wide row a person: profile, features, scores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

WEEKLY_DAYS = 35  # after which a value or a segment is too old to choose by


def candidates(
    profiles: DataFrame, features: DataFrame, scores: DataFrame, as_of: date, max_age_days: int, models: Iterable[str]
) -> DataFrame:
    """One row per person of `profiles` with its features of `as_of`, and <model>_score and <model>_percentile.

    A score older than `max_age_days` is null: a condition on it does not hold. So is that of a model nobody trained.
    """
    known = features.where(F.col("as_of") == F.lit(as_of)).drop("as_of")
    wide = profiles.join(known, "person_id", "left")
    return wide.join(fresh(scores, as_of, max_age_days, models), "person_id", "left")


def newest(rows: DataFrame, as_of: date, columns: Iterable[str]) -> DataFrame:
    """person_id and `columns` of a weekly table, as of its newest day in the WEEKLY_DAYS before `as_of`, if any."""
    recent = rows.where(F.col("as_of").between(F.lit(as_of - timedelta(days=WEEKLY_DAYS)), F.lit(as_of)))
    best = recent.agg(F.max("as_of").alias("as_of"))
    return recent.join(F.broadcast(best), "as_of", "left_semi").select("person_id", *columns)


def recommended(rows: DataFrame, as_of: date) -> DataFrame:
    """person_id, recommendations: product ids of the `newest` rows of ml.recommendations, the best first."""
    found = newest(rows, as_of, ("rank", "item"))
    ordered = F.sort_array(F.collect_list(F.struct("rank", "item")))
    return found.groupBy("person_id").agg(ordered["item"].alias("recommendations"))


def fresh(scores: DataFrame, as_of: date, max_age_days: int, models: Iterable[str]) -> DataFrame:
    """One row per scored person: the newest score and percentile of each model within `max_age_days` of `as_of`."""
    oldest = as_of - timedelta(days=max_age_days)
    recent = scores.where(F.col("as_of").between(F.lit(oldest), F.lit(as_of)))
    newest = Window.partitionBy("person_id", "model").orderBy(F.desc("as_of"))
    rows = recent.withColumn("_n", F.row_number().over(newest)).where("_n = 1")
    columns = [
        F.max(F.when(F.col("model") == model, F.col(what))).alias(f"{model}_{what}")
        for model in models
        for what in ("score", "percentile")
    ]
    return rows.groupBy("person_id").agg(*columns) if columns else rows.select("person_id").distinct()
