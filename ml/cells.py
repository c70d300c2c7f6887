"""What does a cell of text say: a number, a date, nothing?"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

MISSING = {"", "na", "n/a", "nan", "null", "nat", "?", "#n/a", "<na>"}
NO_NUMBER = {"none", "-", "--", ".", "unknown", "missing", "not available"}  # beside numbers these words mean no value
MOSTLY = 0.95  # of the filled cells must be numbers, or dates, for the column to be one
DATE_NAME = re.compile(r"date|day|time|_at$|_on$", re.IGNORECASE)
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = re.compile(
    r"(\d{4}-\d{1,2}-\d{1,2}([T ].*)?|(19|20)\d\d-(0[1-9]|1[0-2])|\d{4}/\d{1,2}/\d{1,2}( .*)?"
    r"|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}( .*)?|\d{1,2}[/.]\d{1,2}[/.]\d\d"
    rf"|\d{{1,2}}[- ]{MONTH}[-, ]+\d{{4}}( .*)?|{MONTH} \d{{1,2}},? \d{{4}}( .*)?)$",
    re.IGNORECASE,
)
FEW_WORDS = 10  # different words that a column of numbers may hold beside them


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
        values, filled = pd.to_numeric(cells).astype("Float64").astype("float64"), cells.notna()
    else:
        text = blanked(cells).astype("object")
        filled = text.notna() & ~text.astype("string").str.lower().isin(NO_NUMBER).fillna(False)
        values = pd.to_numeric(text.where(filled), errors="coerce").astype("float64")
        if (values.isna() & filled).sum() > (1 - MOSTLY) * max(filled.sum(), 1):
            values = _plain(text.where(filled))
    infinite = np.isinf(values)
    strange = int((values.isna() & filled).sum()) if not pd.api.types.is_numeric_dtype(cells) else 0
    return Numbers(values.mask(infinite), strange, int(infinite.sum()))


def mostly_numbers(cells: pd.Series, found: Numbers) -> bool:
    """Whether a column is one of numbers: nearly all filled cells are, or most are and the rest are a few words."""
    text = blanked(cells).str.lower()
    filled = text.notna() & ~text.isin(NO_NUMBER).fillna(False)
    count = int(found.values.notna().sum()) + found.infinite
    if not count or count < 0.5 * filled.sum():
        return False
    strange = text[filled & found.values.isna()]
    words = strange[~strange.str.contains("inf", regex=False)]
    return count >= MOSTLY * filled.sum() or words.nunique() <= min(FEW_WORDS, 0.05 * filled.sum())


def _plain(text: pd.Series) -> pd.Series:
    """Numbers of both spellings, 1,234.5 and 1.234,5, without signs; what may be either is as most of its column."""
    bare = text.astype("string").str.replace(r"[\s$€£%']", "", regex=True)
    point = bare.str.contains(r",\d{3}\.\d|^[^,]*\.\d{1,2}$", regex=True).fillna(False)
    comma = bare.str.contains(r",\d{1,2}$|,\d{4,}$|\.\d{3},|\.\d{3}\.\d{3}", regex=True).fillna(False)
    english, continental = _spelled(bare, ",", "."), _spelled(bare, ".", ",")
    plain = pd.to_numeric(text, errors="coerce").astype("float64")
    return continental.fillna(english) if comma.sum() > point.sum() else plain.fillna(english).fillna(continental)


def _spelled(bare: pd.Series, thousands: str, decimal: str) -> pd.Series:
    good = bare.str.fullmatch(rf"[-+]?(\d{{1,3}}(\{thousands}\d{{3}})+|\d+)(\{decimal}\d*)?").fillna(False)
    tidy = bare.where(good).str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
    return pd.to_numeric(tidy.astype("object"), errors="coerce").astype("float64")


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
    first = pd.to_numeric(text.astype("string").str.extract(r"^(\d{1,2})[/.-]")[0], errors="coerce")
    day_first = bool((first > 12).any()) or text.astype("string").str.contains(r"^\d+\.\d+\.").any()
    return pd.to_datetime(text, errors="coerce", utc=True, dayfirst=day_first, format="mixed")


def is_date(cells: pd.Series, name: str) -> bool:
    """Whether nearly all filled cells are dates; digits such as 20240131 are where the name says so."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        return True
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_float_dtype(cells):
        return False
    text = blanked(cells).dropna()
    if text.empty:
        return False
    compact = text.str.fullmatch(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?")
    like = text.str.lower().str.match(DATE) | (compact if DATE_NAME.search(name) else False)
    return bool(like.mean() >= MOSTLY)
