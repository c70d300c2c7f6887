"""Do the chances of interests still hold? Drift of their rows, and how earlier ones came true."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.job import Job
from ml import drift
from ml.monitor import MOST, against_labels, by_tenth, drifted, noted, write_watched
from ml.pairs import GAP_DAYS, HORIZON_DAYS, KEYS, with_labels
from ml.people import at_most

if TYPE_CHECKING:
    from ml.models.interests import Champion

OF_CATEGORIES = ("popularity",)  # few values, a category each, which move with every day


def bins(rows: pd.DataFrame, chance: np.ndarray) -> dict:
    """Bins of features and scores of the holdout. A person has a row a category: luck is counted by people."""
    found = drift.frozen(rows.drop(columns=list(OF_CATEGORIES)).assign(**{drift.SCORE: chance}))
    people = len(rows) // max(rows["popularity"].nunique(), 1)
    return {name: one | {"rows": max(people, 1)} for name, one in found.items()}


def watch_interests(job: Job, model: str, by: Champion, today: DataFrame, orders: DataFrame) -> None:
    """Write ml.monitoring of the day's ml.interests. A champion without memory is not watched.

    today: the day's rows of `pairs`. orders: paid rows of silver with `history`, as the labels take them.
    """
    lines = []
    if "bins" in by.memory:
        scores = job.lake.read("ml.interests").where(F.col("as_of") == F.lit(job.as_of)).select(*KEYS, "score")
        local = at_most(today.select(*KEYS, *by.wanted), MOST, salt=2).join(scores, KEYS).toPandas()
        rows = local[by.wanted].assign(**{drift.SCORE: local["score"]})
        lines = drifted(rows, by.memory["bins"], int(local["person_id"].nunique()))
        lines += realised_interests(job, orders, by.memory)
    write_watched(job, noted(job, model, by.version, lines) if lines else [], [model])


def realised_interests(job: Job, orders: DataFrame, memory: dict) -> list[dict]:
    """The newest rows whose labels are known by now: share of positives, and by tenths beside the probability."""
    known = F.col("as_of") <= F.lit(job.as_of - timedelta(GAP_DAYS + HORIZON_DAYS + 1))
    past = job.lake.read("ml.interests").where(known)
    day = past.agg(F.max("as_of").alias("day")).first()["day"]
    if day is None:
        return []
    some = at_most(past.where(F.col("as_of") == F.lit(day)).select(*KEYS, "score"), MOST, salt=2)
    rank = F.percent_rank().over(Window.partitionBy("as_of").orderBy("score", "person_id", "category"))
    labelled = with_labels(some, orders, [day], job.as_of).withColumn("percentile", rank)
    return against_labels(day, by_tenth(labelled), memory)
