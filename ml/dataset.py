"""From which past moments does a model learn, and on whom is it judged? Snapshots in time, folds of people."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce
from types import ModuleType
from typing import NamedTuple

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Feature
from cdp_spark.gold.features import features
from cdp_spark.silver.time import known_before
from ml.spec import ModelSpec

EARLIER = 3  # training snapshots before the held-out one
STEP_DAYS = 30
FOLDS = 5
HELD_OUT = 4  # the fold whose people are never trained on, in no training ever
MAX_ROWS = 1_000_000  # learned from on one machine; of more, a fixed sample of people


class Examples(NamedTuple):
    """train: earlier snapshots, people of the other folds. holdout: the newest snapshot, people held out.

    features: what there is to learn from; a feature with one value only, or none, in the training rows is left out.
    """

    train: pd.DataFrame
    holdout: pd.DataFrame
    features: list[str]


def snapshots(spec: ModelSpec, as_of: date) -> list[date]:
    """Dates to learn from, newest first: the newest whose label is fully observed before `as_of`, then earlier ones."""
    newest = spec.observed(as_of)
    return [newest - timedelta(STEP_DAYS * n) for n in range(EARLIER + 1)]


def labelled(
    model: ModuleType,
    frames: dict[str, DataFrame],
    specs: dict[str, Feature],
    people: DataFrame,
    as_of: date,
    permitted: DataFrame | None = None,
) -> DataFrame:
    """One row per eligible person and snapshot: person_id, as_of (the snapshot), label, fold, features.

    Features see what was known before their snapshot, labels what is known before `as_of`.
    permitted: person_id of those who may be profiled; None where no consent applies.
    """
    dates = snapshots(model.SPEC, as_of)
    if permitted is not None:
        people = people.join(permitted.select("person_id").distinct(), "person_id", "left_semi")
    known = features(frames, specs, dates, people).where(model.SPEC.eligible)
    orders = frames["silver.orders"].where(known_before(as_of))
    labels = [model.label(orders, day).withColumn("as_of", F.lit(day)) for day in dates]
    joined = known.join(reduce(DataFrame.unionByName, labels), ["person_id", "as_of"], "left")
    label = F.coalesce("label", F.lit(model.SPEC.absent).cast("int")).alias("label")
    names = feature_names(model.SPEC, specs)
    found = joined.select("person_id", "as_of", label, fold().alias("fold"), *names)
    return found.where("label IS NOT NULL")


def fold():
    """The person's fold, 0 to FOLDS - 1: a hash of the id, so that it never changes."""
    return F.pmod(F.xxhash64("person_id"), F.lit(FOLDS)).cast("int")


def feature_names(spec: ModelSpec, specs: dict[str, Feature]) -> list[str]:
    """The columns a model learns from, in the order of conf/features.yml. Raises ValueError for an unknown one."""
    if spec.features == "all":
        return list(specs)
    if unknown := [name for name in spec.features if name not in specs]:
        raise ValueError(f"ml/models/{spec.name}.py: no features {unknown} in conf/features.yml")
    return list(spec.features)


def examples(rows: DataFrame, spec: ModelSpec, names: list[str], as_of: date) -> Examples:
    """`rows` of `labelled` on this machine, split by time and by people; person_id and dates stay behind in Spark."""
    held = (F.col("as_of") == F.lit(spec.observed(as_of))) & (F.col("fold") == HELD_OUT)
    learned = (F.col("as_of") < F.lit(spec.observed(as_of))) & (F.col("fold") != HELD_OUT)
    chosen = rows.withColumn("_part", F.when(held, "holdout").when(learned, "train")).where("_part IS NOT NULL")
    chosen = chosen.persist()
    try:
        local = _sampled(chosen).select("_part", "label", *names).toPandas()
    finally:
        chosen.unpersist()
    parts = {part: local[local["_part"] == part].drop(columns="_part") for part in ("train", "holdout")}
    telling = [name for name in names if parts["train"][name].nunique(dropna=False) > 1]
    return Examples(parts["train"], parts["holdout"], telling)


def _sampled(rows: DataFrame) -> DataFrame:
    share = int(1000 * MAX_ROWS / max(rows.count(), 1))
    kept = rows if share >= 1000 else rows.where(F.pmod(F.xxhash64("person_id", F.lit(1)), F.lit(1000)) < share)
    return kept.orderBy("_part", "as_of", "person_id")  # learners depend on the order: a second training is equal
