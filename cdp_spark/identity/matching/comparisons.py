"""How alike are two records in each thing that they say? Comparisons with levels, in SQL that Spark and DuckDB share.

A comparison has levels from the most to the least alike; the first whose condition holds counts (Fellegi and Sunter
1969, as Splink writes it). Conditions name the columns of the two records as `<column>_l` and `<column>_r`, and the
comparison's own similarities, each of which is computed once a pair. Similarities use functions that Spark and DuckDB
both have: levenshtein, length, substr, least, greatest, and array functions for which train.py gives DuckDB macros.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Level:
    """`when` is SQL over a pair; `tf`: the column by whose rarity equal values count more."""

    label: str
    when: str
    tf: str | None = None


@dataclass(frozen=True)
class Comparison:
    """One thing that records say.

    columns: of the prepared records, the first of which is null where nothing can be said.  own: what tells one member
    of a household from another; the rest (surname, address) they share.  most: the largest weight in bits that `own`
    evidence may count for, where families share the thing too.  apart: what a plain difference weighs there at least.
    """

    name: str
    columns: tuple[str, ...]
    levels: tuple[Level, ...]
    similarities: dict[str, str] = field(default_factory=dict)
    own: bool = False
    most: float | None = None
    apart: float | None = None
    reads: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.columns, *self.reads)))

    @property
    def null(self) -> str:
        return f"{self.columns[0]}_l IS NULL OR {self.columns[0]}_r IS NULL"

    def inlined(self, when: str) -> str:
        """`when` with the similarities written out, for an engine that gets one condition a level."""
        for name, sql in self.similarities.items():
            when = re.sub(rf"\b{name}\b", lambda _, sql=sql: f"({sql})", when)
        return when


def _distance(column: str) -> dict[str, str]:
    """<column>_d: edits from one to the other (Levenshtein 1966); <column>_n: letters of the longer."""
    return {
        f"{column}_d": f"levenshtein({column}_l, {column}_r)",
        f"{column}_n": f"greatest(length({column}_l), length({column}_r))",
    }


def _close(column: str, share: float, *, least: int = 0) -> str:
    """At most `share` of the longer value's letters edited, or `least` edits."""
    return f"{column}_d <= greatest({least}, {share} * {column}_n)"


def _equal(column: str) -> Level:
    return Level("equal", f"{column}_l = {column}_r", tf=column)


def given() -> Comparison:
    initial = "(length(given_l) = 1 OR length(given_r) = 1) AND substr(given_l, 1, 1) = substr(given_r, 1, 1)"
    other = "given_d < given_n AND (given_l = middle_as_given_r OR given_r = middle_as_given_l)"
    return Comparison(
        "given",
        ("given",),
        (
            _equal("given"),
            Level("form of one name", f"given_root_l = given_root_r OR ({initial})"),
            Level("one or two letters apart", _close("given", 0.2, least=1)),
            Level("names turned round", "given_l = family_as_given_r OR given_r = family_as_given_l OR " + other),
            Level("alike", _close("given", 0.4)),
        ),
        _distance("given"),
        own=True,
        apart=-5.6,  # one in fifty is written under another given name altogether; relatives nearly all are
        reads=("given_root", "family_as_given", "middle_as_given"),
    )


def family() -> Comparison:
    part = " OR ".join(
        f"(length(family_{one}) > 3 AND contains(family_{two}, family_{one}))" for one, two in ("lr", "rl")
    )
    return Comparison(
        "family",
        ("family",),
        (
            _equal("family"),
            Level("one or two letters apart", _close("family", 0.2, least=1)),
            Level("part of a double name", part),
            Level("names turned round", "family_l = given_as_family_r OR family_r = given_as_family_l"),
            Level("alike", _close("family", 0.4)),
        ),
        _distance("family"),
        reads=("given_as_family",),
    )


def middle() -> Comparison:
    initial = "(length(middle_l) = 1 OR length(middle_r) = 1) AND substr(middle_l, 1, 1) = substr(middle_r, 1, 1)"
    return Comparison(
        "middle",
        ("middle",),
        (
            _equal("middle"),
            Level("initial", initial),
            Level("close", _close("middle", 0.34, least=1) + " AND middle_n > 2"),
        ),
        _distance("middle"),
        own=True,
    )


