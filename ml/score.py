"""How likely is it for each person? The champion of each model over the day's features."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.models import Decision
from cdp_spark.contracts import fingerprint
from cdp_spark.job import Job
from ml.decide import selected
from ml.keep import registry
from ml.monitor import watch, write_watched
from ml.people import of_permitted
from ml.predict import OUT, Scorer, asked, failing, predictor, probabilities
from ml.spec import ModelSpec, applicable, lacking, shipped
from ml.stale import mark_stale
from ml.tracking import Registry, RegistryError


class Champion(NamedTuple):
    """A model as it scores on one day. memory: what was kept at its training, {} for a model from elsewhere."""

    spec: ModelSpec
    version: str
    fitted: Any
    wanted: list[str]
    memory: dict


def score_all(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.scores and ml.monitoring of the day. A model that cannot score is a warning; its scores stay, as stale.

    permitted: person_id of those who may be profiled; None where no consent applies.
    """
    modules, people = applicable(job), job.lake.read("gold.features").where(F.col("as_of") == F.lit(job.as_of))
    not_asked(job, modules)
    snapshot = fingerprint(people)
    people = of_permitted(people, permitted)
    ready = champions(job, modules, people.columns)
    if not ready:
        return
    found = scores(people, ready, snapshot, job.conf.base.decisions).persist()
    failed = failures(found)
    for one in (one for one in ready if one.spec.name in failed):
        no_scores(job, one.spec.name, f"version {one.version} fails on people's rows: {failed[one.spec.name]}")
    if able := [one for one in ready if one.spec.name not in failed]:
        keep(job, modules, people, found, able)
    found.unpersist()


def champions(job: Job, modules: dict[str, ModuleType], columns: Collection[str]) -> list[Champion]:
    """The champion of each model that has one that can be loaded; why the others have no new scores is told."""
    models, ready = registry(job), []
    for name, module in modules.items():
        try:
            ready.append(champion(models, module.SPEC, columns))
        except (RegistryError, ValueError) as error:
            no_scores(job, name, error)
    return ready


def no_scores(job: Job, name: str, why: object) -> None:
    """Tell that a model gives no scores today; its last ones stay, marked as stale."""
    job.warn(f"{name}: no new scores: {why}")
    mark_stale(job, "ml.scores", F.col("model") == name)


def not_asked(job: Job, modules: dict[str, ModuleType]) -> None:
    """Mark as stale what models other than `modules` have scored: conf/features.yml has lost what they ask for."""
    for name, module in shipped().items():
        if name not in modules and mark_stale(job, "ml.scores", F.col("model") == name):
            gone = ", ".join(lacking(module.SPEC, job.conf.features))
            job.warn(f"{name}: no new scores: conf/features.yml lacks {gone}; its last ones stay, as stale")


def failures(found: DataFrame) -> dict[str, str]:
    """How each model of `scores` has failed that did. One failing batch is enough: half of a day's scores are none."""
    rows = found.where("failure IS NOT NULL").groupBy("model").agg(F.min("failure").alias("failure")).collect()
    return {row["model"]: row["failure"] for row in rows}


def keep(job: Job, modules: dict[str, ModuleType], people: DataFrame, found: DataFrame, able: list[Champion]) -> None:
    """Write ml.scores and ml.monitoring of the models that could score; the day's rows of the others stay."""
    ours = F.col("model").isin([one.spec.name for one in able])
    mine = found.where(ours).drop("failure")
    others = job.lake.read("ml.scores").where((F.col("as_of") == F.lit(job.as_of)) & ~ours)
    job.lake.write("ml.scores", mine.unionByName(others), on=job.as_of)
    write_watched(job, watch(job, modules, people, mine, able), modules)


def champion(models: Registry, spec: ModelSpec, columns: Collection[str]) -> Champion:
    """The model that scores. Raises RegistryError, or ValueError where features have changed or it gives no chances."""
    version = models.champion(spec.name)
    if version is None:
        raise RegistryError(f"{spec.name} has no champion")
    fitted, wanted = models.load(spec.name, version)
    if missing := [one for one in wanted if one not in columns]:
        raise ValueError(f"{spec.name} {version} needs features {missing}, which are gone: train it again")
    try:
        probabilities(fitted, pd.DataFrame([[0.0] * len(wanted)] * 2, columns=wanted))
        cloudpickle.dumps(fitted)
    except Exception as error:  # somebody else's code: whatever it raises, only this model has no scores today
        raise ValueError(f"{spec.name} {version} cannot score two rows of zeros: {failing(error)}") from None
    return Champion(spec, version, fitted, wanted, models.metadata(spec.name, version))


def scores(
    people: DataFrame, ready: list[Champion], snapshot: str, decisions: dict[str, Decision] | None = None
) -> DataFrame:
    """One row per model and person of `people` (gold.features) whom it is asked about: ml.scores, and failure.

    All models in one pass over the people. A model that fails has rows with a failure and no score (`failures`).
    """
    payload = people.sparkSession.sparkContext.broadcast([_scorer(one) for one in ready])
    flags = [F.expr(one.spec.eligible).alias(asked(one.spec.name)) for one in ready]
    wanted = dict.fromkeys(name for one in ready for name in one.wanted)
    rows = people.select("person_id", "as_of", *wanted, *flags)
    raw = rows.mapInPandas(predictor(payload), OUT)
    rank = F.percent_rank().over(Window.partitionBy("model", "as_of").orderBy("score", "person_id"))

    def rule_of(one: Champion) -> Column:
        return selected((decisions or {}).get(one.spec.name), F.col("score"), F.col("percentile"))

    version, chosen = F.lit(None).cast("string"), F.lit(None).cast("boolean")
    for one in ready:
        theirs = F.col("model") == one.spec.name
        version = F.when(theirs, F.lit(one.version)).otherwise(version)
        chosen = F.when(theirs, rule_of(one)).otherwise(chosen)
    return raw.withColumn("percentile", rank).select(
        "person_id",
        "model",
        "as_of",
        "score",
        "percentile",
        chosen.alias("selected"),
        "reasons",
        version.alias("version"),
        F.lit(snapshot).alias("snapshot"),
        F.lit(False).alias("stale"),
        "failure",
    )


def _scorer(one: Champion) -> Scorer:
    told = one.memory.get("usual", {})
    usual = {name: value for name, value in told.items() if name in one.wanted}
    return Scorer(one.spec.name, one.wanted, cloudpickle.dumps(one.fitted), usual, one.memory.get("cut"))
