"""Which models are due, how good are the new ones, and which becomes champion?"""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.features import inputs
from cdp_spark.job import Job
from ml import drift
from ml.card import card, curves, plots
from ml.dataset import Examples, examples, feature_names, labelled
from ml.judge import Verdict, against, judged
from ml.spec import ModelSpec, applicable
from ml.tracking import Registry, RegistryError
from ml.validate import chances


def registry(job: Job) -> Registry:
    """Where the job's deployment keeps its models."""
    return Registry(job.mlflow_uri, job.mlflow_artifacts, job.conf.base.name)


def keep_matching(job: Job, model: dict) -> None:
    """Keep a newly trained matching model (a row of identity.models) in MLflow."""
    about = {key: str(model[key]) for key in ("model_id", "trained_on", "records", "partners")}
    registry(job).log_document("matching", json.loads(model["settings"]), about)


def train_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Train each model that is due; one row a training in ml.trainings. The other rows of the day stay.

    permitted: person_id of those whose data may be used for profiling; None where no consent applies.
    A registry that is away is a warning: nothing is trained, and the champions stay.
    """
    models, done = registry(job), []
    try:
        due = [module for name, module in applicable(job).items() if is_due(job, models, name)]
    except RegistryError as error:
        job.warn(f"nothing was trained: {error}")
        return
    if not due:
        job.log("no model is due")
        return
    frames, people = inputs(job)
    told = trained_on(job)
    frames["silver.orders"].persist()  # read once for the features and once a snapshot for the labels
    for module in due:
        spec = module.SPEC
        rows = labelled(module, frames, job.conf.features, people, job.as_of, permitted)
        found = examples(rows, spec, feature_names(spec, job.conf.features), job.as_of)
        state = snapshot_id(found)
        if told.get(spec.name) == state:
            job.log(f"{spec.name}: was trained on this very snapshot before")
            continue
        verdict = judged(module, found, job.conf.base.seed)
        done.append(keep(job, models, spec, found, verdict, state))
    frames["silver.orders"].unpersist()
    if not done:
        return
    others = job.lake.read("ml.trainings").where(F.col("as_of") == F.lit(job.as_of))
    others = others.where(~F.col("model").isin([row["model"] for row in done]))
    trained = job.spark.createDataFrame(done, others.schema)
    job.lake.write("ml.trainings", trained.unionByName(others), on=job.as_of)


def is_due(job: Job, models: Registry, name: str) -> bool:
    """True where there is no champion, or its last training is older than retrain_after_days."""
    if models.champion(name) is None:
        return True
    rows = job.lake.read("ml.trainings").where((F.col("model") == name) & (F.col("as_of") <= F.lit(job.as_of)))
    last = rows.agg(F.max("as_of").alias("last")).first()["last"]
    return last is None or job.as_of - last > timedelta(job.conf.base.retrain_after_days)


def trained_on(job: Job) -> dict[str, str]:
    """Snapshot on which a model was not good enough in an earlier try of this day: a rerun registers nothing twice."""
    rows = job.lake.read("ml.trainings").where((F.col("as_of") == F.lit(job.as_of)) & ~F.col("promoted"))
    return {row["model"]: row["snapshot_id"] for row in rows.collect()}  # one row a model


def keep(job: Job, models: Registry, spec: ModelSpec, found: Examples, verdict: Verdict, state: str) -> dict:
    """Register what was fitted as challenger, promote what passes the gate; the row of ml.trainings."""
    version = None
    if verdict.fitted is not None:
        reason = verdict.reason or beside_champion(models, spec, found, verdict, job.conf.base.seed)
        verdict = verdict._replace(reason=reason)
        version = registered(job, models, spec, found, verdict, state)
    if verdict.reason is None:
        models.passed(spec.name, version)
        models.promote(spec.name, version)
        value = verdict.metrics[spec.metric]
        job.log(f"{spec.name}: version {version} is champion, {spec.metric} {value:.3f} (rule {verdict.baseline:.3f})")
    else:
        job.warn(f"{spec.name}: not promoted: {verdict.reason}")
    return training_row(spec, job.as_of, verdict, version, state)


def beside_champion(models: Registry, spec: ModelSpec, found: Examples, verdict: Verdict, seed: int) -> str | None:
    """Why the new model may not follow the present champion, or None; a champion that cannot be used stops nobody."""
    version = models.champion(spec.name)
    if version is None:
        return None
    try:
        champion, names = models.load(spec.name, version)
    except RegistryError:
        return None
    if not set(names) <= set(found.holdout.columns):
        return None
    chance = chances(champion, found.holdout[names].astype("float64"))
    return against(chance, verdict.chance, found.holdout, spec.metric, seed)


def registered(job: Job, models: Registry, spec: ModelSpec, found: Examples, verdict: Verdict, state: str) -> str:
    """The version of a fitted model, kept with its card, curves and the bins of what it learned from."""
    params = {"as_of": str(job.as_of), "horizon_days": spec.horizon_days, "seed": job.conf.base.seed,
              "rows": verdict.rows, "run_id": job.run_id, "snapshot_id": state}  # fmt: skip
    metrics = verdict.metrics | {"baseline": verdict.baseline}
    for name, (low, high) in verdict.details["intervals"].items():
        metrics |= {f"{name}_low": low, f"{name}_high": high}
    told = report(spec, found, verdict)
    truth = found.holdout["label"].to_numpy(dtype=int)
    pictures = plots(told) | curves(truth, verdict.chance)
    files = {"card.md": card(told).encode()} | {f"{name}.png": picture for name, picture in pictures.items()}
    return models.log(spec.name, verdict.fitted, found.features, params, metrics, files, memory(found, verdict))


def report(spec: ModelSpec, found: Examples, verdict: Verdict) -> dict:
    """What the model card tells, in the shape of a flat table's report."""
    rule = f"baseline: the rule {verdict.baseline_rule} alone has {spec.metric} {verdict.baseline:.3f}"
    asked = f"asked about who fits: {spec.eligible}; over {spec.horizon_days} days after {spec.gap_days}"
    judged_by = {"roc_auc": verdict.metrics["roc_auc"], "pr_auc": verdict.metrics["average_precision"],
                 "brier": verdict.metrics["brier"], "log_loss": verdict.details["log_loss"]}  # fmt: skip
    return {
        "model": spec.name,
        "rows": verdict.rows,
        "base_rate": verdict.positives / verdict.rows,
        "features": found.features,
        "holdout": judged_by | verdict.details,
        "notes": [asked, rule] + ([f"not promoted: {verdict.reason}"] if verdict.reason else []),
    }


