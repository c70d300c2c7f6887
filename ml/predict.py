"""What runs on the executors: a model applied to batches of rows. Imports neither Spark jobs nor the model registry."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

_LOADED: dict[bytes, Any] = {}  # of this Python worker: a model is unpickled once, not once a batch or partition


def predictor(payload: Any, wanted: list[str]) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """A function for mapInPandas: (person_id, as_of, features) to (person_id, as_of, score).

    payload: broadcast of a pickled classifier; wanted: its features in the order of its training.
    """

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        model = loaded(payload.value)
        for batch in batches:
            if len(batch):
                chance = model.predict_proba(batch[wanted].astype("float64"))[:, 1]
                yield batch[["person_id", "as_of"]].assign(score=chance)

    return predict


def loaded(pickled: bytes) -> Any:
    """The classifier in `pickled`, the same object each time in one process."""
    if pickled not in _LOADED:
        _LOADED[pickled] = pickle.loads(pickled)
    return _LOADED[pickled]


class Foreign:
    """Any pyfunc model as a classifier: it gives one probability a row, or one for each of two classes."""

    def __init__(self, model: Any):
        self.model = model

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        """Shape (n, 2). Raises ValueError where the model gives something that is no probability."""
        found = np.asarray(self.model.predict(rows), dtype=float)
        chance = found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found.ravel()
        if chance.shape != (len(rows),) or not ((chance >= 0) & (chance <= 1)).all():
            raise ValueError("the model does not give one probability a row")
        return np.column_stack([1 - chance, chance])
