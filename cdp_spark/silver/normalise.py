"""How is a value written so that two ways of writing it are equal? Column -> Column; null for what it cannot be."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

ADDRESS = r"^[^@\s\p{Cntrl}]+@[^@\s\p{Cntrl}]+\.[^@\s\p{Cntrl}]+$"
CONTROL = r"\p{Cntrl}"
COUNTRY_NAMES = {"united kingdom": "GB", "uk": "GB", "great britain": "GB", "germany": "DE", "deutschland": "DE"}


def exact(col: Column, region: str = "") -> Column:
    """Without surrounding blanks; null where empty or where it holds control characters."""
    tidy = F.trim(col.cast("string"))
    return F.when((tidy != "") & ~tidy.rlike(CONTROL), tidy)


def lower(col: Column, region: str = "") -> Column:
    return F.lower(exact(col))


def upper(col: Column, region: str = "") -> Column:
    return F.upper(exact(col))


def email(col: Column, region: str = "") -> Column:
    """Lower-cased address without surrounding blanks; null where it cannot be an address (254 characters: RFC 5321)."""
    tidy = F.lower(F.trim(col))
    return F.when(tidy.rlike(ADDRESS) & (F.length(tidy) <= 254), tidy)


def composed(col: Column) -> Column:
    """A letter and its marks as one sign where there is one (Unicode's NFC): e and U+0301 are written é by macOS.

    Spark has no function for it. Python is handed those texts alone that hold a mark, or Hangul in its parts.
    """
    odd = col.rlike(r"[\p{M}\x{1100}-\x{11FF}]")
    return F.when(odd, _nfc()(F.when(odd, col))).otherwise(col)


def name(col: Column, region: str = "") -> Column:
    """`words`, each letter as one sign, whatever marks it was written with."""
    return _spaced(composed(exact(col)))


def words(col: Column, region: str = "") -> Column:
    """One blank between words; letters of any script are kept as they are written."""
    return _spaced(exact(col))


def _spaced(col: Column) -> Column:
    tidy = F.regexp_replace(col, r"\s+", " ")
    return F.when(F.length(tidy) <= 200, tidy)


def birth_date(col: Column, region: str = "") -> Column:
    """An ISO date from 1900 to 2049: '29221', read as the year 29221, is a number that is no date."""
    tidy = F.substring(exact(col), 1, 10)
    return F.when(tidy.rlike(r"^(19\d\d|20[0-4]\d)-\d\d-\d\d$") & F.try_to_date(tidy).isNotNull(), tidy)


def postcode(col: Column, region: str = "") -> Column:
    """Upper case, without blanks and dashes: 'sw1a 1aa' and 'SW1A1AA' are one."""
    tidy = F.regexp_replace(F.upper(exact(col)), r"[\s-]", "")
    return F.when(tidy.rlike(r"^[A-Z0-9]{2,12}$"), tidy)


def country(col: Column, region: str = "") -> Column:
    """ISO 3166-1 alpha-2; the few names in COUNTRY_NAMES are known, anything else is null."""
    tidy = F.upper(exact(col))
    known = F.create_map(*(F.lit(part) for pair in COUNTRY_NAMES.items() for part in pair))
    return F.coalesce(known[F.lower(exact(col))], F.when(tidy.rlike("^[A-Z]{2}$"), tidy))


def digits(col: Column, region: str = "") -> Column:
    """Digits only, without blanks, dots and dashes; null where letters stand between them."""
    tidy = F.regexp_replace(F.trim(col), r"[\s.\-/]", "")
    return F.when(tidy.rlike(r"^[0-9]+$"), tidy)


def code(col: Column, region: str = "") -> Column:
    """Letters and digits in upper case: '12-345 x' and '12345X' are one; null where nothing is left."""
    tidy = F.regexp_replace(F.upper(exact(col)), r"[^\p{L}\p{N}]", "")
    return F.when(F.length(tidy).between(1, 64), tidy)


def date_text(col: Column, region: str = "") -> Column:
    """Year, month and day as eight characters, even where no calendar has such a day: '1985-13-40' is 19851340.

    Reads year first (1985-03-04, 19850304, with a time too) and day first (4/3/1985, 04031985); in the region US month
    first. A mistyped character stays; null where the parts cannot be told apart.
    """
    text = F.trim(col.cast("string"))
    year_first = r"^([0-9]\S{3})[-/.](\S{1,2})[-/.]([^\s-/.T]{1,2})(?:[\sT].*)?$"
    year_last = r"^([^\s-/.]{1,2})[-/.]([^\s-/.]{1,2})[-/.](\S{4})$"
    day, month = (2, 1) if region == "US" else (1, 2)

    def part(pattern: str, group: int, width: int) -> Column:
        return F.lpad(F.regexp_extract(text, pattern, group), width, "0")

    plain = text.rlike(r"^(?:1[89]|2[01])\S{6}$") & ~text.rlike("[-/.]")
    turned = F.concat(F.substring(text, 5, 4), F.substring(text, month * 2 - 1, 2), F.substring(text, day * 2 - 1, 2))
    return (
        F.when(plain, text)
        .when(text.rlike(year_first), F.concat(*(part(year_first, n, w) for n, w in ((1, 4), (2, 2), (3, 2)))))
        .when(text.rlike(year_last), F.concat(*(part(year_last, n, w) for n, w in ((3, 4), (month, 2), (day, 2)))))
        .when(text.rlike(r"^[0-9]{8}$"), turned)
    )


def money(col: Column, region: str = "") -> Column:
    """An amount as plain text: '1.234,56 €', '£1,234.56', '(12.50)' and '-12,5' as 1234.56, 1234.56, -12.50, -12.5.

    A single separator with one or two digits after it, or a point in a plain number, is the decimal one; a lone comma
    with three digits after it parts thousands. Null where anything but digits, separators, sign and currency is left.
    """
    text = F.regexp_replace(F.trim(col.cast("string")), r"(?i)[\s\u00a0\p{Sc}]|EUR|GBP|USD", "")
    sign = F.when(text.rlike(r"^\(.*\)$|^-"), F.lit("-")).otherwise(F.lit(""))
    bare = F.regexp_replace(text, r"^[+-]|^\(|\)$", "")
    plain = bare.rlike(r"^[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?$")
    english = bare.rlike(r"^[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?$")
    continental = bare.rlike(r"^[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+$|^[0-9]{1,3}(?:\.[0-9]{3}){2,}$|^[0-9]+,[0-9]{1,2}$")
    return (
        F.when(plain, F.concat(sign, bare))
        .when(english, F.concat(sign, F.regexp_replace(bare, ",", "")))
        .when(continental, F.concat(sign, F.regexp_replace(F.regexp_replace(bare, r"\.", ""), ",", ".")))
    )


def phone(col: Column, region: str = "GB") -> Column:
    """E.164 as Google's libphonenumber writes it, `region` for numbers without a country code; null where not valid.

    A pandas UDF, as the numbering plans are that library's; each distinct text of a batch is parsed once.
    """
    return _e164(region)(col)


def _e164(region: str):
    @F.pandas_udf("string")
    def parse(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from phonenumbers import NumberParseException, PhoneNumberFormat, format_number, is_valid_number
        from phonenumbers import parse as read

        def one(text: str) -> str | None:
            try:
                number = read(text, region)
            except NumberParseException:
                return None
            return format_number(number, PhoneNumberFormat.E164) if is_valid_number(number) else None

        for batch in batches:
            known = {text: one(text) for text in batch.dropna().unique() if 5 < len(text) < 60}
            yield batch.map(known).astype(object).where(batch.notna(), None)

    return parse


def _nfc():
    @F.pandas_udf("string")
    def compose(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in batches:
            known = {text: unicodedata.normalize("NFC", text) for text in batch.dropna().unique()}
            yield batch.map(known).astype(object).where(batch.notna(), None)

    return compose


NORMALISERS = {
    "exact": exact,
    "birth_date": birth_date,
    "lower": lower,
    "upper": upper,
    "email": email,
    "phone": phone,
    "name": name,
    "postcode": postcode,
    "country": country,
    "digits": digits,
    "money": money,
    "code": code,
    "date_text": date_text,
}


def normalised(col: Column, normaliser: str, region: str) -> Column:
    """`col` as the normaliser named in conf/ writes it."""
    return NORMALISERS[normaliser](col, region)
