"""Which columns does a model lean on? Each is shuffled in turn; what the ranking loses is its importance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ml import gates
from ml.validate import chances


def importance(model: Any, rows: pd.DataFrame, label: pd.Series, seed: int, most: int = 3000) -> dict[str, float]:
    """Loss of ROC-AUC when a column is shuffled over up to `most` rows, the largest first (Breiman 2001, sec. 10)."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(len(rows), min(most, len(rows)), replace=False))
    sample, truth = rows.iloc[at], label.to_numpy(dtype=int)[at]
    whole_auc = gates.auc(truth, chances(model, sample))
    found = {}
    for name in rows.columns:
        mixed = sample.assign(**{name: sample[name].to_numpy()[rng.permutation(len(sample))]})
        found[name] = whole_auc - gates.auc(truth, chances(model, mixed))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
