"""May this field leave to that destination? What a destination maps is checked against its contract before a run."""

from __future__ import annotations

from cdp_spark.config.activation import NORMALISERS, TOGETHER, Destination, Target
from cdp_spark.config.cross import audience_columns, columns_of, sql_problems
from cdp_spark.config.load import unknown
from cdp_spark.config.models import Conf

MEMBER_COLUMNS = ("audience", "person_id", "since", "purpose", "consent_id")
HASHABLE = ("direct", "pseudonym")


def known_columns(conf: Conf) -> set[str]:
    """What a destination's field may read: its membership, and all that an audience's condition may read."""
    return audience_columns(conf) | set(MEMBER_COLUMNS)


def classes(conf: Conf, sql: str) -> dict[str, str]:
    """Column -> personal class of every column that `sql` reads; scores are 'none'."""
    tables = [conf.tables[name] for name in ("gold.profiles", "gold.features", "activation.members")]
    contracts = {name.lower(): column for table in reversed(tables) for name, column in table.columns.items()}
    used = sorted(columns_of(sql))
    return {name: contracts[name.lower()].pii if name.lower() in contracts else "none" for name in used}


def identifying(conf: Conf, target: Target) -> bool:
    """Whether a field tells who somebody is: what the ledger of sent values keeps a hash of."""
    return bool(set(classes(conf, target.column).values()) & {*HASHABLE, "subject"})


def _field(conf: Conf, where: str, destination: Destination, target: Target) -> list[str]:
    if found := sql_problems(f"{where}, column", target.column, known_columns(conf)):
        return found
    normalisers = NORMALISERS[destination.normalisers]
    if target.normaliser not in normalisers:
        return [unknown(f"{where}, normaliser", "normaliser", target.normaliser, normalisers)]
    found = []
    for column, pii in classes(conf, target.column).items():
        hashed = normalisers[target.normaliser] and pii in HASHABLE
        if pii not in destination.may_leave and not hashed:
            found.append(
                f"{where}: column {column!r} is {pii} personal data and may_leave is {list(destination.may_leave)}; "
                f"take the field out, use a normaliser that hashes (identifiers only), or add {pii!r} to may_leave"
            )
    return found


def problems(conf: Conf, where: str, destination: Destination) -> list[str]:
    """One problem a field that does not exist or whose personal class may not leave; [] where all may."""
    if destination.normalisers not in NORMALISERS:
        return [unknown(f"{where}, normalisers", "set", destination.normalisers, NORMALISERS)]
    found = []
    for name, target in destination.fields.items():
        found += _field(conf, f"{where}, fields.{name}", destination, target)
    if len(destination.audiences) > 1 and "audience" not in {t.column for t in destination.fields.values()}:
        found.append(f"{where}, fields: several audiences, but no field with `column: audience` tells them apart")
    together = set(TOGETHER.get(destination.normalisers, ()))
    have = together & {target.normaliser for target in destination.fields.values()}
    if have and have != together:
        found.append(f"{where}, fields: {sorted(together)} go together; {sorted(together - have)} are missing")
    return found + _same_prefix(conf, where, destination)


def _same_prefix(conf: Conf, where: str, destination: Destination) -> list[str]:
    others = [d.description for d in conf.destinations.values() if d.prefix == destination.prefix and d != destination]
    return [f"{where}, prefix: {destination.prefix!r} is also that of another destination"] if others else []
