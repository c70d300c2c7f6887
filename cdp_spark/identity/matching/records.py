"""What of a record can be compared? Customers in the shape that comparisons and blocking rules read."""

from __future__ import annotations

import unicodedata
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.matching import COLUMNS
from cdp_spark.identity.matching.nicknames import roots
from cdp_spark.silver.normalise import composed

MOST_CHARS = 300
# apostrophes, and the marks that stand apart from the letter they belong to
ACCENTS = "'’`´" + "".join(map(chr, range(0x300, 0x370)))
GENERATIONS = {
    "jr": "2",
    "junior": "2",
    "jnr": "2",
    "sr": "1",
    "senior": "1",
    "snr": "1",
    "ii": "2",
    "iii": "3",
    "iv": "4",
}
TITLES = r"\b(?:mr|mrs|ms|miss|dr|prof|herr|frau|sir|madam)\b\.?"
LEGAL_FORMS = (r"\b(?:inc|incorporated|llc|ltd|limited|plc|corp|corporation|co|company|gmbh|ag|kg|ohg|"
               r"ug|se|sa|sarl|srl|spa|bv|nv|oy|ab|as|aps|pty|lp|llp|the)\b")  # fmt: skip
STREET_WORDS = {
    "street": "st", "strasse": "str", "straße": "str", "road": "rd", "avenue": "ave", "av": "ave", "drive": "dr",
    "lane": "ln",
    "court": "ct", "place": "pl", "circuit": "cct", "crescent": "cres", "close": "cl", "boulevard": "blvd",
    "parade": "pde",
    "terrace": "ter", "highway": "hwy", "parkway": "pkwy", "square": "sq", "circle": "cir", "north": "n", "south": "s",
    "east": "e", "west": "w", "platz": "pl", "apartment": "apt", "suite": "ste", "saint": "st", "mount": "mt",
    "northwest": "nw", "northeast": "ne", "southwest": "sw", "southeast": "se",
}  # fmt: skip


def _without_accents() -> tuple[str, str]:
    """Letters of the Latin blocks that decompose, and their base letters, for translate()."""
    latin = (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))  # the second block: Vietnamese
    pairs = [(chr(n), unicodedata.normalize("NFKD", chr(n))[0]) for n in latin]
    good = [(a, b.lower()) for a, b in pairs if a != b and b.isascii() and b.isalpha()]
    return "".join(a for a, _ in good), "".join(b for _, b in good)


def plain(col: Column) -> Column:
    """Lower case, without accents, one blank between words of letters and digits of any script; null where empty.

    Signs that are part of a letter (vowels of Hindi or Thai) stay; accents apart from their letter go as the others.
    Read up to MOST_CHARS: what a longer text is like is told by its beginning, and comparing costs its square.
    """
    odd, even = _without_accents()
    lower = F.translate(F.lower(F.translate(F.substring(col, 1, MOST_CHARS), odd, even)), ACCENTS, "")
    for letters, written in (("ß", "ss"), ("ø", "o"), ("æ", "ae"), ("œ", "oe"), ("ł", "l"), ("đ", "d")):
        lower = F.replace(lower, F.lit(letters), F.lit(written))
    tidy = F.trim(F.regexp_replace(lower, r"[^\p{L}\p{M}\p{N}]+", " "))
    return F.when(tidy != "", tidy)


def _map(known: dict[str, str]) -> Column:
    return F.create_map(*(F.lit(part) for pair in known.items() for part in pair))


def _words(text: Column, known: dict[str, str]) -> Column:
    """`text` with each word that `known` has written as it says."""
    table = _map(known)
    return F.array_join(F.transform(F.split(text, " "), lambda word: F.coalesce(table[word], word)), " ")


def _letters(text: Column) -> Column:
    """The letters of a word in alphabetical order: equal for 'brian' and 'brain'."""
    return F.array_join(F.array_sort(F.split(text, "")), "")


def _tight(text: Column) -> Column:
    joined = F.replace(text, F.lit(" "), F.lit(""))
    return F.when(joined != "", joined)