def memory(found: Examples, verdict: Verdict) -> dict:
    """What monitoring compares later days with: bins of the holdout's features and scores, share of positives."""
    frame = found.holdout[found.features].assign(**{drift.SCORE: verdict.chance})
    share = verdict.holdout_positives / verdict.holdout_rows
    return {"bins": drift.frozen(frame), "share": share, "rows": verdict.holdout_rows}


def training_row(spec: ModelSpec, as_of: date, verdict: Verdict, version: str | None, state: str) -> dict:
    return {
        "as_of": as_of,
        "model": spec.name,
        "metric": spec.metric,
        "value": verdict.metrics.get(spec.metric),
        "baseline": verdict.baseline,
        "baseline_rule": verdict.baseline_rule,
        **{name: verdict.metrics.get(name) for name in ("roc_auc", "average_precision", "brier")},
        "rows": verdict.rows,
        "positives": verdict.positives,
        "holdout_rows": verdict.holdout_rows,
        "holdout_positives": verdict.holdout_positives,
        "holdout_on": spec.observed(as_of),
        "version": version,
        "promoted": verdict.reason is None,
        "reason": verdict.reason,
        "snapshot_id": state,
    }


def snapshot_id(found: Examples) -> str:
    """Hash of every row that is learned from or judged on: what the model has seen, whatever run brought it there."""
    digest = hashlib.sha256(",".join(found.features).encode())
    for part in (found.train, found.holdout):
        digest.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]
