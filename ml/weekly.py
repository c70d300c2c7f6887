"""What becomes of a model that is fitted anew each week? It is kept, noted, and followed only where its gate opens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import pandas as pd
from pyspark.sql import functions as F

from cdp_spark.job import Job
from ml.card import card, plots
from ml.keep import registry
from ml.show import plain
from ml.tracking import Registry, RegistryError
from ml.train import note


class Made(NamedTuple):
    """What a fit came to.

    row: of ml.trainings; its reason is None where the baseline is beaten. model: a classifier of the features `names`,
    or parameters as plain values; None where there was too little to fit. interval: of the row's value.
    details: what else the holdout told, as in `validate.details`. about: what else the card tells: importance and what
    it is (importance_is), decision. memory: what later days need of a classifier, as in `keep.memory`.
    notes: sentences for the model card.
    """

    row: dict
    model: Any = None
    names: Sequence[str] = ()
    interval: Sequence[float] | None = None
    details: dict = {}
    about: dict = {}
    memory: dict = {}
    notes: Sequence[str] = ()


def week_is_over(job: Job, table: str) -> bool:
    """True where a weekly table is due: it has nothing of the last retrain_after_days, or it is of this very day.

    Never where no source lands orders: such a deployment has nothing to learn from, and is not told so every week.
    """
    if not lands_orders(job):
        return False
    day = job.lake.read(table).where(F.col("as_of") <= F.lit(job.as_of)).agg(F.max("as_of").alias("day")).first()["day"]
    return day is None or day == job.as_of or job.as_of - day >= timedelta(job.conf.base.retrain_after_days)


def lands_orders(job: Job) -> bool:
    """Does any source of the deployment bring orders?"""
    return any(source.entity == "orders" for source in job.conf.sources.values())


def settled(job: Job, made: Made) -> str | None:
    """Keep what was fitted, and note the training; the version whose rows may follow, None where the gate is closed.

    A registry that is away closes it as well: rows of a model that nobody can look up are not written.
    """
    row, model = made.row, made.row["model"]
    if made.model is not None:
        row = row | _kept(registry(job), made, str(job.as_of), job.conf.base.seed)
    note(job, [row])
    if row["reason"]:
        job.warn(f"{model}: nothing new: {row['reason']}")
    return None if row["reason"] else row["version"]


def _kept(models: Registry, made: Made, as_of: str, seed: int) -> dict:
    """What the registry adds to the row: the version, or why there is none. A rerun finds the version it has made."""
    model, snapshot, reason = made.row["model"], made.row["snapshot_id"], made.row["reason"]
    params = {"as_of": as_of, "seed": seed, "rows": made.row["rows"], "snapshot_id": snapshot}
    try:
        version = models.version_of(model, snapshot)
        if version is None and isinstance(made.model, dict):
            version = models.keep(model, made.model, params, _metrics(made), _files(made))
        elif version is None:
            files, names = _files(made), list(made.names)
            version = models.log(model, made.model, names, params, _metrics(made), files, made.memory)
        if reason is None:
            models.passed(model, version)
            models.promote(model, version)
    except RegistryError as error:
        return {"promoted": False, "reason": f"it cannot be kept: {error}"}
    return {"version": version}


def _metrics(made: Made) -> dict[str, float]:
    low, high = made.interval or (None, None)
    told = {"baseline": made.row["baseline"], "brier": made.row["brier"], "roc_auc": made.row["roc_auc"]}
    metric = made.row["metric"]
    told |= {metric: made.row["value"], f"{metric}_low": low, f"{metric}_high": high}
    return {name: value for name, value in told.items() if value is not None}


def _files(made: Made) -> dict[str, bytes]:
    """The model card, the report behind it and its pictures; no row of anybody."""
    told = report(made)
    files = {"card.md": card(told).encode(), "report.json": json.dumps(plain(told), indent=1, default=str).encode()}
    pictures = plots(told) if "deciles" in made.details else {}
    return files | {f"{name}.png": picture for name, picture in pictures.items()}


def report(made: Made) -> dict:
    """What the card tells, in the shape of a flat table's report."""
    row, metric = made.row, made.row["metric"]
    intervals = {metric: made.interval} if made.interval else {}
    notes = [f"baseline: {row['baseline_rule']} has {metric} {row['baseline']:.4f}", *made.notes]
    return {
        "model": row["model"],
        "rows": row["rows"],
        "base_rate": row["positives"] / row["rows"] if row["brier"] is not None else None,  # of who answers yes or no
        "features": list(made.names),
        "holdout": {"intervals": intervals, metric: row["value"], "roc_auc": row["roc_auc"]} | made.details,
        "parameters": made.model if isinstance(made.model, dict) else None,
        "notes": notes + ([f"not promoted: {row['reason']}"] if row["reason"] else []),
        **made.about,
    }


def digest(*parts: Any) -> str:
    """A hash of what was learned from: frames by their values in their order, anything else as JSON."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, pd.DataFrame):
            found.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
        else:
            found.update(json.dumps(part, sort_keys=True, default=str).encode())
    return found.hexdigest()[:16]
