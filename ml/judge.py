"""Is a model good enough? Gates before the fit, a baseline and the champion beside it, and the numbers that decide."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ml import gates
from ml.dataset import Examples
from ml.drift import prior_shift
from ml.importance import importance
from ml.measures import calibration, differences, measured
from ml.tune import tuned
from ml.validate import chances, details, fit

LEAST = 100  # positives and as many negatives to learn from
LEAST_HELD_OUT = 20  # of each to be judged on
RULES = ("last_order_days", "orders_365d", "spend_365d", "orders_90d")  # recency, frequency, money
SEGMENT_BY = ("tenure_days", *RULES)
COLLAPSE = 0.05  # ROC-AUC that a third of the people may lose against the champion
WORSE = 0.1  # that the mean log-odds may lie further off than the champion's
MEASURES = {"roc_auc": "roc_auc", "average_precision": "pr_auc"}


class Verdict(NamedTuple):
    """What a training came to. `reason` is None for a model that may become champion; `fitted` None where none was.

    details: intervals, calibration and lift by tenths on the holdout; chance: its probabilities there.
    settings: of the estimator, the best of tries; importance: loss of ROC-AUC on the holdout without each feature.
    """

    rows: int
    positives: int
    holdout_rows: int
    holdout_positives: int
    reason: str | None
    fitted: Any = None
    metrics: dict[str, float] = {}
    baseline: float | None = None
    baseline_rule: str | None = None
    details: dict = {}
    chance: np.ndarray | None = None
    settings: dict = {}
    tries: list[dict] = []
    importance: dict[str, float] = {}


def refused(examples: Examples) -> str | None:
    """Why nothing can be learned from these examples, or None."""
    for part, frame, least in (("training", examples.train, LEAST), ("holdout", examples.holdout, LEAST_HELD_OUT)):
        positives = int(frame["label"].sum())
        if min(positives, len(frame) - positives) < least:
            return f"{part}: {positives} positives of {len(frame)} rows; {least} positives and negatives are needed"
    if not examples.features:
        return "every feature has one value only in the training rows"
    parts = (examples.train, examples.holdout)
    if endless := [name for name in examples.features if any(_infinite(part[name]) for part in parts)]:
        return f"features {', '.join(endless)} hold infinite values; mend their expressions in conf/features.yml"
    flags = gates.leaks(examples.train, examples.train["label"], examples.features)
    return "; ".join(f"feature {flag.why}" for flag in flags) or None


def _infinite(values: pd.Series) -> bool:
    return bool(np.isinf(values.to_numpy(dtype=float)).any())


def baseline(examples: Examples, metric: str) -> tuple[str, float]:
    """(feature, metric on the holdout) of the best single rule; which and which way is decided on the training rows."""
    known = [name for name in RULES if name in examples.features] or examples.features
    truth = examples.train["label"].to_numpy(dtype=float)
    alone = {name: gates.auc(truth, gates.filled(examples.train[name])) for name in known}
    best = max(known, key=lambda name: abs(alone[name] - 0.5))
    score = gates.filled(examples.holdout[best]) * (1 if alone[best] >= 0.5 else -1)
    odds = pd.Series(score).rank(pct=True).to_numpy()
    return best, measured(examples.holdout["label"].to_numpy(), odds)[MEASURES[metric]]


def judged(model: ModuleType, examples: Examples, seed: int) -> Verdict:
    """Tune and fit `model` on the training rows and judge it on the holdout, beside the baseline."""
    spec, train, holdout = model.SPEC, examples.train, examples.holdout
    counts = (len(train), int(train["label"].sum()), len(holdout), int(holdout["label"].sum()))
    if reason := refused(examples):
        return Verdict(*counts, reason)
    settings, tries = tuned(model, train, examples.features, seed)
    fitted = fit(model.estimator(seed, **settings), train[examples.features], train["label"].to_numpy(dtype=int))
    chance, truth = chances(fitted, holdout[examples.features]), holdout["label"].to_numpy(dtype=int)
    found = measured(truth, chance)
    metrics = {"roc_auc": found["roc_auc"], "average_precision": found["pr_auc"], "brier": found["brier"]}
    rule, least = baseline(examples, spec.metric)
    best = min(tries, key=lambda one: one["log_loss"]) if tries else {}
    early = too_early(best.get("roc_auc"), found["roc_auc"], counts)
    return Verdict(
        *counts,
        reason=early or _too_weak(spec.metric, metrics[spec.metric], least, rule, spec.minimum),
        fitted=fitted,
        metrics=metrics,
        baseline=least,
        baseline_rule=rule,
        details={"log_loss": found["log_loss"]} | details(truth, chance, seed),
        chance=chance,
        settings=settings,
        tries=tries,
        importance=importance(fitted, holdout[examples.features], holdout["label"], seed),
    )


def too_early(other_people: float | None, later: float, counts: tuple[int, int, int, int]) -> str | None:
    """Why a model has learned from the future, or None: on other people of the training's days far better than later.

    other_people: ROC-AUC of its settings' try, None where nothing was tuned. counts: rows, positives, of the holdout.
    """
    rows, positives, held, hits = counts
    if other_people is None or min(hits, held - hits) < LEAST:  # of fewer, luck alone moves it as far
        return None
    shifted = prior_shift(positives / rows, rows, hits / held, held)
    return next((flag.why for flag in gates.too_good(other_people, later, shifted)), None)


def _too_weak(metric: str, value: float, least: float, rule: str, minimum: float) -> str | None:
    if value <= least:
        return f"{metric} {value:.3f} does not beat {least:.3f} of the rule {rule} alone"
    return f"{metric} {value:.3f} is below the model's minimum {minimum:.3f}" if value < minimum else None


def against(champion: np.ndarray, ours: np.ndarray, holdout: pd.DataFrame, metric: str, seed: int) -> str | None:
    """Why the challenger may not follow the champion, or None. Both scored the newest holdout, whom neither has seen.

    It must rank better in most paired bootstrap draws, be calibrated no worse, and collapse in no third of the people.
    """
    truth = holdout["label"].to_numpy(dtype=int)
    gain = differences(truth, ours, champion, MEASURES[metric], seed)
    if gain["share_better"] < 0.5:
        low, high = gain["interval"]
        return f"{metric} is {gain['difference']:+.4f} beside the champion's ({low:+.4f} to {high:+.4f})"
    new, old = (abs(calibration(truth, chance)["in_the_large"]) for chance in (ours, champion))
    if new > old + WORSE:
        return f"its probabilities are off by {new:.2f} in log-odds, the champion's by {old:.2f}"
    return _collapsed(champion, ours, holdout, truth)


def _collapsed(champion: np.ndarray, ours: np.ndarray, holdout: pd.DataFrame, truth: np.ndarray) -> str | None:
    name = next((name for name in SEGMENT_BY if name in holdout), None)
    if name is None:
        return None
    third = pd.Series(gates.filled(holdout[name])).rank(pct=True).mul(3).clip(upper=2.999).astype(int).to_numpy()
    for number, which in enumerate(("lowest", "middle", "highest")):
        here = third == number
        positives = int(truth[here].sum())
        if min(positives, int(here.sum()) - positives) < LEAST_HELD_OUT:
            continue
        new, old = (measured(truth[here], chance[here])["roc_auc"] for chance in (ours, champion))
        if new < old - COLLAPSE:
            return f"in the {which} third by {name} its ROC-AUC is {new:.3f}, the champion's {old:.3f}"
    return None
