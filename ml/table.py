"""What do the columns of a table hold that nobody has declared? Numbers, categories, dates, words, ids, nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

Kind = Literal["number", "category", "text", "date"]
MISSING = {"", "na", "n/a", "nan", "null", "nat", "?", "#n/a", "<na>"}
NO_NUMBER = {"none", "-", "--", ".", "unknown", "missing", "not available"}  # beside numbers these words mean no value
MOSTLY = 0.95  # of the filled cells must be numbers, or dates, for the column to be one
ID_NAME = re.compile(r"(^|_|\b)(id|ids|uuid|guid|key|rowid|index|unnamed)(_|\b|$)|[a-z](ID|Id)$", re.IGNORECASE)
DATE_NAME = re.compile(r"date|day|time|_at$|_on$", re.IGNORECASE)
DATE = re.compile(r"^\d{4}-\d{1,2}-\d{1,2}([T ].*)?$|^\d{1,2}[/.]\d{1,2}[/.]\d{4}( .*)?$|^\d{4}/\d{1,2}/\d{1,2}( .*)?$")
SENSITIVE_NAME = re.compile(
    r"gender|sex$|^sex|race|ethnic|religio|senior|^age$|birth|marital|nationality", re.IGNORECASE
)
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


@dataclass(frozen=True)
class Schema:
    """kinds: what each column to learn from holds, frozen at the fit. left_out: column -> why."""

    kinds: dict[str, Kind]
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()

    def without(self, names: list[str], why: str) -> Schema:
        """The same with `names` left out."""
        kinds = {name: kind for name, kind in self.kinds.items() if name not in names}
        return Schema(kinds, self.left_out | dict.fromkeys(names, why), self.notes)


class Numbers(NamedTuple):
    values: pd.Series
    strange: int
    infinite: int


def blanked(cells: pd.Series) -> pd.Series:
    """Text without surrounding blanks; null where it says that there is nothing."""
    text = cells.astype("string").str.strip()
    return text.mask(text.str.lower().isin(MISSING))


def numbers(cells: pd.Series) -> Numbers:
    """Cells as float64. strange: filled cells that are no number; infinite ones; both count as missing.

    Reads thousands separators, decimal commas (1.234,5 and 12,5), currency signs and per cent.
    """
    if pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells):
        values, filled = cells.astype("float64"), cells.notna()
    else:
        text = blanked(cells).astype("object")
        filled = text.notna() & ~text.astype("string").str.lower().isin(NO_NUMBER).fillna(False)
        values = pd.to_numeric(text.where(filled), errors="coerce").astype("float64")
        if (values.isna() & filled).sum() > (1 - MOSTLY) * max(filled.sum(), 1):
            values = pd.to_numeric(_plain(text.where(filled)), errors="coerce").astype("float64")
    infinite = np.isinf(values)
    strange = int((values.isna() & filled).sum()) if not pd.api.types.is_numeric_dtype(cells) else 0
    return Numbers(values.mask(infinite), strange, int(infinite.sum()))


def _plain(text: pd.Series) -> pd.Series:
    bare = text.astype("string").str.replace(r"[\s$€£%']", "", regex=True)
    english = bare.str.replace(r"^([-+]?\d{1,3}(?:,\d{3})+)(\.\d+)?$", lambda m: m[0].replace(",", ""), regex=True)
    comma = r"^[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+$"
    continental = bare.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return english.mask(bare.str.match(comma).fillna(False), continental).astype("object")


def days(cells: pd.Series) -> pd.Series:
    """Dates (ISO, 31/12/2024, 20241231, timestamps) as days since 1970, float64; null where a cell is no date."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        stamps = pd.to_datetime(cells, utc=True)
    else:
        text = blanked(cells).astype("object")
        text = text.map(lambda one: f"{one:%Y-%m-%d %H:%M:%S}" if hasattr(one, "strftime") else one)
        compact = text.astype("string").str.fullmatch(r"(19|20)\d{6}(\.0)?").fillna(False)
        stamps = pd.to_datetime(text.mask(compact), errors="coerce", utc=True, format="ISO8601")
        if stamps.notna().sum() < text.mask(compact).notna().sum():
            stamps = stamps.fillna(_slashed(text.mask(compact)))
        stamps = stamps.fillna(pd.to_datetime(text.where(compact).str[:8], errors="coerce", utc=True, format="%Y%m%d"))
    return (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def _slashed(text: pd.Series) -> pd.Series:
    first = pd.to_numeric(text.astype("string").str.extract(r"^(\d{1,2})[/.]")[0], errors="coerce")
    day_first = bool((first > 12).any()) or text.astype("string").str.contains(r"^\d+\.\d+\.").any()
    return pd.to_datetime(text, errors="coerce", utc=True, dayfirst=day_first, format="mixed")


def moments(cells: pd.Series, name: str) -> pd.Series:
    """A time column as numbers that sort in time: days of dates, or plain numbers. LabelError if it is neither."""
    found = days(cells) if _is_date(cells, name) else numbers(cells).values
    if found.notna().mean() < MOSTLY:
        raise LabelError(f"time column {name}: {found.notna().mean():.0%} of its cells are dates or numbers")
    return found


def _is_date(cells: pd.Series, name: str) -> bool:
    if pd.api.types.is_datetime64_any_dtype(cells):
        return True
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_float_dtype(cells):
        return False
    text = blanked(cells).dropna()
    if text.empty:
        return False
    compact = text.str.fullmatch(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?")
    like = text.str.match(DATE) | (compact if DATE_NAME.search(name) else False)
    return bool(like.mean() >= MOSTLY)


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
    return Schema(kinds, left_out, tuple(notes))


def _column(cells: pd.Series, name: str) -> tuple[Kind | None, str, str]:
    """(kind or None, why it is left out, a note)."""
    plain = cells if cells.dtype != object else cells.where(cells.notna(), None)
    text = blanked(plain)
    filled, levels = int(text.notna().sum()), int(text.nunique())
    if filled == 0:
        return None, "all null", ""
    if levels == 1 and filled == len(text):
        return None, "constant", ""
    if _is_date(cells, name):
        return "date", "", ""
    as_number = numbers(cells)
    if as_number.values.notna().sum() + as_number.infinite >= MOSTLY * (filled - _words(text)) > 0:
        return _numeric(cells, name, as_number, levels, filled)
    if levels > MOSTLY * filled and filled >= 50:
        words = text.dropna().str.split().str.len().mean()
        return ("text", "", "") if words >= 4 else (None, f"id: {levels} different texts in {filled} cells", "")
    return ("text" if levels > 0.5 * filled and filled >= 50 and _wordy(text) else "category"), "", ""


def _words(text: pd.Series) -> int:
    return int(text.str.lower().isin(NO_NUMBER).sum())


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


def typed(frame: pd.DataFrame, kinds: dict[str, Kind]) -> pd.DataFrame:
    """The columns of `kinds`: numbers and dates as float64, categories and text as text, null where missing.

    Raises LabelError where the table lacks one, or where a number column of the fit holds no number any more.
    """
    if missing := [name for name in kinds if name not in frame.columns]:
        raise LabelError(f"the table lacks {', '.join(missing)}, which the model was fitted on")
    return pd.DataFrame({name: _typed(frame[name], name, kind) for name, kind in kinds.items()}, index=frame.index)


def _typed(cells: pd.Series, name: str, kind: Kind) -> pd.Series:
    if kind == "date":
        return days(cells)
    if kind == "number":
        found = numbers(cells)
        if found.values.notna().sum() == 0 and found.strange:
            raise LabelError(
                f"column {name} held numbers at the fit and holds none here: the table's schema has changed"
            )
        return found.values
    text = blanked(cells).astype("object")
    return text.where(text.notna(), None)


def labels(cells: pd.Series, name: str, positive: str | None = None) -> tuple[pd.Series, str]:
    """(1.0, 0.0 or null where the label is missing; a note which value counts as 1).

    Yes/No, TRUE/FALSE, 1/0 and the like are known; of two other values the rarer is the positive one.
    Raises LabelError for one value, or for more than two without `positive`.
    """
    text = blanked(cells)
    lower = text.str.lower().str.removesuffix(".0")
    values = sorted(lower.dropna().unique())
    if positive is not None:
        wanted = positive.strip().lower().removesuffix(".0")
        if wanted not in values:
            raise LabelError(f"label {name}: no row has the positive value {positive!r}")
    else:
        wanted = _positive(name, lower, values)
    if len(values) < 2:
        raise LabelError(f"label {name}: every row has the same value, so there is nothing to tell apart")
    return (lower == wanted).astype("float64").mask(lower.isna()), f"label {name}: {wanted!r} counts as 1"


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
        return blanked(cells).str.lower().map(lambda one: float(one in POSITIVE), na_action="ignore").astype("float64")
    found = numbers(cells)
    if found.strange or found.infinite or found.values.isna().all():
        raise LabelError(f"outcome {name}: {found.strange} cells are no numbers and {found.infinite} are infinite")
    return found.values
