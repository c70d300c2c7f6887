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
    """`when` is SQL over a pair; `tf`: the column by whose rarity equal values count more; `most`: bits at most;
    `says`: as of a comparison, where it is less than that."""

    label: str
    when: str
    tf: str | None = None
    most: float | None = None
    says: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One thing that records say.

    columns: of the prepared records; nothing can be said where one of two records has none of them, or they have no
    column in common.  says: bits that an agreement says in an ordinary population (one in 2^says strangers agrees): it
    is held to while the records are too few to count.  own: what tells one member of a household from another; the
    rest (surname, address) they share.  most: the largest weight in bits that `own` evidence may count for, as
    relatives share the thing too, but not where the comparison `unless` agrees as well.  apart: what a plain difference
    weighs there at least.
    """

    name: str
    columns: tuple[str, ...]
    levels: tuple[Level, ...]
    similarities: dict[str, str] = field(default_factory=dict)
    says: float = 0.0
    own: bool = False
    most: float | None = None
    unless: str | None = None
    apart: float | None = None
    reads: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.columns, *self.reads)))

    @property
    def null(self) -> str:
        return " AND ".join(f"({column}_l IS NULL OR {column}_r IS NULL)" for column in self.columns)

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


def _slip(name: str) -> str:
    """A slip of the pen in a name: a letter or two, or two neighbours turned round, which Levenshtein counts twice."""
    return _close(name, 0.2, least=1) + f" OR ({name}_d = 2 AND {name}_letters_l = {name}_letters_r)"


def _crossed(column: str, other: str) -> str:
    """Edits from one record's value to what the other record says in another column, the better way round."""
    ways = (f"coalesce(levenshtein({column}_{x}, {other}_{y}), 99)" for x, y in ("lr", "rl"))
    return f"least({', '.join(ways)})"


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
            Level("a slip", _slip("given")),
            Level("names turned round", f"given_x <= 0.2 * given_n OR {other}"),
            Level("alike", _close("given", 0.4)),
        ),
        _distance("given") | {"given_x": _crossed("given", "family_as_given")},
        says=6,
        own=True,
        apart=-5.6,  # one in fifty is written under another given name altogether; relatives nearly all are
        most=6.6,  # one in a hundred relatives is called like the other: juniors, who have birth dates of their own
        unless="birth",
        reads=("given_root", "given_letters", "family_as_given", "middle_as_given"),
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
            Level("a slip", _slip("family")),
            Level("part of a double name", part),
            Level("names turned round", "family_x <= 0.2 * family_n"),
            Level("alike", _close("family", 0.4)),
        ),
        _distance("family") | {"family_x": _crossed("family", "given_as_family")},
        says=7,
        reads=("family_letters", "given_as_family"),
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
        says=3,
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
        says=12,
        own=True,
        apart=-4.5,  # one in twenty is written with another date altogether; a junior always is
        most=5.5,  # of those who live together one pair in fifty shares a birth date: twins, whose names differ
        unless="given",
    )


def place() -> Comparison:
    """Where they live, as one thing: who moves has another street, city, postcode and state at once, which four
    comparisons would count as four differences, and neighbours would share as four."""
    near = "coalesce(city_d <= greatest(1, 0.25 * city_n), postcode_l = postcode_r, TRUE)"
    address = f"address_l = address_r AND {near}"
    town = "(city_l = city_r OR postcode_l = postcode_r)"
    named = "(unit_l = unit_r AND length(unit_l) > 6)"  # a second address line that is a name of its own
    return Comparison(
        "place",
        ("street", "city", "postcode", "region"),
        (
            Level("address equal", f"{address} AND coalesce(unit_l = unit_r, TRUE)", tf="address"),
            Level("address equal, another unit", address, tf="address"),
            Level("address nearly equal", _close("street", 0.25) + f" AND house_l = house_r AND {near}"),
            Level("street equal, in town", f"(street_l = street_r OR {named}) AND {town}"),
            Level("street equal", "street_l = street_r", tf="street", says=9),
            Level("street alike, in town", _close("street", 0.25) + f" AND {town}"),
            Level("city and postcode equal", "city_l = city_r AND postcode_l = postcode_r", tf="postcode", says=6),
            Level("postcode equal", "postcode_l = postcode_r", tf="postcode", says=6),
            Level("city equal", "city_l = city_r", tf="city", says=5),
            Level("city or postcode close", "city_d <= greatest(1, 0.25 * city_n) OR postcode_d <= 1", says=4),
            Level("state equal", "region_l = region_r", tf="region", says=2),
        ),
        _distance("street") | _distance("city") | {"postcode_d": "levenshtein(postcode_l, postcode_r)"},
        says=12,
        reads=("house", "address", "unit"),
    )


def plain(name: str, says: float, *, share: float = 0.25, second: float | None = None, **more) -> Comparison:
    """Equal, close, else, of one short text; with `second` a further share of letters that may differ."""
    levels = [_equal(name), Level("close", _close(name, share, least=1) + f" AND {name}_n > 2")]
    if second:
        levels.append(Level("alike", _close(name, second)))
    return Comparison(name, (name,), tuple(levels), _distance(name), says=says, **more)


def category(name: str, says: float = 1, *, own: bool = False) -> Comparison:
    return Comparison(name, (name,), (_equal(name),), says=says, own=own)


def email() -> Comparison:
    follows = 3.0  # an address that only has the same name in it follows from the person's name: namesakes have it too
    return Comparison(
        "email",
        ("email",),
        (
            _equal("email"),
            Level("a slip", "email_d <= 2"),
            Level("name equal", "email_name_l = email_name_r", most=follows),
            Level("name close", _close("email_name", 0.25, least=1) + " AND email_name_n > 3", most=follows),
        ),
        _distance("email") | _distance("email_name"),
        says=14,
        own=True,
        most=1.0,  # relatives share an address for their mail half as often as one person's records do
        reads=("email_name",),
    )


def text(name: str, words: str) -> Comparison:
    """Texts by their first sixty letters and by the share of words in common (Jaccard 1901)."""
    shared = f"{name}_j"
    letters = {
        f"{name}_d": f"levenshtein(substr({name}_l, 1, 60), substr({name}_r, 1, 60))",
        f"{name}_n": f"least(60, greatest(length({name}_l), length({name}_r)))",
    }
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
        letters | {shared: f"array_overlap({words}_l, {words}_r)"},
        says=9,
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
    plain("national_id", 16, share=0.25, second=0.45, own=True, most=8.0),
    plain("account_number", 16, share=0.15, second=0.35, own=True, most=8.0),
    email(),
    plain("phone", 13, share=0.2),
    place(),
    text("company", "company_words"),
)


def comparisons(filled: Iterable[str], extra: dict[str, str]) -> list[Comparison]:
    """Comparisons of the columns in `filled` (prepared columns that hold values); `extra`: declared fields by type."""
    filled, found = set(filled), [one for one in SHIPPED if filled & set(one.columns)]
    if "given" in filled:  # a person's employer is shared with colleagues; an organisation's name is its own
        found = [replace(one, own=False) if one.name == "company" else one for one in found]
    for name, kind in extra.items():
        column = f"x_{name}"
        makers = {
            "free_text": lambda c: text(c, f"{c}_words"),
            "code": lambda c: plain(c, 10, own=True),
            "category": category,
        }
        if column in filled:
            found.append(makers[kind](column))
    return found
