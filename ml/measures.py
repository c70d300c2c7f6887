"""How good are probabilities? Ranking, calibration, lift, and how sure we are of each number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

DRAWS = 300
BATCH = 25  # draws at a time: all of them at once would be 185 MB an array at 77,000 rows
NAMES = ("roc_auc", "pr_auc", "log_loss", "brier")
LOWER_IS_BETTER = ("log_loss", "brier")
TINY = 1e-9
GROUPS = 30  # that a report tells apart


def measured(truth: np.ndarray, chance: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    """NAMES of probabilities. weights: rows as often as drawn, shape (n,) or (draws, n); then arrays of shape (draws,).

    pr_auc is average precision: sum of precision x gain in recall down the ranking. Equal probabilities move together.
    """
    truth, chance = np.asarray(truth), np.asarray(chance)
    order = np.argsort(-chance, kind="stable")
    y, p = truth[order].astype(float), chance[order]
    w = np.ones((1, y.size)) if weights is None else np.atleast_2d(weights)[:, order].astype(float)
    ends = np.flatnonzero(np.append(np.diff(p) != 0, True))
    hits, rows = np.cumsum(w * y, axis=1)[:, ends], np.cumsum(w, axis=1)[:, ends]
    positives, total = hits[:, -1:], rows[:, -1:]
    misses, negatives = rows - hits, total - positives
    gained = np.diff(hits, axis=1, prepend=0)
    wide, high = np.diff(misses, axis=1, prepend=0), hits - gained / 2
    bounded = np.clip(p, TINY, 1 - TINY)
    surprise = -(y * np.log(bounded) + (1 - y) * np.log(1 - bounded))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "roc_auc": (wide * high).sum(axis=1) / (positives * negatives)[:, 0],
            "pr_auc": (gained * hits / np.maximum(rows, TINY)).sum(axis=1) / positives[:, 0],
            "log_loss": (w * surprise).sum(axis=1) / total[:, 0],
            "brier": (w * (y - p) ** 2).sum(axis=1) / total[:, 0],
        }
    return {name: float(value[0]) if weights is None else value for name, value in found.items()}


def drawn(rows: int, draws: int, seed: int | np.random.Generator) -> np.ndarray:
    """Bootstrap weights, shape (draws, rows): how often each row is drawn with replacement."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(draws)]).astype(np.int16)


def intervals(truth: np.ndarray, chance: np.ndarray, seed: int, draws: int = DRAWS) -> dict[str, list[float]]:
    """95 % percentile bootstrap interval [low, high] of each of NAMES."""
    parts = [measured(truth, chance, drawn(truth.size, BATCH, seed + n)) for n in range(max(draws // BATCH, 1))]
    return {name: _interval(np.concatenate([part[name] for part in parts])) for name in NAMES}


def _interval(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.nanquantile(values, [0.025, 0.975])]


def differences(truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, metric: str, seed: int) -> dict:
    """Paired bootstrap of metric(ours) - metric(theirs) on the same rows: difference, interval, share better.

    better is positive whichever way the metric points.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    rng, gains = np.random.default_rng(seed), []
    for _ in range(DRAWS // BATCH):
        weights = drawn(truth.size, BATCH, rng)
        gains.append(measured(truth, ours, weights)[metric] - measured(truth, theirs, weights)[metric])
    gain = sign * np.concatenate(gains)
    point = sign * (measured(truth, ours)[metric] - measured(truth, theirs)[metric])
    return {"difference": point, "interval": _interval(gain), "share_better": float(np.nanmean(gain > 0))}


def log_odds(chance: np.ndarray) -> np.ndarray:
    bounded = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.log(bounded / (1 - bounded))


def calibration(truth: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """slope and intercept of a logistic fit on the log-odds (1 and 0 are right), and calibration in the large.

    in_the_large: the shift of log-odds that makes the mean probability the observed share (0 is right).
    Van Calster et al. (2019), "Calibration: the Achilles heel of predictive analytics", levels mean and weak.
    """
    truth, chance = np.asarray(truth), np.asarray(chance)
    odds = log_odds(chance)
    fit = LogisticRegression(C=np.inf, max_iter=1000).fit(odds[:, None], truth)
    shift = brentq(lambda move: (1 / (1 + np.exp(-odds - move))).mean() - truth.mean(), -20, 20)
    return {
        "slope": float(fit.coef_[0, 0]),
        "intercept": float(fit.intercept_[0]),
        "in_the_large": float(shift),
        "mean_probability": float(chance.mean()),
        "observed_share": float(truth.mean()),
    }


def deciles(truth: np.ndarray, chance: np.ndarray, groups: int = 10) -> list[dict]:
    """Tenths of the rows from the highest probability down: rows, share of positives, lift, share found so far."""
    order = np.argsort(-chance, kind="stable")
    found, seen, base = [], 0.0, truth.mean()
    for number, part in enumerate(np.array_split(order, groups), 1):
        if not part.size:
            continue
        seen += truth[part].sum()
        found.append(
            {
                "decile": number,
                "rows": int(part.size),
                "mean_probability": float(chance[part].mean()),
                "share": float(truth[part].mean()),
                "lift": float(truth[part].mean() / base),
                "captured": float(seen / truth.sum()),
            }
        )
    return found


def groups(truth: np.ndarray, chance: np.ndarray, member: pd.Series, least: int = 20) -> list[dict]:
    """Rows, share, mean probability and ROC-AUC of each value of `member` that has `least` of both classes.

    The GROUPS largest values of `least` rows or more; all others are one line: a rare value may be one person's.
    """
    named = member.astype(object).where(member.notna(), "(missing)").astype(str)
    counts = named.value_counts()
    told = counts.index[counts >= least][:GROUPS]
    pooled, found = named.where(named.isin(told), f"({len(counts) - len(told)} rarer values)"), []
    for value, at in sorted(pooled.groupby(pooled).indices.items()):
        positives = int(truth[at].sum())
        line = {"value": value, "rows": int(at.size), "share": float(truth[at].mean()),
                "mean_probability": float(chance[at].mean()), "roc_auc": None}  # fmt: skip
        if min(positives, at.size - positives) >= least:
            line["roc_auc"] = measured(truth[at], chance[at])["roc_auc"]
        found.append(line)
    return found
