"""Straight lines or thresholds? Where few have come true, folds within the fit weigh one model against the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ml.measures import log_odds

LARGE = 3000  # of each class: from so many on trees alone rank best and are calibrated
FEW = 10  # of each class: from fewer no weights can be told
HALVES = 2  # inner folds; they cost as much again as the fit itself
PULL = 5.0  # rows' worth of belief that both are as good


class Blend(ClassifierMixin, BaseEstimator):
    """Probability from the weighted log-odds of a linear model and of boosted trees.

    Trees alone are too sure of themselves on small tables, a line alone misses thresholds. The weights, and a shift,
    are a logistic fit on log-odds that each gives to rows of the other half (stacking, Wolpert 1992; weights of 0 or
    more, Breiman 1996): their sum shrinks what is too sure. A large table is the trees' alone.
    """

    def __init__(self, line: Any, trees: Any, seed: int = 42):
        self.line = line
        self.trees = trees
        self.seed = seed

    def fit(self, X: Any, y: Any, person: Any = None) -> Blend:
        """person: rows of one person stay in one half."""
        rows, truth = _plain(X), np.asarray(y, dtype=int)
        self.classes_ = np.unique(truth)
        self.n_features_in_ = rows.shape[1]
        rarer = min(int(truth.sum()), int((1 - truth).sum()))
        self.weights_ = np.array([0.0, 1.0, 0.0]) if rarer >= LARGE else self._weighed(rows, truth, person, rarer)
        self.line_ = clone(self.line).fit(rows, truth) if self.weights_[0] else None
        self.trees_ = clone(self.trees).fit(rows, truth) if self.weights_[1] else None
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        rows = _plain(X)
        if self.line_ is None and self.trees_ is not None and tuple(self.weights_[1:]) == (1, 0):
            return self.trees_.predict_proba(rows)
        odds = np.full(len(rows), self.weights_[2])
        for weight, model in zip(self.weights_, (self.line_, self.trees_), strict=False):
            odds += 0.0 if model is None else weight * log_odds(model.predict_proba(rows)[:, 1])
        chance = expit(odds)
        return np.column_stack([1 - chance, chance])

    def predict(self, X: Any) -> np.ndarray:
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def _weighed(self, rows: np.ndarray, truth: np.ndarray, person: Any, rarer: int) -> np.ndarray:
        """(weight of the line, of the trees, shift)."""
        kind = StratifiedKFold if person is None else StratifiedGroupKFold
        halves = list(
            kind(HALVES, shuffle=True, random_state=self.seed).split(rows, truth, person)
        ) if rarer >= FEW else []  # fmt: skip
        if not halves or any(len(np.unique(truth[part])) < 2 for part, _ in halves):
            return np.array([0.5, 0.5, 0.0])
        odds = np.zeros((len(rows), 2))
        for learned, held in halves:
            for at, model in enumerate((self.line, self.trees)):
                fitted = clone(model).fit(rows[learned], truth[learned])
                odds[held, at] = log_odds(fitted.predict_proba(rows[held])[:, 1])
        return weights(odds, truth)


def weights(odds: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(weight, weight, shift) of two columns of log-odds with the least log loss, pulled to one half each."""
    pull = PULL / len(truth)

    def loss(given: np.ndarray) -> tuple[float, np.ndarray]:
        sure = odds @ given[:2] + given[2]
        off, apart = expit(sure) - truth, given[:2] - 0.5
        slope = np.append(odds.T @ off / len(truth) + 2 * pull * apart, off.mean())
        return float((np.logaddexp(0, sure) - truth * sure).mean() + pull * (apart**2).sum()), slope

    found = minimize(loss, [0.5, 0.5, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None), (None, None)])
    return found.x


def _plain(X: Any) -> np.ndarray:
    return X.to_numpy(dtype=float) if isinstance(X, pd.DataFrame) else np.asarray(X, dtype=float)
