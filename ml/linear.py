"""How do skewed, missing and absurd numbers become what a model can learn from? And the linear model of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

HUGE = 1e9  # beyond it, and below 1 / HUGE, powers of a number leave what a float64 holds
LARGEST = 1e300  # a double is at most 1.8e308: differences of two must be finite
NARROW = 50  # times its interquartile range from zero, a column is a line to any power
SAMPLE = 20_000  # rows that powers are found on


def linear(seed: int, C: float = 0.1) -> Pipeline:
    """Log-odds linear in power-transformed features (counts and sums are skewed); its probabilities need no more."""
    missing = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return make_pipeline(Tamed(), missing, Evened(), LogisticRegression(C=C, max_iter=500, random_state=seed))


class Tamed(TransformerMixin, BaseEstimator):
    """Numbers within the range of the fit; where they are too large, too small or too narrow for powers, by asinh.

    Null stays null. A later value outside what was learned from counts as the nearest one that was.
    """

    def fit(self, X: Any, y: Any = None) -> Tamed:
        values = _bounded(X)
        filled = np.where(np.isnan(values).all(axis=0), 0.0, values)
        self.low_, self.high_ = np.nanmin(filled, axis=0), np.nanmax(filled, axis=0)
        first, self.middle_, third = np.nanquantile(filled, [0.25, 0.5, 0.75], axis=0)
        self.width_ = np.where(third > first, third - first, 1.0)
        peak = np.maximum(np.abs(self.low_), np.abs(self.high_))
        narrow = (third > first) & (np.abs(self.middle_) > NARROW * self.width_)
        self.wild_ = (peak > HUGE) | ((peak > 0) & (peak < 1 / HUGE)) | narrow
        return self

    def transform(self, X: Any) -> np.ndarray:
        values = np.clip(_bounded(X), self.low_, self.high_)
        with np.errstate(over="ignore"):  # a quotient beyond a double is the largest
            apart = np.clip((values - self.middle_) / self.width_, -LARGEST, LARGEST)
        return np.where(self.wild_, np.arcsinh(apart), values)


class Known(TransformerMixin, BaseEstimator):
    """Numbers as trees can split them: a column without any value at the fit, as in a small fold, is 0 throughout."""

    def fit(self, X: Any, y: Any = None) -> Known:
        self.empty_ = np.isnan(np.asarray(X, dtype=float)).all(axis=0)
        return self

    def transform(self, X: Any) -> np.ndarray:
        return np.where(self.empty_, 0.0, _bounded(X))


class Evened(TransformerMixin, BaseEstimator):
    """Each column with mean 0 and variance 1; one of more than two values by a power that makes it even (Yeo-Johnson).

    Two values stay two values under any power, and most columns of a table of categories are such.
    """

    def fit(self, X: np.ndarray, y: Any = None) -> Evened:
        self.many_ = np.array([np.unique(column).size > 2 for column in X.T], dtype=bool)
        some = X[:: max(1, len(X) // SAMPLE)]
        self.powers_ = PowerTransformer(standardize=False).fit(some[:, self.many_]) if self.many_.any() else None
        self.scaler_ = StandardScaler().fit(self._even(X))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self.scaler_.transform(self._even(X))

    def _even(self, X: np.ndarray) -> np.ndarray:
        if self.powers_ is None:
            return X
        even = np.array(X, dtype=float)
        even[:, self.many_] = self.powers_.transform(even[:, self.many_])
        return even


def _bounded(X: Any) -> np.ndarray:
    return np.clip(np.asarray(X, dtype=float), -LARGEST, LARGEST)
