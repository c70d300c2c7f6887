"""Which settings of a model's estimator are best? A few candidates, judged on people of a fold they have not seen."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from ml.measures import measured
from ml.validate import chances, fit

JUDGES = (
    3  # the fold of people that candidates are judged on; the holdout's people are of another (ml.dataset.HELD_OUT)
)
MOST = 20_000  # rows that a candidate learns from
JUDGED_BY = ("log_loss", "roc_auc")  # of a try, beside its settings


def tuned(model: ModuleType, train: pd.DataFrame, names: list[str], seed: int) -> tuple[dict, list[dict]]:
    """(the best settings, every try as {settings..., log_loss, roc_auc}); ({}, []) where the model has no GRID.

    train: rows of `Examples.train`, with the people's fold. Log loss decides: probabilities are what is asked for.
    """
    grid = getattr(model, "GRID", ())
    if len(grid) < 2 or "fold" not in train:
        return (dict(grid[0]) if grid else {}), []
    judges = (train["fold"] == JUDGES).to_numpy()
    learned = train[~judges].iloc[:: max(1, int((~judges).sum() // MOST))]
    truth = train.loc[judges, "label"].to_numpy(dtype=int)
    if learned["label"].nunique() < 2 or len(np.unique(truth)) < 2:
        return dict(grid[0]), []
    tries = []
    for settings in grid:
        tried: Any = fit(model.estimator(seed, **settings), learned[names], learned["label"].to_numpy(dtype=int))
        found = measured(truth, chances(tried, train.loc[judges, names]))
        tries.append({**settings} | {name: found[name] for name in JUDGED_BY})
    best = min(range(len(grid)), key=lambda at: tries[at]["log_loss"])
    return dict(grid[best]), tries
