"""What is a comparison, and of what kinds are there? Levels in SQL that Spark and DuckDB share.

A comparison has levels from the most to the least alike; the first whose condition holds counts (Fellegi and Sunter
1969, as Splink writes it). Conditions name the columns of the two records as `<column>_l` and `<column>_r`, and the
comparison's own similarities, each of which is computed once a pair. Similarities use functions that Spark and DuckDB
both have: levenshtein, length, substr, least, greatest, and array functions for which train.py gives DuckDB macros.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


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


def distance(column: str) -> dict[str, str]:
    """<column>_d: edits from one to the other (Levenshtein 1966); <column>_n: letters of the longer."""
    return {
        f"{column}_d": f"levenshtein({column}_l, {column}_r)",
        f"{column}_n": f"greatest(length({column}_l), length({column}_r))",
    }


def close(column: str, share: float, *, least: int = 0) -> str:
    """At most `share` of the longer value's letters edited, or `least` edits."""
    return f"{column}_d <= greatest({least}, {share} * {column}_n)"


def slip(name: str) -> str:
    """A slip of the pen in a name: a letter or two, or two neighbours turned round, which Levenshtein counts twice."""
    return close(name, 0.2, least=1) + f" OR ({name}_d = 2 AND {name}_letters_l = {name}_letters_r)"


def crossed(column: str, other: str) -> str:
    """Edits from one record's value to what the other record says in another column, the better way round."""
    ways = (f"coalesce(levenshtein({column}_{x}, {other}_{y}), 99)" for x, y in ("lr", "rl"))
    return f"least({', '.join(ways)})"


def equal(column: str) -> Level:
    return Level("equal", f"{column}_l = {column}_r", tf=column)


def plain(name: str, says: float, *, share: float = 0.25, second: float | None = None, **more) -> Comparison:
    """Equal, close, else, of one short text; with `second` a further share of letters that may differ."""
    levels = [equal(name), Level("close", close(name, share, least=1) + f" AND {name}_n > 2")]
    if second:
        levels.append(Level("alike", close(name, second)))
    return Comparison(name, (name,), tuple(levels), distance(name), says=says, **more)


def category(name: str, says: float = 1, *, own: bool = False) -> Comparison:
    return Comparison(name, (name,), (equal(name),), says=says, own=own)


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
            equal(name),
            Level("nearly equal", f"{shared} >= 0.8 OR {close(name, 0.1)}"),
            Level("alike", f"{shared} >= 0.6 OR {close(name, 0.2)}"),
            Level("some words", f"{shared} >= 0.4 OR {close(name, 0.35)}"),
            Level("few words", f"{shared} >= 0.2"),
        ),
        letters | {shared: f"array_overlap({words}_l, {words}_r)"},
        says=9,
        own=True,
        reads=(words,),
    )
