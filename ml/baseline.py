"""Is the model better than the best single column, and than guessing? What it has to beat, and whether it does."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml import gates
from ml.measures import differences


def rule(rows: pd.DataFrame, label: pd.Series, names: list[str]) -> dict:
    """The column that alone ranks best: what a model has to beat."""
    best = {name: gates.knows(rows[name], label) for name in names}
    column = max(best, key=lambda name: best[name])
    return {"column": column, "roc_auc": best[column]}


def compared(rows: pd.DataFrame, truth: np.ndarray, chance: np.ndarray, column: str, seed: int) -> dict:
    """ROC-AUC of the model minus that of the column alone on the same rows, out of fold: paired bootstrap.

    beaten: whether the whole interval is above 0.
    """
    theirs = gates.ranking(rows[column], truth.astype(float))
    gained = differences(truth, chance, theirs, "roc_auc", seed)
    return gained | {"beaten": gained["interval"][0] > 0}


def warned(report: dict) -> list[str]:
    """What must not be overlooked: a model no better than its rule, or than guessing. Empty where all is well."""
    found, judged = report["baseline"], report["cross_validation"]
    low, high = judged["intervals"]["roc_auc"]
    warnings = []
    if low <= 0.5:
        warnings.append(
            f"NO BETTER THAN GUESSING: ROC-AUC {judged['roc_auc']:.3f} ({low:.3f} to {high:.3f}) out of fold"
        )
    if not found["beaten"]:
        least, most = found["interval"]
        warnings.append(
            f"NOT BETTER THAN ITS BASELINE: {found['column']} alone has a ROC-AUC of {found['roc_auc']:.3f}, the model "
            f"{judged['roc_auc']:.3f} (difference {found['difference']:+.3f}, {least:+.3f} to {most:+.3f}); the column "
            "alone does as well"
        )
    return warnings
