"""What is kept of a fitted model? Its version with card, curves and the bins of what it learned from."""

from __future__ import annotations

import json

import numpy as np

from cdp_spark.config.source import Feature
from cdp_spark.job import Job
from ml import drift
from ml.card import card, curves, plots
from ml.dataset import Examples
from ml.decide import decided
from ml.explain import SHARE, usual
from ml.judge import Verdict
from ml.spec import ModelSpec, shipped
from ml.tracking import Registry, RegistryError

TELLING = 12  # features, by importance, that may be a reason


def registry(job: Job) -> Registry:
    """Where the job's deployment keeps its models."""
    return Registry(job.mlflow_uri, job.mlflow_artifacts, job.conf.base.name, job.conf.env.s3)


def training_sets_in_use(job: Job) -> set[str] | None:
    """Ids in ml.examples that must stay; None, with a warning, where the registry does not answer: then all stay."""
    if not job.lake.exists("ml.examples"):
        return set()
    models = registry(job)
    try:
        return {one for name in shipped() for one in models.snapshots_in_use(name)}
    except RegistryError as error:
        job.warn(f"no training set is forgotten: {error}")
        return None


def keep_matching(job: Job, model: dict) -> None:
    """Keep the matching model that is in use (a row of identity.models) in MLflow, unless an earlier run has.

    A registry that is away is a warning: people are matched all the same, and the next run tries again.
    """
    models, about = registry(job), {key: str(model[key]) for key in ("model_id", "trained_on", "records", "partners")}
    try:
        if not models.has_document("matching", "model_id", about["model_id"]):
            models.log_document("matching", json.loads(model["settings"]), about)
    except RegistryError as error:
        job.warn(f"the model of matching could not be kept, the next run tries again: {error}")


def registered(job: Job, models: Registry, spec: ModelSpec, found: Examples, verdict: Verdict) -> str:
    """The version of a fitted model, kept with its card, curves and the bins of what it learned from."""
    params = {"as_of": str(job.as_of), "horizon_days": spec.horizon_days, "seed": job.conf.base.seed,
              "rows": verdict.rows, "run_id": job.run_id, "snapshot_id": found.id, **verdict.settings}  # fmt: skip
    told, truth = report(job, spec, found, verdict), found.holdout["label"].to_numpy(dtype=int)
    metrics = verdict.metrics | {"baseline": verdict.baseline}
    for name, (low, high) in verdict.details["intervals"].items():
        metrics |= {f"{name}_low": low, f"{name}_high": high}
    metrics |= {f"decision_{name}": value for name, value in told.get("decision", {}).items()}
    pictures = plots(told) | curves(truth, verdict.chance)
    files = {"card.md": card(told).encode(), "report.json": json.dumps(told, indent=1, default=str).encode()}
    files |= {f"{name}.png": picture for name, picture in pictures.items()}
    about = memory(found, verdict)
    return models.log(spec.name, verdict.fitted, found.features, params, metrics, files, about, verdict.tries)


def report(job: Job, spec: ModelSpec, found: Examples, verdict: Verdict) -> dict:
    """What the model card tells, in the shape of a flat table's report."""
    rule = f"baseline: the rule {verdict.baseline_rule} alone has {spec.metric} {verdict.baseline:.3f}"
    asked = f"asked about who fits: {spec.eligible}; over {spec.horizon_days} days after {spec.gap_days}"
    judged_by = {"roc_auc": verdict.metrics["roc_auc"], "pr_auc": verdict.metrics["average_precision"],
                 "brier": verdict.metrics["brier"], "log_loss": verdict.details["log_loss"]}  # fmt: skip
    told = {
        "model": spec.name,
        "rows": verdict.rows,
        "base_rate": verdict.positives / verdict.rows,
        "snapshot_id": found.id,
        "features": found.features,
        "left_out": left_out(job.conf.features, spec, found.features),
        "holdout": judged_by | verdict.details,
        "importance": verdict.importance,
        "tuning": verdict.tries,
        "notes": [asked, rule] + ([f"not promoted: {verdict.reason}"] if verdict.reason else []),
    }
    if decision := job.conf.base.decisions.get(spec.name):
        truth = found.holdout["label"].to_numpy(dtype=int)
        told["decision"] = decided(decision, truth, verdict.chance)
    return told


def left_out(specs: dict[str, Feature], spec: ModelSpec, learned: list[str]) -> dict[str, str]:
    """Features of the deployment that the model has not learned from, with the reason."""
    found = {}
    for name, feature in specs.items():
        if feature.sensitive:
            found[name] = "sensitive by declaration"
        elif name not in learned:
            chosen = spec.features == "all" or name in spec.features
            found[name] = "one value only in the training rows" if chosen else "not named by the model"
    return found


def memory(found: Examples, verdict: Verdict) -> dict:
    """What later days need: bins of the holdout's features and scores, share of positives; and for reasons, the usual
    value of the features that matter and the probability that a tenth of the holdout reaches."""
    frame = found.holdout[found.features].assign(**{drift.SCORE: verdict.chance})
    share = verdict.holdout_positives / verdict.holdout_rows
    return {
        "bins": drift.frozen(frame),
        "share": share,
        "rows": verdict.holdout_rows,
        "usual": usual(found.train[list(verdict.importance)[:TELLING]]),
        "cut": float(np.quantile(verdict.chance, SHARE)),
    }