def birth() -> Comparison:
    turned = "concat(substr(birth_l, 1, 4), substr(birth_l, 7, 2), substr(birth_l, 5, 2)) = birth_r"
    part = "substr(birth_l, 1, 4) = substr(birth_r, 1, 4) OR substr(birth_l, 5, 4) = substr(birth_r, 5, 4)"
    return Comparison(
        "birth",
        ("birth",),
        (
            _equal("birth"),
            Level("day and month turned", turned),
            Level("one digit apart", "birth_d <= 1"),
            Level("two digits apart", f"birth_d <= 2 AND ({part})"),
            Level("year or day equal", part),
        ),
        {"birth_d": "levenshtein(birth_l, birth_r)"},
        own=True,
        apart=-4.5,  # one in twenty is written with another date altogether; a junior always is
        most=5.5,  # of those who live together one pair in fifty shares a birth date: twins
    )


def address() -> Comparison:
    house = "(house_l = house_r OR house_l IS NULL OR house_r IS NULL)"
    return Comparison(
        "address",
        ("street",),
        (
            Level("equal", "address_l = address_r", tf="address"),
            Level("nearly equal", _close("street", 0.25) + " AND house_l = house_r"),
            Level("street equal, a house missing", f"street_l = street_r AND {house}"),
            Level("street equal", "street_l = street_r", tf="street"),
            Level("street alike", _close("street", 0.25)),
        ),
        _distance("street"),
        reads=("house", "address"),
    )


def plain(name: str, *, share: float = 0.25, own: bool = False, most: float | None = None, second: float | None = None):
    """Equal, close, else, of one short text."""
    levels = [_equal(name), Level("close", _close(name, share, least=1) + f" AND {name}_n > 2")]
    if second:
        levels.append(Level("alike", _close(name, second)))
    return Comparison(name, (name,), tuple(levels), _distance(name), own=own, most=most)


def category(name: str, *, own: bool = False) -> Comparison:
    return Comparison(name, (name,), (_equal(name),), own=own)


def email() -> Comparison:
    return Comparison(
        "email",
        ("email",),
        (
            _equal("email"),
            Level("name equal", "email_name_l = email_name_r", tf="email_name"),
            Level("close", _close("email_name", 0.25, least=1) + " AND email_name_n > 3"),
        ),
        _distance("email_name"),
        own=True,
        most=4.0,
        reads=("email_name",),
    )


def text(name: str, words: str) -> Comparison:
    """Texts by their letters and by the share of words in common (Jaccard 1901)."""
    shared = f"{name}_j"
    return Comparison(
        name,
        (name,),
        (
            _equal(name),
            Level("nearly equal", f"{shared} >= 0.8 OR {_close(name, 0.1)}"),
            Level("alike", f"{shared} >= 0.6 OR {_close(name, 0.2)}"),
            Level("some words", f"{shared} >= 0.4 OR {_close(name, 0.35)}"),
            Level("few words", f"{shared} >= 0.2"),
        ),
        _distance(name) | {shared: f"array_overlap({words}_l, {words}_r)"},
        own=True,
        reads=(words,),
    )


SHIPPED = (
    given(),
    middle(),
    family(),
    category("generation", own=True),
    birth(),
    category("sex", own=True),
    plain("national_id", share=0.25, own=True, most=8.0),
    plain("account_number", share=0.15, own=True, most=8.0),
    email(),
    plain("phone", share=0.2),
    address(),
    plain("unit"),
    plain("city", share=0.25, second=0.4),
    plain("postcode", share=0.25),
    category("region"),
    text("company", "company_words"),
)


def comparisons(filled: Iterable[str], extra: dict[str, str]) -> list[Comparison]:
    """Comparisons of the columns in `filled` (prepared columns that hold values); `extra`: declared fields by type."""
    filled, found = set(filled), [one for one in SHIPPED if one.columns[0] in filled]
    if "given" in filled:  # a person's employer is shared with colleagues; an organisation's name is its own
        found = [replace(one, own=False) if one.name == "company" else one for one in found]
    for name, kind in extra.items():
        column = f"x_{name}"
        makers = {"free_text": lambda c: text(c, f"{c}_words"), "code": plain, "category": category}
        if column in filled:
            found.append(makers[kind](column))
    return found
