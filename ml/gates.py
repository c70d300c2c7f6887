"""Has a column seen the answer? Gates that refuse to learn from what could not have been known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

LEAK = 0.90  # a single column that knows the answer this well has seen it
BINS = 20  # quantiles of a number, so that a leak need not be monotone
CHANCE = 1e-6  # of a pure group by luck, over all groups looked at
PURE_ROWS = 20  # a pure group must be this large
COVERED = {True: 0.02, False: 0.10}  # share of its class that a pure group must hold: of the rarer class, of the other
WHOLE = 0.98  # a whole model this good has seen the answer in several columns, or needs no model
GAP = 0.15  # random minus time split ROC-AUC; drift alone costs less


class Flag(NamedTuple):
    """A gate's word on a column (None: on the table as a whole). auc: of the column alone where it was measured."""

    gate: str
    column: str | None
    why: str
    auc: float | None = None


def undeclared(names: list[str], available: dict[str, bool]) -> list[Flag]:
    """Columns that nobody declared, or that are declared as known only after the outcome."""
    found = []
    for name in names:
        if name not in available:
            found.append(Flag("availability", name, f"{name}: nothing declares when it is known; declare it"))
        elif not available[name]:
            found.append(Flag("availability", name, f"{name}: declared as known only after the outcome"))
    return found


def leaks(frame: pd.DataFrame, label: pd.Series, names: list[str]) -> list[Flag]:
    """One flag a column of `names` at most: its nulls are the label, it alone has ROC-AUC > LEAK, or a group is pure.

    frame: float64 columns, or text; null where missing.  label: 0 or 1, both there.
    """
    truth, found = label.to_numpy(dtype=float), []
    for name in names:
        flag = _null_pattern(frame[name], truth, name) or _alone(frame[name], truth, name)
        if flag := flag or _pure(frame[name], truth, name):
            found.append(flag)
    return found


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """ROC-AUC by ranks (Mann-Whitney), ties counted half; 0.5 where one class is missing."""
    positives = truth.sum()
    negatives = truth.size - positives
    if not positives or not negatives:
        return 0.5
    return float((rankdata(score)[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def knows(values: pd.Series, label: pd.Series | np.ndarray) -> float:
    """ROC-AUC of one column alone, whichever way it points; 0.5 is no knowledge.

    Numbers are judged as they are (nulls as the median) and in quantile groups; categories in their groups. A group's
    score is the smoothed rate of the *other* folds, so that a column of unique values knows nothing.
    """
    truth = np.asarray(label, dtype=float)
    return auc(truth, ranking(values, truth))


def ranking(values: pd.Series, truth: np.ndarray) -> np.ndarray:
    """The score of each row by one column alone that `knows` judges."""
    grouped = _rates(_groups(values), truth)
    if not pd.api.types.is_numeric_dtype(values):
        return grouped
    straight = filled(values)
    return max((straight, -straight, grouped), key=lambda score: auc(truth, score))


def filled(values: pd.Series) -> np.ndarray:
    """A number column with the median for null; zeros where all are null."""
    middle = values.median()
    return values.fillna(0.0 if np.isnan(middle) else middle).to_numpy(dtype=float)


def _groups(values: pd.Series, bins: int = BINS) -> np.ndarray:
    """Group number of each row, from 0; missing is group 0. A number that many rows have is a group of its own."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > bins:
        usual = values.mode().iloc[0]
        often = bins == 1 or (values == usual).mean() > 1 / bins
        rest = values.mask(values == usual) if often else values
        cut = np.searchsorted(np.unique(rest.quantile(np.linspace(0, 1, bins + 1)[1:-1])), rest, side="left")
        values = pd.Series(np.where(rest.notna(), cut, -1.0), values.index).mask(rest.isna() & (values != usual))
    return pd.factorize(values, use_na_sentinel=True)[0] + 1


def _rates(groups: np.ndarray, truth: np.ndarray, folds: int = 5, weight: float = 10.0) -> np.ndarray:
    fold = np.random.default_rng(0).permutation(truth.size) % folds
    size, prior, score = groups.max() + 1, truth.mean(), np.empty(truth.size)
    for number in range(folds):
        here = fold == number
        rows = np.bincount(groups[~here], minlength=size)
        hits = np.bincount(groups[~here], truth[~here], minlength=size)
        score[here] = ((hits + weight * prior) / (rows + weight))[groups[here]]
    return score


def _null_pattern(values: pd.Series, truth: np.ndarray, name: str) -> Flag | None:
    empty = values.isna().to_numpy()
    if not empty.any() or empty.all():
        return None
    known = auc(truth, empty.astype(float))
    known = max(known, 1 - known)
    if known <= LEAK:
        return None
    equal = "equals" if known == 1 else "nearly equals"
    return Flag("null_pattern", name, f"{name}: where it is null {equal} the label (ROC-AUC {known:.3f})", known)


def _alone(values: pd.Series, truth: np.ndarray, name: str) -> Flag | None:
    known = knows(values, truth)
    if known <= LEAK:
        return None
    return Flag("single_feature", name, f"{name}: alone it has a ROC-AUC of {known:.3f}, more than {LEAK:.2f}", known)


def _pure(values: pd.Series, truth: np.ndarray, name: str) -> Flag | None:
    """A group that only one class has, too large for luck, and a good part of that class."""
    number = pd.api.types.is_numeric_dtype(values)
    for bins in (5, 1) if number else (BINS,):  # 1: the usual value, and all others
        if flag := _pure_in(_groups(values, bins), truth, name, number):
            return flag
    return None


def _pure_in(groups: np.ndarray, truth: np.ndarray, name: str, number: bool) -> Flag | None:
    rows, hits = np.bincount(groups), np.bincount(groups, truth)
    for one in np.flatnonzero(rows >= PURE_ROWS):
        if hits[one] not in (0, rows[one]):
            continue
        share = truth.mean() if hits[one] else 1 - truth.mean()
        rarer = bool(share <= 0.5)
        if not rarer and number and one:  # a range of numbers without the rarer class is ordinary: no visit, no order
            continue
        lucky = rows[one] * np.log(share) + np.log(rows.size) < np.log(CHANCE)
        if lucky and rows[one] >= COVERED[rarer] * share * truth.size:
            which = "missing values" if not one else "one range of values" if number else "one category"
            kind = "positives" if hits[one] else "negatives"
            return Flag("one_class_category", name, f"{name}: {which} ({rows[one]} rows) only {kind} have")
    return None


def whole_model(known: float, leaning: list[str]) -> list[Flag]:
    """Several columns that together know the answer: no single one is flagged, the model is far too good."""
    if known < WHOLE:
        return []
    why = (f"the whole model has a ROC-AUC of {known:.3f}, {WHOLE:.2f} or more, which honest tables seldom have; it "
           f"leans on {', '.join(leaning)}: leave out (--exclude) what is known only after the outcome, or vouch for "
           "all of it with --allow whole")  # fmt: skip
    return [Flag("whole_model", None, why, known)]


def too_good(random_auc: float, time_auc: float, shifted: bool = False) -> list[Flag]:
    """A random split that scores far above the time split has learned from the future."""
    if random_auc - time_auc <= GAP:
        return []
    why = f"ROC-AUC {random_auc:.3f} at random but {time_auc:.3f} on the newest rows, more than {GAP:.2f} lower"
    cause = "; the label's share has shifted as well: look for drift first, then for a leak" if shifted else ""
    return [Flag("time_split", None, f"random split far above time split: {why}{cause}")]
