"""What does a cell of text say: a number, a date, nothing?"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

Decimal = Literal[".", ","]
Order = Literal["day", "month"]
MISSING = {"", "na", "n/a", "nan", "null", "nat", "?", "#n/a", "<na>"}
NO_NUMBER = {"none", "-", "--", ".", "unknown", "missing", "not available"}  # beside numbers these words mean no value
MOSTLY = 0.95  # of the filled cells must be numbers, or dates, for the column to be one
DATE_NAME = re.compile(r"date|day|time|_at$|_on$", re.IGNORECASE)
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})([T ].*)?")
YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d\d)( .*)?")
DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}([T ].*)?|(19|20)\d\d-(0[1-9]|1[0-2])"
    r"|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}( .*)?|\d{1,2}[/.]\d{1,2}[/.]\d\d"
    rf"|\d{{1,2}}[- ]{MONTH}[-, ]+\d{{4}}( .*)?|{MONTH} \d{{1,2}},? \d{{4}}( .*)?)$",
    re.IGNORECASE,
)
COMPACT = r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?"
CURRENCY = "USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY"
FEW_WORDS = 10  # different words that a column of numbers may hold beside them


class Numbers(NamedTuple):
    values: pd.Series
    strange: int
    infinite: int


def blanked(cells: pd.Series) -> pd.Series:
    """Text without surrounding blanks; null where it says that there is nothing."""
    text = cells.astype("string").str.strip()
    return text.mask(text.str.lower().isin(MISSING))


def numbers(cells: pd.Series, decimal: Decimal | None = None) -> Numbers:
    """Cells as float64. strange: filled cells that are no number; infinite ones; both count as missing.

    Reads thousands separators, decimal commas (1.234,5 and 12,5), currencies, per cent and (12) for -12.
    decimal: as frozen at a fit, so that what a cell says does not hang on the other cells; None: as most cells have it.
    """
    if pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells):
        values, filled = pd.to_numeric(cells).astype("Float64").astype("float64"), cells.notna()
    else:
        text = blanked(cells).astype("object")
        filled = text.notna() & ~text.astype("string").str.lower().isin(NO_NUMBER).fillna(False)
        values = _spoken(text.where(filled), decimal or decimal_of(cells))
    infinite = np.isinf(values)
    strange = int((values.isna() & filled).sum()) if not pd.api.types.is_numeric_dtype(cells) else 0
    return Numbers(values.mask(infinite), strange, int(infinite.sum()))


def decimal_of(cells: pd.Series) -> Decimal:
    """Which sign most cells that tell have before their decimals; a point where none tells."""
    if pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells):
        return "."
    bare = _bare(blanked(cells))
    point = bare.str.contains(r",\d{3}\.\d|^[^,]*\.\d{1,2}$", regex=True).fillna(False)
    comma = bare.str.contains(r",\d{1,2}$|,\d{4,}$|\.\d{3},|\.\d{3}\.\d{3}", regex=True).fillna(False)
    return "," if comma.sum() > point.sum() else "."


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


def _spoken(text: pd.Series, decimal: Decimal) -> pd.Series:
    """Numbers of both spellings, 1,234.5 and 1.234,5; what may be either is read with `decimal`."""
    plain = pd.to_numeric(text, errors="coerce").astype("float64")
    if decimal == "." and plain.notna().sum() == text.notna().sum():
        return plain
    bare = _bare(text)
    english, continental = _spelled(bare, ",", "."), _spelled(bare, ".", ",")
    ways = (continental, english, plain) if decimal == "," else (plain, english, continental)
    return ways[0].fillna(ways[1]).fillna(ways[2])


def _bare(text: pd.Series) -> pd.Series:
    """Cells without blanks, currencies and per cent; a bookkeeper's (12) as -12."""
    bare = text.astype("string").str.replace(r"[\s\u00a0\u202f$€£¥%']", "", regex=True)
    bare = bare.str.replace(rf"^({CURRENCY})|({CURRENCY})$", "", regex=True).str.replace("\u2212", "-", regex=False)
    return bare.str.replace(r"^\(([\d.,]+)\)$", r"-\1", regex=True)


