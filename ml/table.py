"""What do the columns of a table hold that nobody has declared? Numbers, categories, dates, words, ids, nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from ml.cells import (
    MOSTLY,
    Decimal,
    Numbers,
    Order,
    blanked,
    days,
    decimal_of,
    is_date,
    mostly_numbers,
    numbers,
    order_of,
)
from ml.labels import LabelError

Kind = Literal["number", "category", "text", "date"]
ID_NAME = re.compile(r"(^|_|\b)(id|ids|uuid|guid|key|rowid|index|unnamed)(_|\b|$)|[a-z](ID|Id)$", re.IGNORECASE)
SENSITIVE_NAME = re.compile(
    r"gender|sex$|^sex|race|ethnic|religio|senior|^age$|birth|marital|nationality", re.IGNORECASE
)


@dataclass(frozen=True)
class Schema:
    """kinds: what each column to learn from holds, frozen at the fit. left_out: column -> why.

    styles: decimal sign of each number column and order of day and month of each date column, frozen as well.
    """

    kinds: dict[str, Kind]
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()
    styles: dict[str, Any] = field(default_factory=dict)

    def without(self, names: list[str], why: str) -> Schema:
        """The same with `names` left out."""
        kinds = {name: kind for name, kind in self.kinds.items() if name not in names}
        return replace(self, kinds=kinds, left_out=self.left_out | dict.fromkeys(names, why))


def schema(frame: pd.DataFrame) -> Schema:
    """What each column holds; constants, empty ones and ids are left out, with the reason."""
    kinds, left_out, notes = {}, {}, []
    for name in frame.columns:
        kind, why, note = _column(frame[name], name)
        if kind:
            kinds[name] = kind
        else:
            left_out[name] = why
        notes += [f"{name}: {note}"] if note else []
    if odd := [name for name in kinds if SENSITIVE_NAME.search(name)]:
        notes.append(f"{', '.join(odd)}: sensitive by name; --sensitive leaves a column out")
    styles = {name: style for name, kind in kinds.items() if (style := style_of(frame[name], kind))}
    return Schema(kinds, left_out, tuple(notes), styles)


def style_of(cells: pd.Series, kind: Kind) -> Decimal | Order | None:
    """How a column spells its numbers, or its dates; None where nothing is spelled."""
    if kind == "number":
        return decimal_of(cells)
    return order_of(cells) if kind == "date" else None


def _column(cells: pd.Series, name: str) -> tuple[Kind | None, str, str]:
    """(kind or None, why it is left out, a note)."""
    plain = cells if cells.dtype != object else cells.where(cells.notna(), None)
    text = blanked(plain)
    filled, levels = int(text.notna().sum()), int(text.nunique())
    if filled == 0:
        return None, "all null", ""
    if levels == 1 and filled == len(text):
        return None, "constant", ""
    if is_date(cells, name):
        lost = int((days(cells).isna() & text.notna()).sum())
        return "date", "", f"{lost} cells that are no dates count as missing" if lost else ""
    as_number = numbers(cells)
    if mostly_numbers(cells, as_number):
        return _numeric(cells, name, as_number, levels, filled)
    if levels > MOSTLY * filled and filled >= 50:
        words = text.dropna().str.split().str.len().mean()
        return ("text", "", "") if words >= 4 else (None, f"id: {levels} different texts in {filled} cells", "")
    return ("text" if levels > 0.5 * filled and filled >= 50 and _wordy(text) else "category"), "", ""


def _wordy(text: pd.Series) -> bool:
    return text.dropna().str.split().str.len().mean() >= 4


def _numeric(cells: pd.Series, name: str, found: Numbers, levels: int, filled: int) -> tuple[Kind | None, str, str]:
    told = []
    if found.infinite:
        told.append(f"{found.infinite} infinite values count as missing")
    if found.strange:
        told.append(f"{found.strange} cells that are no numbers count as missing")
    values = found.values.dropna()
    if values.nunique() <= 1 and values.size == len(cells):
        return None, "constant", "; ".join(told)
    if values.empty:
        return None, "no finite value", "; ".join(told)
    whole = bool((values == values.round()).all())
    running = bool(values.max() - values.min() + 1 == values.size)
    if whole and levels == filled >= 50 and (running or ID_NAME.search(name)):
        return None, f"id: {levels} different numbers in {filled} cells", "; ".join(told)
    return "number", "", "; ".join(told)


def typed(frame: pd.DataFrame, kinds: dict[str, Kind], styles: dict[str, Any] | None = None) -> pd.DataFrame:
    """The columns of `kinds`: numbers and dates as float64, categories and text as text, null where missing.

    styles: of the fit (`Schema.styles`), for a later table: what a row says must not hang on the rows beside it.
    Raises LabelError where the table lacks one, or where a number column of the fit holds no number any more.
    """
    if missing := [name for name in kinds if name not in frame.columns]:
        raise LabelError(f"the table lacks {', '.join(missing)}, which the model was fitted on")
    told = styles or {}
    return pd.DataFrame({n: _typed(frame[n], n, kind, told.get(n)) for n, kind in kinds.items()}, index=frame.index)


def _typed(cells: pd.Series, name: str, kind: Kind, style: Any) -> pd.Series:
    if kind == "date":
        return days(cells, style)
    if kind == "number":
        found = numbers(cells, style)
        if found.values.notna().sum() == 0 and found.strange:
            raise LabelError(
                f"column {name} held numbers at the fit and holds none here: the table's schema has changed"
            )
        return found.values
    text = blanked(cells).astype("object")
    return text.where(text.notna(), None)
