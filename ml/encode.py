"""How does a table of mixed columns become numbers that any estimator takes? The same way at the fit and ever after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, TargetEncoder

from ml.drift import LEAST_ROWS
from ml.table import Kind

FEW = 30  # categories that get a column each; of more, a category is its cross-fitted rate
COMMON = LEAST_ROWS  # rows that a category or a word needs to count by itself
WORDS = 100
MISSING, RARE = "(missing)", "(rare)"


def pipeline(frame: pd.DataFrame, kinds: dict[str, Kind], estimator: Any, seed: int) -> Pipeline:
    """Encoder and unfitted estimator. frame: typed columns (ml.table.typed), looked at for numbers of categories only.

    Numbers and dates pass as they are, null included. A category never seen counts with the rare ones, none of which
    the fitted pipeline holds by name.
    """
    numeric = [name for name, kind in kinds.items() if kind in ("number", "date")]
    categories = [name for name, kind in kinds.items() if kind == "category"]
    few = [name for name in categories if (frame[name].value_counts() >= COMMON).sum() <= FEW]
    many = [name for name in categories if name not in few]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    rates = TargetEncoder(target_type="binary", cv=StratifiedKFold(5, shuffle=True, random_state=seed))
    parts: list[tuple] = [("numbers", "passthrough", numeric)]
    parts += [("few", make_pipeline(Pooled(), one_hot), few)] if few else []
    parts += [("many", make_pipeline(Pooled(), rates), many)] if many else []
    parts += [(f"words of {name}", _words(), name) for name, kind in kinds.items() if kind == "text"]
    return Pipeline([("encode", ColumnTransformer(parts, sparse_threshold=0)), ("estimator", estimator)])


def said(cells: pd.DataFrame) -> np.ndarray:
    """Categories with a word for missing."""
    return cells.fillna(MISSING).astype(str).to_numpy(dtype=object)


class Pooled(TransformerMixin, BaseEstimator):
    """Categories with a word for missing, and one for all that fewer than COMMON rows of the fit have."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Pooled:
        counts = [pd.Series(column).value_counts() for column in said(X).T]
        self.known_ = [count.index[count >= COMMON].tolist() for count in counts]
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        cells = pd.DataFrame(said(X))
        return np.column_stack([cells[at].where(cells[at].isin(k), RARE) for at, k in enumerate(self.known_)])


def _words() -> Pipeline:
    words = TfidfVectorizer(min_df=COMMON, max_features=WORDS, token_pattern=r"(?u)\b[^\W\d_]{3,}\b|^$")
    return make_pipeline(FunctionTransformer(spoken), words)


def spoken(cells: pd.Series) -> list[str]:
    """Texts; the missing one is empty, and being empty counts as a word so that no text at all still fits."""
    return ["" if cell is None or cell != cell else str(cell) for cell in cells]
