"""Who is meant by an id, and what holds that person together? Reads one person's rows, and the health of all runs."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from pyspark.sql import functions as F

from cdp_spark.identity.explain import path
from cdp_spark.identity.past import resolve_id
from cdp_spark.identity.state import published
from cdp_spark.lake import Lake

MAX_LINKS = 5_000  # of one person: more is nothing that anybody reads


class AskError(Exception):
    """The question names nobody, or two people where one is meant."""

    exit_code = 2


class Explained(NamedTuple):
    """A person, its records (all, or the two asked for), its evidence, and how the asked id leads to it."""

    person_id: str
    keys: list[str]
    rows: pd.DataFrame
    told: list[str]


def explained(lake: Lake, one: str, two: str | None = None) -> Explained:
    """Evidence of the person that `one` names (person id, old id or subject key); with `two`, the path between records.

    Raises AskError where two records belong to two people or evidence is old, UnknownIdError where an id is nobody's.
    """
    if not lake.exists("identity.evidence"):
        raise AskError(f"{lake.root} has no identity.evidence: run the step `health` first")
    person, told = person_of(lake, one)
    if two:
        other, more = person_of(lake, two)
        if other != person:
            raise AskError(f"the two are two people: {person} and {other}; no path of evidence joins them")
        told += more
    members = published(lake, "identity.members").where("valid_to IS NULL")
    keys = [r.subject_key for r in members.where(F.col("person_id") == person).orderBy("subject_key").collect()]
    mine = lake.read("identity.evidence").where(F.col("person_id") == person).limit(MAX_LINKS + 1).toPandas()
    if len(mine) > MAX_LINKS:
        raise AskError(f"{person} has more than {MAX_LINKS} links: read identity.evidence, or ask for two records")
    _refuse_older(person, keys, mine)
    if two:
        if missing := [text for text in (one, two) if text not in keys]:
            raise AskError(f"a path leads from record to record, and {len(missing)} of the two ids is no subject key")
        mine, keys = path(mine, one, two), [one]
    return Explained(person, keys, mine, told)


def _refuse_older(person: str, keys: list[str], mine: pd.DataFrame) -> None:
    """Raises AskError where evidence does not reach every record of the person: it is of people before these."""
    missing = set(keys) - set(mine["subject_key"]) - set(mine["other_key"])
    if len(keys) > 1 and missing:
        raise AskError(
            f"identity.evidence is old and lacks {len(missing)} of the {len(keys)} records of {person}: "
            "run the step `health` for the day of the people (`cdp run --from health --to health --date ...`)"
        )


def person_of(lake: Lake, asked: str) -> tuple[str, list[str]]:
    """(today's person id, what led there) of a person id, an old id or a subject key.

    Raises AskError where it is several people today, UnknownIdError where it is nobody.
    """
    every = published(lake, "identity.members")
    members = every.where("valid_to IS NULL")
    meant = F.col("person_id").eqNullSafe(asked) | F.col("subject_key").eqNullSafe(asked)
    found = members.where(meant).select("person_id").first()
    if found:
        return found["person_id"], []
    now = resolve_id(every, asked)
    if len(now) > 1:
        raise AskError(
            f"the records of this person were parted later: it is {', '.join(now)} today; ask for one of them"
        )
    return now[0], [f"{asked} is {now[0]} today"]


def measures(lake: Lake) -> pd.DataFrame:
    """identity.health of all runs: some hundred rows a run, whatever the number of people. Raises AskError."""
    if not lake.exists("identity.health"):
        raise AskError(f"{lake.root} has no identity.health: run the step `health` first")
    return lake.read("identity.health").toPandas().sort_values(["as_of", "metric", "dimension", "member"])
