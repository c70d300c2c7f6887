"""What runs on the executors: a model applied to batches of rows. Imports neither Spark jobs nor the model registry."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np
import pandas as pd

from ml.explain import reasons

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOADED: dict[bytes, Any] = {}  # of this Python worker: a model is unpickled once, not once a batch or partition
OUT = "person_id string, as_of date, model string, score double, reasons array<string>, failure string"


class NoProbability(ValueError):
    """A model gives something that is no probability a row."""


class Scorer(NamedTuple):
    """A champion as the executors get it. wanted: its features in the order of its training.

    usual: value of each feature that may be a reason, as most people have it; cut: the probability from which on
    reasons are told, None for no reasons.
    """

    name: str
    wanted: list[str]
    pickled: bytes
    usual: dict[str, float] = {}
    cut: float | None = None


def asked(name: str) -> str:
    """The column that says whether a model is asked about a person."""
    return f"_asked_{name}"


def predictor(payload: Any) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """A function for mapInPandas: (person_id, as_of, asked(model)..., features) to OUT, one row a person and model.

    payload: broadcast of a list of Scorers. Where a model fails on a batch, one row without a score tells the kind of
    failure: the pass goes on, and the other models are scored.
    """

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for one in payload.value:
                here = batch[batch[asked(one.name)].eq(True)]  # null is no
                if len(here):
                    yield _by(one, here)

    return predict


def _by(one: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of OUT of one model for one batch of those whom it is asked about."""
    keys = rows[["person_id", "as_of"]]
    try:
        model, known = loaded(one.pickled), finite(rows[one.wanted].astype("float64"))
        chance = probabilities(model, known)
        told = reasons(lambda some: model.predict_proba(some)[:, 1], known, chance, one.usual, one.cut)
    except Exception as error:  # somebody else's code: whatever it raises, only this model has no scores today
        return keys.head(1).assign(model=one.name, score=np.nan, reasons=None, failure=failing(error))
    return keys.assign(model=one.name, score=chance, reasons=told, failure=None)


def probabilities(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """One probability a row, shape (n,). Raises NoProbability where the model gives something else, such as NaN."""
    found = np.asarray(model.predict_proba(rows), dtype=float)
    if found.shape != (len(rows), 2) or not ((found >= 0) & (found <= 1)).all():
        raise NoProbability("the model does not give one probability a row")
    return found[:, 1]


def failing(error: Exception) -> str:
    """What a model does wrong, in words without a value of anybody: its own words may hold some."""
    if isinstance(error, NoProbability):
        return "it gives what is no probability"
    return f"it raises {type(error).__name__}"


def finite(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with infinite values as missing, as in training's refusal: no estimator takes them."""
    return rows.mask(np.isinf(rows)) if np.isinf(rows.to_numpy()).any() else rows


def scored(rows: DataFrame, model: Any, names: list[str], keys: list[str], memory: dict) -> DataFrame:
    """Columns `keys` of `rows`, score: the classifier's second column for the features `names`, and reasons.

    memory: `usual` and `cut` as in `Scorer`; without them nobody has reasons.
    """
    payload = rows.sparkSession.sparkContext.broadcast(cloudpickle.dumps(model))
    usual = {name: value for name, value in memory.get("usual", {}).items() if name in names}
    cut = memory.get("cut")

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        def score(some: pd.DataFrame) -> np.ndarray:
            return loaded(payload.value).predict_proba(some)[:, 1]

        for batch in batches:
            if len(batch):
                known = finite(batch[names].astype("float64"))
                chance = score(known)
                yield batch[keys].assign(score=chance, reasons=reasons(score, known, chance, usual, cut))

    kept = rows.select(*keys, *names)
    shape = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in kept.schema[: len(keys)])
    return kept.mapInPandas(predict, f"{shape}, score double, reasons array<string>")


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
        """Shape (n, 2). Raises NoProbability where the model gives something that is none."""
        found = np.asarray(self.model.predict(rows), dtype=float)
        chance = found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found.ravel()
        if chance.shape != (len(rows),) or not ((chance >= 0) & (chance <= 1)).all():
            raise NoProbability("the model does not give one probability a row")
        return np.column_stack([1 - chance, chance])
