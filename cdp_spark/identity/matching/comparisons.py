"""How alike are two records in each thing that they say? Comparisons that are there, and those that conf declares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cdp_spark.config.matching import COLUMNS, EQUAL, Compared, prepared_names
from cdp_spark.identity.matching.comparison import (
    Comparison,
    Level,
    category,
    close,
    crossed,
    distance,
    equal,
    plain,
    slip,
    text,
)


def given() -> Comparison:
    initial = "(length(given_l) = 1 OR length(given_r) = 1) AND substr(given_l, 1, 1) = substr(given_r, 1, 1)"
    other = "given_d < given_n AND (given_l = middle_as_given_r OR given_r = middle_as_given_l)"
    return Comparison(
        "given",
        ("given",),
        (
            equal("given"),
            Level("form of one name", f"given_root_l = given_root_r OR ({initial})"),
            Level("a slip", slip("given")),
            Level("names turned round", f"given_x <= 0.2 * given_n OR {other}"),
            Level("alike", close("given", 0.4)),
        ),
        distance("given") | {"given_x": crossed("given", "family_as_given")},
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
            equal("family"),
            Level("a slip", slip("family")),
            Level("part of a double name", part),
            Level("names turned round", "family_x <= 0.2 * family_n"),
            Level("alike", close("family", 0.4)),
        ),
        distance("family") | {"family_x": crossed("family", "given_as_family")},
        says=7,
        reads=("family_letters", "given_as_family"),
    )


def middle() -> Comparison:
    initial = "(length(middle_l) = 1 OR length(middle_r) = 1) AND substr(middle_l, 1, 1) = substr(middle_r, 1, 1)"
    return Comparison(
        "middle",
        ("middle",),
        (
            equal("middle"),
            Level("initial", initial),
            Level("close", close("middle", 0.34, least=1) + " AND middle_n > 2"),
        ),
        distance("middle"),
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
            equal("birth"),
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
            Level("address nearly equal", close("street", 0.25) + f" AND house_l = house_r AND {near}"),
            Level("street equal, in town", f"(street_l = street_r OR {named}) AND {town}"),
            Level("street equal", "street_l = street_r", tf="street", says=9),
            Level("street alike, in town", close("street", 0.25) + f" AND {town}"),
            Level("city and postcode equal", "city_l = city_r AND postcode_l = postcode_r", tf="postcode", says=6),
            Level("postcode equal", "postcode_l = postcode_r", tf="postcode", says=6),
            Level("city equal", "city_l = city_r", tf="city", says=5),
            Level("city or postcode close", "city_d <= greatest(1, 0.25 * city_n) OR postcode_d <= 1", says=4),
            Level("state equal", "region_l = region_r", tf="region", says=2),
        ),
        distance("street") | distance("city") | {"postcode_d": "levenshtein(postcode_l, postcode_r)"},
        says=12,
        reads=("house", "address", "unit"),
    )


def email() -> Comparison:
    follows = 3.0  # an address that only has the same name in it follows from the person's name: namesakes have it too
    return Comparison(
        "email",
        ("email",),
        (
            equal("email"),
            Level("a slip", "email_d <= 2"),
            Level("name equal", "email_name_l = email_name_r", most=follows),
            Level("name close", close("email_name", 0.25, least=1) + " AND email_name_n > 3", most=follows),
        ),
        distance("email") | distance("email_name"),
        says=14,
        own=True,
        most=1.0,  # relatives share an address for their mail half as often as one person's records do
        reads=("email_name",),
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


def comparisons(
    filled: Iterable[str], extra: dict[str, str], said: Mapping[str, Compared] | None = None
) -> list[Comparison]:
    """Comparisons of the columns in `filled` (prepared columns that hold values); `extra`: declared fields by type.

    said: what conf has in place of them, by column.
    """
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
    return _as_said(found, filled, extra, said or {})


def _as_said(found: list[Comparison], filled: set[str], extra: dict[str, str], said: Mapping[str, Compared]):
    """`found` without what is not to be compared, with levels as `said`, and with further ones of single columns."""
    asked = {prepared_names(name, extra): how for name, how in said.items()}
    known = {one.name for one in found}
    further = [plain(name, 10) for name in asked if name in filled and name not in known]
    used = [one for one in (*found, *further) if one.name not in asked or asked[one.name].used]
    return [_changed(one, how, extra) if (how := asked.get(one.name)) else one for one in used]


def _changed(one: Comparison, how: Compared, extra: dict[str, str]) -> Comparison:
    """`one` with what conf says of it; the rest stays."""
    weights = {key: value for key in ("says", "own") if (value := getattr(how, key)) is not None}
    if how.levels is None:
        return replace(one, **weights)
    main = "address" if one.name == "place" else one.columns[0]
    levels = tuple(_level(main, level, extra) for level in how.levels)
    texts = " ".join(level.when for level in levels)
    reads = (column for column in sorted({*COLUMNS, *(f"x_{name}" for name in extra)})
             if re.search(rf"\b{column}_[lr]\b", texts))  # fmt: skip
    return replace(one, levels=levels, similarities=distance(main), reads=tuple(reads), **weights)


def _level(column: str, said: float | str, extra: dict[str, str]) -> Level:
    if said == EQUAL:
        return equal(column)
    if isinstance(said, float):
        return Level(f"{said} of letters differ", close(column, said))
    return Level(said, f"({prepared_names(said, extra)})")
