"""Why this score? What each value of a row adds to it, beside the value that most people have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

REASONS = 3  # a person, at most
LEAST_DROP = 0.005  # of probability, that a reason must explain
SHARE = 0.9  # reasons are told from this quantile of the scores on


def usual(rows: pd.DataFrame) -> dict[str, float]:
    """The median of each column that has one: what most people have."""
    return {name: float(value) for name, value in rows.astype("float64").median().items() if value == value}


def reasons(
    score: Callable[[pd.DataFrame], np.ndarray], rows: pd.DataFrame, found: np.ndarray, usual: dict[str, float],
    cut: float | None, least: float = LEAST_DROP,
) -> list[list[str] | None]:  # fmt: skip
    """For each row whose score (`found`) is `cut` or more: the values without which the score would be lower by `least`
    or more, the most first.

    Each feature of `usual` is put to its usual value, all others kept (a baseline-value ablation; Sundararajan &
    Najmi 2020, "The many Shapley values", BShap for one feature); a reason reads `last_order_days 94`.
    """
    told: list[list[str] | None] = [None] * len(rows)
    if cut is None or not usual:
        return told
    at = np.flatnonzero(found >= cut)
    if not at.size:
        return told
    high = rows.iloc[at]
    drops = np.column_stack([found[at] - score(high.assign(**{name: value})) for name, value in usual.items()])
    names = list(usual)
    values = high[names].to_numpy()
    for row, place in enumerate(at):
        best = [n for n in np.argsort(-drops[row], kind="stable")[:REASONS] if drops[row, n] >= least]
        told[place] = [f"{names[n]} {_short(values[row, n])}" for n in best]
    return told


def _short(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.4g}"
