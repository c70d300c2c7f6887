"""Which models are due, how good are the new ones, and which becomes champion?"""

from __future__ import annotations

from datetime import date, timedelta
from types import ModuleType

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from cdp_spark.gold.features import Inputs, features, inputs
from cdp_spark.job import Job
from ml.dataset import Examples, allowed, examples, feature_names, labelled, record, snapshots, with_fold
from ml.judge import Verdict, against, judged
from ml.keep import registered, registry
from ml.predict import failing, finite, probabilities
from ml.spec import ModelSpec, applicable
from ml.tracking import ModelError, Registry, RegistryError


def train_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Train each model that is due; one row a training in ml.trainings. The other rows of the day stay.

    permitted: person_id of those whose data may be used for profiling; None where no consent applies.
    A registry that is away is a warning: nothing is trained, or not the model it went away under; champions stay.
    """
    models, done = registry(job), []
    due = due_now(job, models)
    if not due:
        return
    told, rows = trained_on(job), inputs(job, past=True)
    orders = rows.frames["silver.orders"].persist()  # read once for the features and once a snapshot for the labels
    rows.frames["silver.orders"] = orders
    known = known_on(job, rows, due, permitted).persist()  # one pass over the sources for all models and snapshots
    try:
        for module in due:
            done += trained(job, models, module, known, orders, told.get(module.SPEC.name))
    finally:  # a champion is noted, whatever becomes of the models after it
        note(job, done)
        known.unpersist()
        orders.unpersist()


def due_now(job: Job, models: Registry) -> list[ModuleType]:
    """The models to train today; none, with a warning, where the registry is away."""
    try:
        due = [module for name, module in applicable(job).items() if is_due(job, models, name)]
    except RegistryError as error:
        job.warn(f"nothing was trained: {error}")
        return []
    if not due:
        job.log("no model is due")
    return due


def trained(
    job: Job, models: Registry, module: ModuleType, known: DataFrame, orders: DataFrame, told: str | None
) -> list[dict]:
    """The row of ml.trainings of one model; [] where this very snapshot was `told` of, or the registry went away.

    Without a row the model stays due: the next run trains it again.
    """
    spec, names = module.SPEC, feature_names(module.SPEC, job.conf.features)
    found = examples(labelled(module, known, orders, names, job.as_of), spec, names, job.as_of)
    try:
        if told == found.id:
            job.log(f"{spec.name}: was trained on this very snapshot before")
            return []
        verdict = judged(module, found, job.conf.base.seed)
        job.lake.write("ml.examples", record(found, spec.name, names, job.as_of))
        return [keep(job, models, module, found, verdict)]
    except RegistryError as error:
        job.warn(f"{spec.name}: its training is not kept, the next run trains it again: {error}")
        return []
    finally:
        found.rows.unpersist()


def known_on(job: Job, rows: Inputs, due: list[ModuleType], permitted: DataFrame | None) -> DataFrame:
    """Features of everybody who may be learned from, on every date that one of the models wants."""
    dates = sorted({day for module in due for day in snapshots(module.SPEC, job.as_of)})
    known = features(rows.frames, job.conf.features, dates, rows.people, rows.households)
    members = job.lake.read("identity.members")
    return with_fold(allowed(known, members, permitted), members)


def note(job: Job, done: list[dict]) -> None:
    """Rows of ml.trainings in place of those of the same models and day; the other rows of the day stay."""
    if not done:
        return
    others = job.lake.read("ml.trainings").where(F.col("as_of") == F.lit(job.as_of))
    others = others.where(~F.col("model").isin([row["model"] for row in done]))
    trained = job.spark.createDataFrame(done, others.schema)
    job.lake.write("ml.trainings", trained.unionByName(others), on=job.as_of)


def is_due(job: Job, models: Registry, name: str) -> bool:
    """True where there is no champion, or its last training is retrain_after_days old."""
    if models.champion(name) is None:
        return True
    rows = job.lake.read("ml.trainings").where((F.col("model") == name) & (F.col("as_of") <= F.lit(job.as_of)))
    last = rows.agg(F.max("as_of").alias("last")).first()["last"]
    return last is None or job.as_of - last >= timedelta(job.conf.base.retrain_after_days)


def trained_on(job: Job) -> dict[str, str]:
    """Snapshot on which a model was not good enough in an earlier try of this day: a rerun registers nothing twice."""
    rows = job.lake.read("ml.trainings").where((F.col("as_of") == F.lit(job.as_of)) & ~F.col("promoted"))
    return {row["model"]: row["snapshot_id"] for row in rows.collect()}  # one row a model


def keep(job: Job, models: Registry, module: ModuleType, found: Examples, verdict: Verdict) -> dict:
    """Register what was fitted as challenger, promote what passes the gate; the row of ml.trainings."""
    spec, version = module.SPEC, None
    if verdict.fitted is not None:
        reason = verdict.reason or beside_champion(job, models, spec, found, verdict)
        verdict = verdict._replace(reason=reason)
        version = registered(job, models, spec, found, verdict)
    if verdict.reason is None:
        models.passed(spec.name, version)
        models.promote(spec.name, version)
        value = verdict.metrics[spec.metric]
        job.log(f"{spec.name}: version {version} is champion, {spec.metric} {value:.3f} (rule {verdict.baseline:.3f})")
    else:
        job.warn(f"{spec.name}: not promoted: {verdict.reason}")
    return training_row(spec, job.as_of, verdict, version, found.id)


def beside_champion(job: Job, models: Registry, spec: ModelSpec, found: Examples, verdict: Verdict) -> str | None:
    """Why the new model may not follow the present champion, or None.

    A champion that cannot be used by itself stops nobody, with a warning; one that cannot be reached is not replaced.
    """
    version = models.champion(spec.name)
    if version is None:
        return None
    try:
        chance = champion_chances(models, spec.name, version, found.holdout)
    except ModelError as error:
        job.warn(f"{spec.name}: the new model is not compared with the champion: {error}")
        return None
    except RegistryError as error:
        return f"it cannot be compared with the champion: {error}"
    return against(chance, verdict.chance, found.holdout, spec.metric, job.conf.base.seed)


def champion_chances(models: Registry, name: str, version: str, holdout: pd.DataFrame) -> np.ndarray:
    """What the champion says of the holdout. Raises ModelError where it cannot score these people, as `load` does."""
    champion, names = models.load(name, version)
    if missing := [one for one in names if one not in holdout]:
        raise ModelError(f"{name} version {version} needs features {', '.join(missing)}, which are gone")
    try:
        with threadpool_limits(1):  # as in `fit`
            return probabilities(champion, finite(holdout[names].astype("float64")))
    except Exception as error:  # somebody else's code
        raise ModelError(f"{name} version {version} fails on people's rows: {failing(error)}") from None


def training_row(spec: ModelSpec, as_of: date, verdict: Verdict, version: str | None, state: str) -> dict:
    """The row of ml.trainings of a classifier."""
    value, counts = verdict.metrics.get(spec.metric), (verdict.rows, verdict.positives)
    row = training(
        as_of, spec.name, spec.metric, value, verdict.baseline, verdict.baseline_rule, verdict.reason, *counts
    )
    measures = {name: verdict.metrics.get(name) for name in ("roc_auc", "average_precision", "brier")}
    held = {"holdout_rows": verdict.holdout_rows, "holdout_positives": verdict.holdout_positives}
    return row | measures | held | {"holdout_on": spec.observed(as_of), "version": version, "snapshot_id": state}


def training(
    as_of: date,
    model: str,
    metric: str,
    value,
    baseline,
    rule: str | None,
    reason: str | None,
    rows: int,
    positives: int,
) -> dict:
    """A row of ml.trainings of any model; what it does not know of is null."""
    return {
        "as_of": as_of,
        "model": model,
        "metric": metric,
        "value": value,
        "baseline": baseline,
        "baseline_rule": rule,
        "roc_auc": None,
        "average_precision": None,
        "brier": None,
        "rows": rows,
        "positives": positives,
        "version": None,
        "promoted": reason is None,
        "reason": reason,
        "snapshot_id": None,
    }
