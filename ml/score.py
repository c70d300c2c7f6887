"""How likely is it for each person? The champion of each model over the day's features."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from typing import Any

import cloudpickle
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.contracts import fingerprint
from cdp_spark.job import Job
from ml.monitor import watch
from ml.predict import predictor
from ml.spec import ModelSpec, applicable
from ml.tracking import Registry, RegistryError
from ml.train import registry


def score_all(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.scores and ml.monitoring of the day. A model that cannot score is a warning; its scores stay, as stale.

    permitted: person_id of those who may be profiled; None where no consent applies.
    """
    known, models, done, watched, names = job.lake.read("gold.features"), registry(job), [], [], []
    people = known.where(F.col("as_of") == F.lit(job.as_of))
    snapshot = fingerprint(people)
    if permitted is not None:
        people = people.join(permitted.select("person_id").distinct(), "person_id", "left_semi")
    for name, module in applicable(job).items():
        try:
            fitted, wanted, version = champion(models, name, people.columns)
        except (RegistryError, ValueError) as error:
            job.warn(f"{name}: no new scores: {error}")
            mark_stale(job, name)
            continue
        part = scores(people, module.SPEC, fitted, wanted, version, snapshot).persist()
        done.append(part)
        names.append(name)
        watched += watch(job, module, people, part, models.metadata(name, version), wanted, version)
    if done:
        others = job.lake.read("ml.scores").where((F.col("as_of") == F.lit(job.as_of)) & ~F.col("model").isin(names))
        job.lake.write("ml.scores", reduce(DataFrame.unionByName, done, others), on=job.as_of)
        monitored = job.lake.read("ml.monitoring").schema
        job.lake.write("ml.monitoring", job.spark.createDataFrame(watched, monitored), on=job.as_of)
    for part in done:
        part.unpersist()


def champion(models: Registry, name: str, columns: Collection[str]) -> tuple[Any, list[str], str]:
    """(classifier, its features, version). Raises RegistryError, or ValueError where the features have changed."""
    version = models.champion(name)
    if version is None:
        raise RegistryError(f"{name} has no champion")
    fitted, wanted = models.load(name, version)
    if missing := [one for one in wanted if one not in columns]:
        raise ValueError(f"{name} {version} needs features {missing}, which are gone: train it again")
    return fitted, wanted, version


def mark_stale(job: Job, name: str) -> None:
    """Mark the newest scores of a model as stale: they stay, under their own date, so that their age still tells."""
    known = job.lake.read("ml.scores").where(F.col("as_of") <= F.lit(job.as_of))
    newest = known.where(F.col("model") == name).agg(F.max("as_of").alias("day")).first()["day"]
    if newest is None:
        return
    theirs = F.col("model") == name
    day = known.where(F.col("as_of") == F.lit(newest)).withColumn("stale", F.col("stale") | theirs)
    job.lake.write("ml.scores", day, on=newest)


def scores(
    people: DataFrame, spec: ModelSpec, fitted: Any, wanted: list[str], version: str, snapshot: str
) -> DataFrame:
    """One row per eligible person of `people` (gold.features): person_id, model, as_of, score, percentile, version ...

    wanted: the features that `fitted` was trained on.
    """
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
        F.lit(False).alias("stale"),
    )
