"""What is to be predicted? Labels of any spelling as 0 and 1, outcomes as numbers, times that sort."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ml.cells import MOSTLY, blanked, days, is_date, numbers

POSITIVE = {
    "1",
    "1.0",
    "yes",
    "y",
    "true",
    "t",
    "positive",
    "churn",
    "churned",
    "converted",
    "buyer",
    "responded",
    "won",
}
NEGATIVE = {"0", "0.0", "no", "n", "false", "f", "negative", "-1"}


class LabelError(Exception):
    """The label column cannot be learned from: one class only, or more than two values. Exit code 3."""

    exit_code = 3


class Told(NamedTuple):
    """values: 1.0, 0.0, or null where the label is missing; positive: what counts as 1; others: what counts as 0."""

    values: pd.Series
    positive: str
    others: list[str]

    def note(self, name: str) -> str:
        return f"label {name}: {self.positive!r} counts as 1"


def labels(cells: pd.Series, name: str, positive: str | None = None) -> Told:
    """A label column as numbers, whatever its spelling; case and surrounding blanks do not matter.

    Yes/No, TRUE/FALSE, 1/0 and the like are known; of two other values the rarer is the positive one.
    Raises LabelError for one value, or for more than two without `positive`.
    """
    lower = spelled(cells)
    values = sorted(lower.dropna().unique())
    if positive is not None:
        wanted = positive.strip().lower().removesuffix(".0")
        if wanted not in values:
            raise LabelError(f"label {name}: no row has the positive value {positive!r}")
    else:
        wanted = _positive(name, lower, values)
    if len(values) < 2:
        raise LabelError(f"label {name}: every row has the same value, so there is nothing to tell apart")
    return Told(as_numbers(lower, {wanted}), wanted, [one for one in values if one != wanted])


def as_numbers(words: pd.Series, ones: set[str]) -> pd.Series:
    """1.0 for one of `ones`, 0.0 for another word, null for none."""
    return pd.Series(words.isin(ones).astype("float64").to_numpy(), words.index).mask(words.isna().to_numpy())


def spelled(cells: pd.Series) -> pd.Series:
    """Label cells in one spelling: lower case, no blanks, 1 for 1.0."""
    return blanked(cells).str.lower().str.removesuffix(".0")


def held_out(cells: pd.Series, name: str, positive: str, others: list[str]) -> pd.Series:
    """The label of a later table by the values of the fit; one class alone is no mistake here.

    A table that says 1/0 where the fit said yes/no is understood. Raises LabelError for a value that the fit knew not.
    """
    lower = spelled(cells)
    if len(others) == 1 and not lower.dropna().isin([positive, *others]).any():
        known = positive in POSITIVE and others[0] in NEGATIVE
        if known and lower.dropna().isin(POSITIVE | NEGATIVE).all():
            return as_numbers(lower, POSITIVE)
    strange = lower[lower.notna() & ~lower.isin([positive, *others])]
    if len(strange):
        raise LabelError(
            f"label {name}: {len(strange)} rows hold {strange.nunique()} values that the fit did not know; it knew one "
            f"as 1 and {len(others)} as 0: is this the same column, in the same spelling?"
        )  # cells of a mistaken column may be anybody's data
    return as_numbers(lower, {positive})


def _positive(name: str, lower: pd.Series, values: list[str]) -> str:
    if not values:
        raise LabelError(f"label {name}: no row has a value")
    if len(values) == 1:
        kind = "negatives: there are no positives" if values[0] in NEGATIVE else "of one class"
        raise LabelError(f"label {name}: all {int(lower.notna().sum())} rows are {kind}; nothing can be learned")
    if len(values) > 2:
        raise LabelError(f"label {name}: {len(values)} different values; name the one to predict with --positive")
    known = [value for value in values if value in POSITIVE] or [
        value for value in values if {*values} - {value} <= NEGATIVE
    ]
    return known[0] if len(known) == 1 else str(lower.value_counts().index[-1])


def outcome(cells: pd.Series, name: str) -> pd.Series:
    """An outcome as numbers: Yes/No and the like as 1/0, amounts as they are. Raises LabelError where it is neither."""
    words = blanked(cells).str.lower().dropna().unique()
    if len(words) and set(words) <= POSITIVE | NEGATIVE - {"-1"}:
        return as_numbers(blanked(cells).str.lower(), POSITIVE)
    found = numbers(cells)
    if found.strange or found.infinite:
        odd = [f"{found.strange} cells are no numbers"] if found.strange else []
        odd += [f"{found.infinite} cells are infinite"] if found.infinite else []
        raise LabelError(f"outcome {name}: {' and '.join(odd)}; an outcome is 0/1, Yes/No or a number. Mend these "
                         "cells, or empty them: rows without a value are left out and counted")  # fmt: skip
    if found.values.isna().all():
        raise LabelError(f"outcome {name}: no row has a value")
    return found.values


def moments(cells: pd.Series, name: str) -> pd.Series:
    """A time column as numbers that sort in time: days of dates, or plain numbers; null where a cell is empty.

    Raises LabelError where most of what stands there is neither, or nothing stands there.
    """
    found = days(cells) if is_date(cells, name) else numbers(cells).values
    filled = blanked(cells).notna()
    share = found[filled].notna().mean() if filled.any() else 0.0
    if share < MOSTLY:
        raise LabelError(f"time column {name}: {share:.0%} of its filled cells are dates or numbers")
    return found
