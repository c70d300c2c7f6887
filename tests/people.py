"""Made-up registers whose truth is known: typing errors as in files of duplicates, households as in surveys.

Rates and kinds of errors follow what generators of such files document: letters inserted, left out, replaced or
turned round, words split or joined, names swapped, values lost, dates mistyped (Febrl: Christen 2005; pseudopeople).
Nothing here is taken from a file of theirs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pandas as pd

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = """
ba be bri ca cor da den el fa fen for gar ger hal hol in jo ka kin la lan lor ma mel mon na nes no or pa pet ra ros
sa sen sta tam ten tol un va ver wal wick ya zan
"""
ENDINGS = ["a", "e", "n", "s", "son", "ton", "ley", "field", "er", "man", "ford", "mann"]
ADDRESS_BOOK = ("first_name", "last_name", "birth_text", "national_id", "house_number", "street", "unit", "city",
                "state", "postcode")  # fmt: skip
CONTACTS = ("first_name", "last_name", "birth_text", "city", "email")
STREETS = ["street", "road", "avenue", "place", "crescent", "close", "drive", "court", "circuit"]


def word(rng: random.Random, least: int = 2, most: int = 3) -> str:
    return "".join(rng.choices(SYLLABLES.split(), k=rng.randint(least, most)))


@dataclass
class World:
    """Pools of values with uneven shares, so that some names and towns are common and most are rare."""

    rng: random.Random
    given: list[str] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    towns: list[tuple[str, str, str]] = field(default_factory=list)
    streets: list[str] = field(default_factory=list)

    def __post_init__(self):
        rng = self.rng
        self.given = sorted({word(rng, 2, 2) + rng.choice(["", *ENDINGS[:4]]) for _ in range(420)})
        self.family = sorted({word(rng) + rng.choice(ENDINGS) for _ in range(1800)})
        self.streets = sorted({f"{word(rng)} {rng.choice(STREETS)}" for _ in range(2500)})
        states = ["nw", "vic", "qld", "wa", "sa"]
        self.towns = [(word(rng), f"{rng.randint(1000, 9999)}", rng.choice(states)) for _ in range(500)]
        for pool in (self.given, self.family, self.towns):
            rng.shuffle(pool)

    def pick(self, pool: list, skew: float = 0.9):
        """A value whose rank follows a power law of exponent `skew`."""
        n = len(pool)
        return pool[min(n - 1, int(n ** self.rng.random() ** (1 / (2 - skew))) - 1)]

    def date(self, first: int = 1920, last: int = 2005) -> str:
        rng = self.rng
        return f"{rng.randint(first, last)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"

    def home(self) -> dict:
        city, postcode, state = self.pick(self.towns, 0.6)
        rng = self.rng
        return {"house_number": str(rng.randint(1, 150)), "street": rng.choice(self.streets), "city": city,
                "unit": f"{word(rng)} {word(rng)}" if rng.random() < 0.4 else None, "postcode": postcode,
                "state": state}  # fmt: skip

    def person(self, **fixed) -> dict:
        rng, given, family = self.rng, self.pick(self.given), self.pick(self.family)
        made = {"first_name": given, "last_name": family, "birth_text": self.date(),
                "national_id": f"{rng.randint(1_000_000, 9_999_999)}",
                "email": f"{given[0]}.{family}{rng.choice(['', rng.randint(1, 99)])}@{word(rng)}.example"}  # fmt: skip
        return made | self.home() | fixed


def mistyped(rng: random.Random, text: str) -> str:
    """One letter or digit inserted, left out, replaced or turned round with the next; now and then a blank."""
    place, kind = rng.randrange(len(text)), rng.random()
    signs = "0123456789" if text.isdigit() else LETTERS
    if kind < 0.25:
        return text[:place] + rng.choice(signs) + text[place:]
    if kind < 0.5 and len(text) > 2:
        return text[:place] + text[place + 1 :]
    if kind < 0.75:
        return text[:place] + rng.choice(signs) + text[place + 1 :]
    if kind < 0.92 or text.isdigit():
        return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]
    return text[:place] + " " + text[place:]


def spoiled(world: World, one: dict, errors: int, most: int = 3) -> dict:
    """A duplicate with `errors` errors, at most `most` in one field, spread as clerks make them."""
    rng, two, spent = world.rng, dict(one), dict.fromkeys(one, 0)
    for _ in range(errors):
        name = rng.choice([key for key in one if spent[key] < most])
        spent[name] += 1
        text = two[name]
        if text is None:
            continue
        kind = rng.random()
        if kind < 0.1:
            two[name] = None
        elif kind < 0.16 and name in ("first_name", "last_name"):
            two["first_name"], two["last_name"] = two["last_name"], two["first_name"]
        elif kind < 0.22 and name in ("first_name", "last_name", "city", "street"):
            pool = {"first_name": world.given, "last_name": world.family, "street": world.streets}
            two[name] = rng.choice(pool[name]) if name in pool else rng.choice(world.towns)[0]
        elif name == "birth_text" and len(text) == 8:
            turned, other = text[:4] + text[6:] + text[4:6], world.date()
            two[name] = turned if kind < 0.3 else other if kind < 0.4 else _digit(rng, text)
        elif text:
            two[name] = mistyped(rng, text)
    return two


def _digit(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice("0123456789") + text[place + 1 :]


def register(
    seed: int, people: int, copies: float, errors: int, columns: tuple[str, ...] = ADDRESS_BOOK, lost: float = 0.0
) -> tuple[pd.DataFrame, list[int]]:
    """A file in which `people` stand once and `copies` times as often again, each copy with up to `errors` errors.

    lost: the share of all values, also of the first record's, that are missing.
    """
    world = World(random.Random(seed))
    rows, truth = [], []
    for number in range(people):
        one = {name: value for name, value in world.person().items() if name in columns}
        # one, two, ... copies, each half as likely as the one before
        more = 0
        while more < 5 and world.rng.random() < copies / (1 + copies):
            more += 1
        for row in [one, *(spoiled(world, one, world.rng.randint(1, errors)) for _ in range(more))]:
            rows.append({name: None if world.rng.random() < lost else value for name, value in row.items()})
            truth.append(number)
    return _frame(rows), truth


def survey(seed: int, homes: int, *, chance: float = 0.012) -> tuple[pd.DataFrame, list[int]]:
    """Households (couples, children, twins, juniors) that several surveys asked, some moved; few errors a field."""
    world = World(random.Random(seed))
    rng, rows, truth, number = world.rng, [], [], 0
    for _ in range(homes):
        family, home = world.pick(world.family), world.home()
        others = [family, family, world.pick(world.family)]
        people = [world.person(**home, last_name=family, birth_text=world.date(1935, 1985))]
        if rng.random() < 0.7:
            people.append(world.person(**home, last_name=rng.choice(others), birth_text=world.date(1935, 1985)))
        for _ in range(rng.choice([0, 0, 1, 2, 3])):
            people.append(world.person(**home, last_name=family, birth_text=world.date(1986, 2018)))
        if rng.random() < 0.06:
            people.append(people[-1] | {"first_name": world.pick(world.given)})
        if rng.random() < 0.06:
            people.append(world.person(**home, last_name=family, first_name=people[0]["first_name"],
                                       birth_text=world.date(1990, 2015)))  # fmt: skip
        for one in people:
            rows.append(one)
            truth.append(number)
            for _ in range(rng.choice([0, 0, 1, 1, 2])):
                now = one | (world.home() if rng.random() < 0.12 else {})
                rows.append(_noised(world, now, chance))
                truth.append(number)
            number += 1
    return _frame(rows).drop(columns=["national_id", "email"]), truth


def _noised(world: World, one: dict, chance: float) -> dict:
    """Each value with `chance` lost, mistyped (three letters at most) or another one's."""
    rng, two = world.rng, dict(one)
    for name, text in one.items():
        if text is None or rng.random() > 4 * chance:
            continue
        kind = rng.random()
        if kind < 0.3:
            two[name] = None
        elif kind < 0.85:
            two[name] = _digit(rng, text) if name == "birth_text" else mistyped(rng, text)
        else:
            two[name] = world.person()[name]
    return two


def _frame(rows: list[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).astype(object)
    return frame.assign(subject_key=[f"s|{n:06}" for n in range(len(frame))])