def _spelled(bare: pd.Series, thousands: str, decimal: str) -> pd.Series:
    good = bare.str.fullmatch(rf"[-+]?(\d{{1,3}}(\{thousands}\d{{3}})+|\d+)(\{decimal}\d*)?").fillna(False)
    tidy = bare.where(good).str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
    return pd.to_numeric(tidy.astype("object"), errors="coerce").astype("float64")


def days(cells: pd.Series, order: Order | None = None) -> pd.Series:
    """Dates (ISO, 31/12/2024, 20241231, 5 Jan 2024, timestamps) as days since 1970, float64; null where a cell is none.

    Each cell is read by the one form it has. order: of day and month in 03/02/2024, as frozen at a fit; None: as the
    cells that tell have it. A month above 12 is no month: 2024-13-01 is no date.
    """
    if pd.api.types.is_datetime64_any_dtype(cells):
        stamps = pd.to_datetime(cells, utc=True)
    else:
        text = blanked(cells).astype("object")
        text = text.map(lambda one: f"{one:%Y-%m-%d %H:%M:%S}" if hasattr(one, "strftime") else one)
        text, order = text.astype("string"), order or order_of(cells)
        known = text.map({one: _iso(one, order) for one in text.dropna().unique()}).astype("string")
        dated, iso = known.str[:10], known.where(known.str.fullmatch(r"\d{4}-\d\d.*").fillna(False))
        stamps = pd.to_datetime(iso, errors="coerce", utc=True, format="ISO8601")
        valid = pd.to_datetime(dated.where(iso.notna()), errors="coerce", utc=True, format="ISO8601").notna()
        rest = known.where(stamps.isna() & (valid | iso.isna()))  # 5 Jan 2024; 2024-01-05 10:30 PM
        if rest.notna().any():
            stamps = stamps.fillna(pd.to_datetime(rest, errors="coerce", utc=True, format="mixed"))
    return (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def _iso(cell: str, order: Order) -> str | None:
    """A cell's date as 2024-02-03, and what follows it; 5 Jan 2024 as it is; None for anything else."""
    if re.fullmatch(COMPACT, cell):
        return f"{cell[:4]}-{cell[4:6]}-{cell[6:8]}"
    if told := YEAR_FIRST.fullmatch(cell):
        year, month, day, rest = told.group(1, 3, 4, 5)
    elif told := YEAR_LAST.fullmatch(cell):
        one, two, year, rest = told.group(1, 3, 4, 5)
        day, month = (one, two) if order == "day" else (two, one)
        if int(month) > 12 >= int(day):  # this cell tells its order itself
            day, month = month, day
        if len(year) == 2:
            year = f"{1900 + int(year) if int(year) >= 69 else 2000 + int(year)}"  # as POSIX has it
    else:
        return cell if re.match(DATE, cell) else None
    return f"{year}-{int(month):02}-{int(day):02}{rest or ''}"


def order_of(cells: pd.Series) -> Order:
    """Whether the day or the month stands first where the year is last, as most cells that tell have it.

    Where none tells, dots are a day first (3.2.2024), slashes a month first.
    """
    parts = blanked(cells).str.extract(r"^(\d{1,2})([/.-])(\d{1,2})\2")
    first, second = (pd.to_numeric(parts[at], errors="coerce") > 12 for at in (0, 2))
    if first.sum() != second.sum():
        return "day" if first.sum() > second.sum() else "month"
    return "day" if parts[1].eq(".").any() else "month"


def is_date(cells: pd.Series, name: str) -> bool:
    """Whether nearly all filled cells are dates, or most are and the rest are a few words.

    Digits such as 20240131 are dates where the name says so, or where they stand among dates of another form.
    """
    if pd.api.types.is_datetime64_any_dtype(cells):
        return True
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_float_dtype(cells):
        return False
    text = blanked(cells).dropna()
    if text.empty:
        return False
    like = text.str.lower().str.match(DATE)
    if DATE_NAME.search(name) or like.mean() >= 0.5:
        like = like | text.str.fullmatch(COMPACT)
    words = text[~like & ~text.str.lower().isin(NO_NUMBER)]
    few = words.nunique() <= min(FEW_WORDS, 0.05 * text.size)
    return bool(like.mean() >= MOSTLY or (like.mean() >= 0.5 and few))
