"""How good would this estimator be on people and days it has not seen? Folds at random, and a split in time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from ml import drift
from ml.labels import LabelError
from ml.measures import NAMES, calibration, deciles, intervals, measured

FOLDS = 5
REPEATS = (2, 10)  # fewer on large tables, where one more repeat says little
ENOUGH = 200_000  # rows x repeats
NEWEST = 0.2  # of the rows are the time split's test


class OutOfFold(NamedTuple):
    """by_fold: NAMES of every fold of every repeat. chance: of the first repeat, one a row, by a model without it."""

    by_fold: pd.DataFrame
    chance: np.ndarray


def repeats(rows: int, columns: int = 1) -> int:
    """How often the folds are drawn anew: less often for large tables, and for wide ones."""
    return int(np.clip(ENOUGH // max(rows * max(columns / 20, 1), 1), *REPEATS))


def out_of_fold(
    model: Any, frame: pd.DataFrame, label: pd.Series, seed: int, rounds: int, person: pd.Series | None = None
) -> OutOfFold:
    """Repeated stratified k-fold. person: rows of one person stay in one fold. Raises LabelError as `folds` does."""
    truth, lines, first = label.to_numpy(dtype=int), [], np.full(len(label), np.nan)
    for number in range(rounds):
        for learned, held in folds(truth, seed + number, person):
            every_class(truth, held)
            whose = None if person is None else person.iloc[learned]
            fitted = fit(clone(model), frame.iloc[learned], truth[learned], whose)
            chance = chances(fitted, frame.iloc[held])
            lines.append(measured(truth[held], chance))
            if number == 0:
                first[held] = chance
    return OutOfFold(pd.DataFrame(lines), first)


def folds(strata: np.ndarray, seed: int, person: pd.Series | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(learned, held) row numbers of each fold, with even shares of `strata`; rows of one person stay together.

    Raises LabelError where what is to be learned from lacks one of the strata.
    """
    kind = StratifiedKFold if person is None else StratifiedGroupKFold
    for learned, held in kind(FOLDS, shuffle=True, random_state=seed).split(np.zeros((len(strata), 1)), strata, person):
        every_class(strata, learned)
        yield learned, held


def every_class(strata: np.ndarray, part: np.ndarray) -> None:
    """Raises LabelError where the rows `part` lack one of the strata: few people may hold all rows of a class."""
    if np.unique(strata[part]).size < np.unique(strata).size:
        raise LabelError(f"all rows of a class belong to so few people that one of {FOLDS} folds has none of them; "
                         "without --id rows are drawn one by one, and people may then stand on both sides")  # fmt: skip


def fit(model: Any, frame: pd.DataFrame, truth: np.ndarray, person: pd.Series | None = None) -> Any:
    """The fitted model; a logistic fit that stops at its limit of rounds is good enough, the folds tell.

    person: for an estimator at the end of a pipeline that has folds of its own, as `ml.blend` has.
    """
    whose = {}
    if person is not None and isinstance(model, Pipeline) and has_fit_parameter(model[-1], "person"):
        whose = {f"{model.steps[-1][0]}__person": person.to_numpy()}
    with warnings.catch_warnings(), threadpool_limits(1):  # threads that wait for a busy core cost tenfold
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # power transforms of near-constant columns
        warnings.simplefilter("ignore", UserWarning)  # a category of the other folds counts as a rare one
        return model.fit(frame, truth, **whose)


def chances(model: Any, frame: pd.DataFrame) -> np.ndarray:
    """Probability of the label of each row."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", UserWarning)
        return model.predict_proba(frame)[:, 1]


def across(found: OutOfFold, truth: np.ndarray, rounds: int, seed: int) -> dict:
    """Mean and standard deviation over all folds of each of NAMES, intervals, calibration, deciles."""
    means, spread = found.by_fold.mean(), found.by_fold.std(ddof=1)
    told = {name: float(means[name]) for name in NAMES} | {f"{name}_sd": float(spread[name]) for name in NAMES}
    return {"folds": FOLDS, "repeats": rounds, **told, **details(truth, found.chance, seed)}


def details(truth: np.ndarray, chance: np.ndarray, seed: int) -> dict:
    """What stands beside the metrics of any set of rows: bootstrap intervals, calibration, lift by tenths."""
    tenths = deciles(truth, chance)
    return {
        "intervals": intervals(truth, chance, seed),
        "calibration": calibration(truth, chance),
        "lift_top_decile": tenths[0]["lift"],
        "deciles": tenths,
    }


def newest(moment: pd.Series) -> np.ndarray:
    """True for the newest fifth of the rows; rows of one moment stay together, rows without one are not of it."""
    cut = moment.quantile(1 - NEWEST)
    later = (moment > cut).to_numpy()
    return later if later.any() else (moment >= cut).to_numpy()  # over a fifth of the rows are of the last moment


def in_time(model: Any, frame: pd.DataFrame, label: pd.Series, moment: pd.Series, seed: int) -> dict | None:
    """Fitted on the oldest rows, judged on the newest fifth; rows of one moment stay together.

    None where either side lacks a class. Beside the metrics: shares of the label and drift of columns, with an alarm.
    """
    new = newest(moment)
    old = ~new
    truth = label.to_numpy(dtype=int)
    if min(truth[old].sum(), (1 - truth[old]).sum(), truth[new].sum(), (1 - truth[new]).sum()) < FOLDS:
        return None
    fitted = fit(clone(model), frame[old], truth[old])
    then, now = (chances(fitted, frame[part]) for part in (old, new))
    bins = drift.frozen(frame[old].assign(**{drift.SCORE: then}))
    moved = drift.compared(
        bins, frame[new].assign(**{drift.SCORE: now}), float(truth[old].mean()), int(old.sum()), truth[new]
    )
    rows = {"train_rows": int(old.sum()), "test_rows": int(new.sum()), "newest_from": float(moment[new].min())}
    return {**rows, **measured(truth[new], now), **details(truth[new], now, seed), "drift": moved}
