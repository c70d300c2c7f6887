"""Is a model good enough? Gates before the fit, a baseline beside it, and the numbers that decide."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ml.dataset import Examples

LEAST = 100  # positives and as many negatives to learn from
LEAST_HELD_OUT = 20  # of each to be judged on
LEAK = 0.90  # a single feature that knows the answer this well has seen it
RULES = ("last_order_days", "orders_365d", "spend_365d", "orders_90d")  # recency, frequency, money
METRICS = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}


class Verdict(NamedTuple):
    """What a training came to. `reason` is None for a model that may become champion; `fitted` None where none was."""

    rows: int
    positives: int
    holdout_rows: int
    holdout_positives: int
    reason: str | None
    fitted: Any = None
    metrics: dict[str, float] = {}
    baseline: float | None = None
    baseline_rule: str | None = None


def refused(examples: Examples) -> str | None:
    """Why nothing can be learned from these examples, or None."""
    for part, frame, least in (("training", examples.train, LEAST), ("holdout", examples.holdout, LEAST_HELD_OUT)):
        positives = int(frame["label"].sum())
        if min(positives, len(frame) - positives) < least:
            return f"{part}: {positives} positives of {len(frame)} rows; {least} positives and negatives are needed"
    for name in examples.features:
        if (auc := knows(examples.train, name)) > LEAK:
            return f"feature {name} alone has a ROC-AUC of {auc:.3f}, more than {LEAK}: has it seen the answer?"
    return None


def knows(frame: pd.DataFrame, name: str) -> float:
    """ROC-AUC of one feature as the score, whichever way it points; 0.5 is no knowledge. Nulls count as the median."""
    auc = roc_auc_score(frame["label"], _rule(frame[name]))
    return max(auc, 1 - auc)


def _rule(values: pd.Series) -> np.ndarray:
    middle = values.median()
    return values.fillna(0.0 if np.isnan(middle) else middle).to_numpy()


def baseline(examples: Examples, metric: str) -> tuple[str, float]:
    """(feature, metric on the holdout) of the best single rule; which and which way is decided on the training rows."""
    known = [name for name in RULES if name in examples.features] or examples.features
    best = max(known, key=lambda name: knows(examples.train, name))
    up = roc_auc_score(examples.train["label"], _rule(examples.train[best])) >= 0.5
    score = _rule(examples.holdout[best]) * (1 if up else -1)
    return best, float(METRICS[metric](examples.holdout["label"], score))


def judged(model: ModuleType, examples: Examples, seed: int) -> Verdict:
    """Fit `model` on the training rows and judge it on the holdout, beside the baseline."""
    spec, train, holdout = model.SPEC, examples.train, examples.holdout
    counts = (len(train), int(train["label"].sum()), len(holdout), int(holdout["label"].sum()))
    if reason := refused(examples):
        return Verdict(*counts, reason)
    fitted = model.estimator(seed).fit(train[examples.features], train["label"])
    chance, truth = fitted.predict_proba(holdout[examples.features])[:, 1], holdout["label"]
    metrics = {name: float(score(truth, chance)) for name, score in METRICS.items()}
    metrics["brier"] = float(brier_score_loss(truth, chance))
    rule, least = baseline(examples, spec.metric)
    reason = _too_weak(spec.metric, metrics[spec.metric], least, rule, spec.minimum)
    return Verdict(*counts, reason, fitted, metrics, least, rule)


def _too_weak(metric: str, value: float, least: float, rule: str, minimum: float) -> str | None:
    if value <= least:
        return f"{metric} {value:.3f} does not beat {least:.3f} of the rule {rule} alone"
    return f"{metric} {value:.3f} is below the model's minimum {minimum:.3f}" if value < minimum else None
