"""How does a destination want a value written? Versioned sets of normalisers: Column -> Column, null for no value.

The names and which of them hash stand in cdp_spark/config/activation.py, so that a deployment is checked without Spark.
Sources: Google, "Prepare your data" of the Data Manager API (e-mail, phone, names; SHA-256 as hex); Meta, "Customer
file custom audiences: hashing" of the Marketing API. Both: normalise first, then hash, no salt.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from cdp_spark.silver import normalise as silver

HEX64 = r"(?i)^\s*[0-9a-f]{64}\s*$"
PREFIX = r"^(mr|mrs|ms|miss|mx|dr|prof|sir|dame)(\.\s*|\s+)(?=\S)"
SUFFIX = r"[\s,]+(jr|sr|ii|iii|iv|phd|md|esq)\.?$"
GMAIL = r"^([^+@]*)(\+[^@]*)?@(gmail\.com|googlemail\.com)$"
Normaliser = Callable[[Column, str], Column]


def filled(col: Column) -> Column:
    return F.when(col != "", col)


def hashed(normaliser: Normaliser) -> Normaliser:
    """SHA-256 as lower-case hex of the normalised value; null for what is a hash already (64 hex digits)."""

    def digest(col: Column, region: str) -> Column:
        return F.when(~col.cast("string").rlike(HEX64), F.sha2(filled(normaliser(col, region)), 256))

    return digest


def none(col: Column, region: str) -> Column:
    return col


def google_email(col: Column, region: str) -> Column:
    """Lower case without any blanks; for Gmail without the dots and the +tag of the local part."""
    tidy = silver.email(F.regexp_replace(F.lower(col), r"\s+", ""))
    local = F.replace(F.regexp_extract(tidy, GMAIL, 1), F.lit("."), F.lit(""))
    plain = F.concat(local, F.lit("@"), F.regexp_extract(tidy, GMAIL, 3))
    return F.when(tidy.rlike(GMAIL), F.when(local != "", plain)).otherwise(tidy)


def google_given_name(col: Column, region: str) -> Column:
    """Lower case, single blanks, without a title such as 'Mrs.'."""
    return filled(F.regexp_replace(silver.name(F.lower(col)), PREFIX, ""))


def google_family_name(col: Column, region: str) -> Column:
    """Lower case, no punctuation, single blanks, without a suffix such as 'Jr.'."""
    alone = F.regexp_replace(silver.name(F.lower(col)), SUFFIX, "")
    return silver.name(F.regexp_replace(alone, r"\p{Punct}", ""))


def meta_phone(col: Column, region: str) -> Column:
    """Digits with the country code, without + and leading zeros."""
    return F.regexp_replace(silver.phone(col, region), r"^\+0*", "")


def meta_name(col: Column, region: str) -> Column:
    """Lower case, ASCII punctuation removed, letters of every script kept."""
    return silver.name(F.regexp_replace(F.lower(col), r"\p{Punct}", ""))


def meta_gender(col: Column, region: str) -> Column:
    """m or f; whatever says neither is no value."""
    first = F.lower(F.trim(col))
    return F.when(first.isin("f", "female"), "f").when(first.isin("m", "male"), "m")


def meta_city(col: Column, region: str) -> Column:
    return filled(F.regexp_replace(F.lower(col), r"[^\p{L}]", ""))


def meta_zip(col: Column, region: str) -> Column:
    return F.lower(silver.postcode(col))


def day_part(pattern: str) -> Normaliser:
    return lambda col, region: F.date_format(col.cast("date"), pattern)


PLAIN: dict[str, Normaliser] = {
    "none": none,
    "email": silver.email,
    "phone": silver.phone,
    "name": silver.name,
    "postcode": silver.postcode,
    "country": silver.country,
}
GOOGLE: dict[str, Normaliser] = {
    "none": none,
    "email": hashed(google_email),
    "phone": hashed(silver.phone),
    "given_name": hashed(google_given_name),
    "family_name": hashed(google_family_name),
    "country_code": silver.country,  # in plain: Google hashes neither country nor postal code
    "postal_code": silver.exact,
}
META: dict[str, Normaliser] = {
    "none": none,
    "email": hashed(silver.email),
    "phone": hashed(meta_phone),
    "given_name": hashed(meta_name),
    "family_name": hashed(meta_name),
    "gender": hashed(meta_gender),
    "birth_year": hashed(day_part("yyyy")),
    "birth_month": hashed(day_part("MM")),
    "birth_day": hashed(day_part("dd")),
    "city": hashed(meta_city),
    "zip": hashed(meta_zip),
    "country": hashed(lambda col, region: F.lower(silver.country(col))),  # hashed, and lower case: not as Google
    "madid": silver.lower,
}
SETS = {"plain_2026_11": PLAIN, "google_2026_11": GOOGLE, "meta_2026_11": META}
