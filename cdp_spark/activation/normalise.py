"""How does a destination want a value written? Versioned sets of normalisers: Column -> Column, null for no value.

The names and which of them hash stand in cdp_spark/config/activation.py, so that a deployment is checked without Spark.
Sources, as of November 2026: Google, "Prepare your data" and `AddressInfo`, `Consent` of the Data Manager API; Meta,
"Customer file custom audiences: hashing" of the Marketing API; TikTok, "Upload a customer file" and
`segment/mapping` of the Business API; LinkedIn, "DMP segments: users" of the Marketing API. All: normalise first, then
hash, as lower-case hex without salt. Not verified on TikTok's pages: that phone numbers are E.164 before the hash.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from cdp_spark.silver import normalise as silver

# MD5, SHA-1, SHA-256, SHA-512: hashed once already, so that a second hash would match nobody.
HASH = r"(?i)^\s*([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})\s*$"
PREFIX = r"^(mr|mrs|ms|miss|mx|dr|prof|sir|dame)(\.\s*|\s+)(?=\S)"
SUFFIX = r"[\s,]+(jr|sr|ii|iii|iv|phd|md|esq)\.?$"
GMAIL = r"^([^+@]*)(\+[^@]*)?@(gmail\.com|googlemail\.com)$"
Normaliser = Callable[[Column, str], Column]


def filled(col: Column) -> Column:
    return F.when(col != "", col)


def hashed(normaliser: Normaliser, bits: int = 256) -> Normaliser:
    """SHA-2 as lower-case hex of the normalised value; null for what is a hash already (32, 40, 64, 128 hex digits)."""

    def digest(col: Column, region: str) -> Column:
        return F.when(~col.cast("string").rlike(HASH), F.sha2(filled(normaliser(col, region)), bits))

    return digest


def none(col: Column, region: str) -> Column:
    return col


def bare_email(col: Column, region: str) -> Column:
    """Lower case without any blanks, inside neither."""
    return silver.email(F.regexp_replace(F.lower(col), r"\s+", ""))


def google_email(col: Column, region: str) -> Column:
    """Lower case without any blanks; for Gmail without the dots and the +tag of the local part."""
    tidy = bare_email(col, region)
    local = F.replace(F.regexp_extract(tidy, GMAIL, 1), F.lit("."), F.lit(""))
    plain = F.concat(local, F.lit("@"), F.regexp_extract(tidy, GMAIL, 3))
    return F.when(tidy.rlike(GMAIL), F.when(local != "", plain)).otherwise(tidy)


def google_given_name(col: Column, region: str) -> Column:
    """Lower case, single blanks, without a title such as 'Mrs.'."""
    return filled(F.regexp_replace(silver.words(F.lower(col)), PREFIX, ""))


def google_family_name(col: Column, region: str) -> Column:
    """Lower case, no punctuation, single blanks, without a suffix such as 'Jr.'."""
    alone = F.regexp_replace(silver.words(F.lower(col)), SUFFIX, "")
    return silver.words(F.regexp_replace(alone, r"\p{Punct}", ""))


def google_consent(col: Column, region: str) -> Column:
    """The legal basis as `adUserData` and `adPersonalization`: whoever is sent under consent has granted it."""
    return F.when(col == "consent", "CONSENT_GRANTED").when(col.isNotNull(), "CONSENT_STATUS_UNSPECIFIED")


def meta_phone(col: Column, region: str) -> Column:
    """Digits with the country code, without + and leading zeros."""
    return F.regexp_replace(silver.phone(col, region), r"^\+0*", "")


def meta_name(col: Column, region: str) -> Column:
    """Lower case, ASCII punctuation removed, letters of every script kept."""
    return silver.words(F.regexp_replace(F.lower(col), r"\p{Punct}", ""))


def meta_gender(col: Column, region: str) -> Column:
    """m or f; whatever says neither is no value."""
    first = F.lower(F.trim(col))
    return F.when(first.isin("f", "female"), "f").when(first.isin("m", "male"), "m")


def meta_city(col: Column, region: str) -> Column:
    return filled(F.regexp_replace(F.lower(col), r"[^\p{L}]", ""))


def meta_initial(col: Column, region: str) -> Column:
    return F.substring(meta_name(col, region), 1, 1)


def meta_lookalike(col: Column, region: str) -> Column:
    """A number from 0 on, in plain; anything else is no value."""
    number = col.try_cast("double")
    return F.when(number >= 0, number.cast("string"))


def meta_zip(col: Column, region: str) -> Column:
    return F.lower(silver.postcode(col))


def day_part(pattern: str) -> Normaliser:
    return lambda col, region: F.date_format(col.cast("date"), pattern)


PLAIN: dict[str, Normaliser] = {
    "none": none,
    "email": silver.email,
    "phone": silver.phone,
    "name": silver.words,
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
    "mobile_id": silver.exact,
    "user_id": silver.exact,
    "consent_status": google_consent,
}
META: dict[str, Normaliser] = {
    "none": none,
    "email": hashed(silver.email),
    "phone": hashed(meta_phone),
    "given_name": hashed(meta_name),
    "first_initial": hashed(meta_initial),
    "family_name": hashed(meta_name),
    "gender": hashed(meta_gender),
    "birth_year": hashed(day_part("yyyy")),
    "birth_month": hashed(day_part("MM")),
    "birth_day": hashed(day_part("dd")),
    "city": hashed(meta_city),
    "state": hashed(meta_city),
    "zip": hashed(meta_zip),
    "country": hashed(lambda col, region: F.lower(silver.country(col))),  # hashed, and lower case: not as Google
    "madid": silver.lower,
    "extern_id": silver.exact,
    "lookalike_value": meta_lookalike,
}
TIKTOK: dict[str, Normaliser] = {
    "none": none,
    "email": hashed(bare_email),
    "phone": hashed(silver.phone),
    "idfa": hashed(silver.lower),
    "aaid": hashed(silver.lower),
}
LINKEDIN: dict[str, Normaliser] = {
    "none": none,
    "email": hashed(bare_email),
    "email_sha512": hashed(bare_email, 512),
    "google_aid": silver.exact,
}
SETS = {
    "plain_2026_11": PLAIN,
    "google_2026_11": GOOGLE,
    "meta_2026_11": META,
    "tiktok_2026_11": TIKTOK,
    "linkedin_2026_11": LINKEDIN,
}