def names(rows: DataFrame) -> DataFrame:
    """given, given_root, middle, family, generation from first_name, middle_name, last_name or full_name.

    'Doe, John F.' and 'John F. Doe' are read alike; a one-letter second word of a given name is its middle initial.
    """
    whole = F.col("full_name")
    turned = F.when(
        whole.contains(","), F.concat_ws(" ", F.substring_index(whole, ",", -1), F.substring_index(whole, ",", 1))
    )
    full = F.split(plain(F.regexp_replace(F.lower(F.coalesce(turned, whole)), TITLES, " ")), " ")
    generations = F.array(*(F.lit(word) for word in GENERATIONS))
    kept = F.filter(full, lambda word: ~F.array_contains(generations, word))
    last = F.coalesce(plain(F.col("last_name")), F.when(F.size(kept) > 1, F.element_at(kept, -1)))
    first = F.coalesce(plain(F.regexp_replace(F.lower("first_name"), TITLES, " ")), F.try_element_at(kept, F.lit(1)))
    words, family = F.split(first, " "), F.split(last, " ")
    everything = F.concat(F.coalesce(full, F.array()), F.coalesce(family, F.array()), F.coalesce(words, F.array()))
    found = F.filter(everything, lambda word: F.array_contains(generations, word))
    between = F.array_join(F.slice(kept, F.lit(2), F.greatest(F.size(kept) - 2, F.lit(0))), " ")
    initial = F.when((F.size(words) == 2) & (F.length(words[1]) == 1), words[1])
    own = F.when(initial.isNotNull(), words[0]).otherwise(first)
    middle = F.coalesce(
        plain(F.col("middle_name")), initial, F.when(F.col("first_name").isNull() & (between != ""), between)
    )
    family = F.array_join(F.filter(family, lambda word: ~F.array_contains(generations, word)), " ")
    return rows.select(
        "*",
        _tight(own).alias("given"),
        F.coalesce(_map(roots())[words[0]], words[0]).alias("given_root"),
        _tight(middle).alias("middle"),
        _tight(family).alias("family"),
        _map(GENERATIONS)[F.try_element_at(found, F.lit(1))].alias("generation"),
    )


def places(rows: DataFrame) -> DataFrame:
    """house, street, unit, address (house and street), city, region, postcode; street words in their short forms."""
    street = _words(plain(F.col("street")), STREET_WORDS)
    inside = F.regexp_extract(street, r"^(\d+[a-z]?)\b|\b(\d+[a-z]?)$", 0)
    box = street.rlike(r"\bbox\b")
    house = F.coalesce(plain(F.col("house_number")), F.when((inside != "") & ~box, inside))
    bare = F.when(F.col("house_number").isNull() & ~box, F.trim(F.replace(street, inside, F.lit("")))).otherwise(street)
    tight = _tight(bare)
    return rows.select(
        *(name for name in rows.columns if name not in ("street", "unit", "city", "state", "postcode")),
        house.alias("house"),
        tight.alias("street"),
        F.when(tight.isNotNull() & house.isNotNull(), F.concat_ws(" ", house, tight)).alias("address"),
        _tight(_words(plain(F.col("unit")), STREET_WORDS)).alias("unit"),
        _tight(plain(F.col("city"))).alias("city"),
        _tight(plain(F.col("state"))).alias("region"),
        F.lower("postcode").alias("postcode"),
    )


def dates(rows: DataFrame) -> DataFrame:
    """birth: eight characters, year, month, day; the text as written wins over the date, as it keeps a mistyped day."""
    text = F.coalesce("birth_text", F.date_format("birth_date", "yyyyMMdd"))
    return rows.withColumn("birth", F.when(~text.rlike(r"^(.)\1+$") & (text != "19000101"), text))


def tokens(col: Column) -> Column:
    """Distinct words of a text, sorted; null where there is none."""
    return F.array_sort(F.array_distinct(F.split(plain(col), " ")))


def organisations(rows: DataFrame) -> DataFrame:
    """company without its legal form (where anything else is left), and its words."""
    text = plain(F.col("company"))
    bare = F.trim(F.regexp_replace(F.regexp_replace(text, LEGAL_FORMS, " "), r"\s+", " "))
    return rows.withColumn("company", F.when(bare != "", bare).otherwise(text)).withColumn(
        "company_words", tokens(F.col("company"))
    )


def prepared(customers: DataFrame, extra: dict[str, str]) -> DataFrame:
    """One row a current customer record: subject_key, source, event_time, and what comparisons read, tidy.

    customers: rows of silver.customers, the newest a record.  extra: further columns of it by their semantic type
    (`conf/identity.yml`, matching.fields).
    """
    steps = (names, places, dates, organisations)
    rows = customers.withColumns({name: composed(F.col(name)) for name in ("street", "unit", "city", "state")})
    rows = rows.withColumn("sex", F.substring(F.lower("gender"), 1, 1))
    rows = reduce(lambda frame, step: step(frame), steps, rows)
    rows = rows.withColumn("email", F.lower("email")).withColumn("email_name", F.substring_index("email", "@", 1))
    ids = {"national_id": F.lower("national_id"), "account_number": F.lower("account_number")}
    rows = rows.withColumns(ids)
    own = [column for name, kind in extra.items() for column in _extra(name, kind)]
    rows = rows.withColumns({"given_sound": F.soundex("given"), "family_sound": F.soundex("family")})
    rows = rows.withColumns({f"{name}_letters": _letters(F.col(name)) for name in ("given", "family")})
    copies = {"family_as_given": "family", "given_as_family": "given", "middle_as_given": "middle"}
    rows = rows.withColumns({copy: F.col(name) for copy, name in copies.items()})
    return rows.select("subject_key", "source", "event_time", *COLUMNS, *own)


def _extra(name: str, kind: str) -> list[Column]:
    """Columns x_<name> (and x_<name>_words) of a declared field."""
    text = plain(F.col(name).cast("string"))
    if kind == "free_text":
        return [text.alias(f"x_{name}"), tokens(F.col(name)).alias(f"x_{name}_words")]
    return [_tight(text).alias(f"x_{name}")]
