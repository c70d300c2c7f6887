"""How likely is it for each person? The champion of each model over the day's features."""

from __future__ import annotations

from typing import Any

import cloudpickle
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.contracts import fingerprint
from cdp_spark.job import Job
from ml.predict import predictor
from ml.spec import ModelSpec, applicable
from ml.train import registry


def score_all(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.scores of the day; for a model without champion a warning, and the scores it has stay.

    permitted: person_id of those who may be profiled; None where no consent applies.
    """
    known, models, done, names = job.lake.read("gold.features"), registry(job), [], []
    people = known.where(F.col("as_of") == F.lit(job.as_of))
    snapshot = fingerprint(people)
    if permitted is not None:
        people = people.join(permitted.select("person_id").distinct(), "person_id", "left_semi")
    for name, module in applicable(job).items():
        version = models.champion(name)
        if version is None:
            job.warn(f"{name} has no champion: no new scores")
            continue
        fitted, wanted = models.load(name, version)
        done.append(scores(people, module.SPEC, fitted, wanted, version, snapshot))
        names.append(name)
    if done:
        others = job.lake.read("ml.scores").where((F.col("as_of") == F.lit(job.as_of)) & ~F.col("model").isin(names))
        for part in done:
            others = others.unionByName(part)
        job.lake.write("ml.scores", others, on=job.as_of)


def scores(
    people: DataFrame, spec: ModelSpec, fitted: Any, wanted: list[str], version: str, snapshot: str
) -> DataFrame:
    """One row per eligible person of `people` (gold.features): person_id, model, as_of, score, percentile, version ...

    wanted: the features that `fitted` was trained on. Raises ValueError where `people` lacks one.
    """
    if missing := [name for name in wanted if name not in people.columns]:
        raise ValueError(f"{spec.name} {version} needs features {missing}, which are gone: train it again")
    payload = people.sparkSession.sparkContext.broadcast(cloudpickle.dumps(fitted))
    eligible = people.where(spec.eligible).select("person_id", "as_of", *wanted)
    raw = eligible.mapInPandas(predictor(payload, wanted), "person_id string, as_of date, score double")
    rank = F.percent_rank().over(Window.partitionBy("as_of").orderBy("score", "person_id"))
    return raw.select(
        "person_id",
        F.lit(spec.name).alias("model"),
        "as_of",
        "score",
        rank.alias("percentile"),
        F.lit(version).alias("version"),
        F.lit(snapshot).alias("snapshot"),
    )
