"""Which columns does a model lean on? Each is shuffled in turn; what the model loses is its importance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ml import gates
from ml.validate import chances

MOST = 3000  # rows that are shuffled


def importance(model: Any, rows: pd.DataFrame, label: pd.Series, seed: int) -> dict[str, float]:
    """Loss of ROC-AUC when a column is shuffled over up to MOST rows, the largest first (Breiman 2001, sec. 10)."""
    at = some(len(rows), seed)
    truth = label.to_numpy(dtype=int)[at]
    return shuffled(lambda mixed: -gates.auc(truth, chances(model, mixed)), rows.iloc[at], seed)


def effects_moved(model: Any, rows: pd.DataFrame, seed: int) -> dict[str, float]:
    """By how much a column's shuffling moves the predicted effect on average: nobody's true effect is known."""
    sample = rows.iloc[some(len(rows), seed)]
    whole = chances(model, sample)
    return shuffled(lambda mixed: float(np.abs(chances(model, mixed) - whole).mean()), sample, seed)


def some(rows: int, seed: int) -> np.ndarray:
    """Numbers of up to MOST of so many rows, in their order."""
    return np.sort(np.random.default_rng(seed).choice(rows, min(MOST, rows), replace=False))


def shuffled(loss: Callable[[pd.DataFrame], float], sample: pd.DataFrame, seed: int) -> dict[str, float]:
    """By how much `loss` rises when a column is shuffled, by column, the largest first."""
    rng, whole, found = np.random.default_rng(seed), loss(sample), {}
    for name in sample.columns:
        mixed = sample.assign(**{name: sample[name].to_numpy()[rng.permutation(len(sample))]})
        found[name] = loss(mixed) - whole
    return dict(sorted(found.items(), key=lambda item: -item[1]))
