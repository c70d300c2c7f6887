"""May this field leave to that destination? What a destination maps is checked against its contract before a run."""

from __future__ import annotations

from cdp_spark.config.activation import NORMALISERS, PLAIN_BY_RULE, TOGETHER, Destination, Target
from cdp_spark.config.cross import WEEKLY, audience_columns, model_names
from cdp_spark.config.load import unknown
from cdp_spark.config.models import Conf
from cdp_spark.config.sql import columns_of, sql_problems

MEMBER_COLUMNS = ("audience", "person_id", "since", "purpose", "consent_id", "basis")
# Of a destination that takes journeys; `audience` is the journey there.
ACTION_COLUMNS = ("audience", "person_id", "purpose", "consent_id", "basis", "step", "action", "action_id",
                  "expected_value")  # fmt: skip
HASHABLE = ("direct", "pseudonym")


def known_columns(conf: Conf, destination: Destination) -> set[str]:
    """What a destination's field may read: membership or action, and all that an audience's condition may read."""
    own = ACTION_COLUMNS if destination.journeys else (*MEMBER_COLUMNS, *(["next_offer"] if conf.offers else []))
    return audience_columns(conf).keys() | {*own, "recommendations"}


def classes(conf: Conf, sql: str) -> dict[str, str]:
    """Column -> personal class of every column that `sql` reads; scores are of the class of ml.scores.score."""
    names = ("gold.profiles", "gold.features", "activation.members", "activation.actions", *WEEKLY)
    tables = [conf.tables[name] for name in names]
    contracts = {name.lower(): column for table in reversed(tables) for name, column in table.columns.items()}
    contracts |= {"recommendations": conf.tables["ml.recommendations"].columns["item"]}
    for what in ("score", "percentile"):
        contracts |= {f"{model}_{what}": conf.tables["ml.scores"].columns[what] for model in model_names()}
    used = sorted(columns_of(sql))
    return {name: contracts[name.lower()].pii if name.lower() in contracts else "none" for name in used}


def identifying(conf: Conf, target: Target) -> bool:
    """Whether a field tells who somebody is: what the ledger of sent values keeps a hash of."""
    return bool(set(classes(conf, target.column).values()) & {*HASHABLE, "subject"})


def _field(conf: Conf, where: str, destination: Destination, target: Target) -> list[str]:
    if found := sql_problems(f"{where}, column", target.column, known_columns(conf, destination)):
        return found
    normalisers = NORMALISERS[destination.normalisers]
    if target.normaliser not in normalisers:
        return [unknown(f"{where}, normaliser", "normaliser", target.normaliser, normalisers)]
    found = _unhashed(conf, where, destination, target)
    if found:
        return found
    for column, pii in classes(conf, target.column).items():
        hashed = normalisers[target.normaliser] and pii in HASHABLE
        if pii not in destination.may_leave and not hashed:
            found.append(
                f"{where}: column {column!r} is {pii} personal data and may_leave is {list(destination.may_leave)}; "
                f"take the field out, use a normaliser that hashes (identifiers only), or add {pii!r} to may_leave"
            )
    return found


def _unhashed(conf: Conf, where: str, destination: Destination, target: Target) -> list[str]:
    """An advertising platform gets no direct identifier in plain, whatever may_leave says, but those it asks for so."""
    plain = PLAIN_BY_RULE.get(destination.normalisers)
    if plain is None or NORMALISERS[destination.normalisers][target.normaliser] or target.normaliser in plain:
        return []
    return [
        f"{where}: column {column!r} is direct personal data and {target.normaliser!r} does not hash; "
        f"use one of {', '.join(n for n, hashes in NORMALISERS[destination.normalisers].items() if hashes)}"
        for column, pii in classes(conf, target.column).items()
        if pii == "direct"
    ]


def _key(conf: Conf, where: str, destination: Destination) -> list[str]:
    """What a removal names must stand in `fields` and in the ledger, which keeps no direct personal data in plain."""
    if missing := [name for name in destination.key if name not in destination.fields]:
        return [unknown(f"{where}, key", "field", name, destination.fields) for name in missing]
    if destination.sync != "full" and not destination.units:
        return [
            f"{where}, key: sync {destination.sync} needs fields that name a row at the destination, so that a removal "
            "can name what was sent: add `person_id: {column: person_id}`, a hashed identifier, or `key: [field]`"
        ]
    normalisers, plain = NORMALISERS[destination.normalisers], PLAIN_BY_RULE.get(destination.normalisers, ())
    bare = [
        name
        for unit in destination.units
        for name in unit
        if (target := destination.fields[name]) and not normalisers[target.normaliser]
        and target.normaliser not in plain and {"direct", "sensitive"} & set(classes(conf, target.column).values())
    ]  # fmt: skip
    return [
        f"{where}, key: {name!r} leaves as plain personal data, and the ledger of sent values keeps none; "
        "use person_id or a hashed field as key"
        for name in bare
    ]


def problems(conf: Conf, where: str, destination: Destination) -> list[str]:
    """One problem a field that does not exist or whose personal class may not leave; [] where all may."""
    if destination.normalisers not in NORMALISERS:
        return [unknown(f"{where}, normalisers", "set", destination.normalisers, NORMALISERS)]
    found = []
    for name, target in destination.fields.items():
        found += _field(conf, f"{where}, fields.{name}", destination, target)
    read = {target.column for target in destination.fields.values()}
    if len(destination.audiences + destination.journeys) > 1 and "audience" not in read:
        found.append(f"{where}, fields: several audiences, but no field with `column: audience` tells them apart")
    if destination.journeys and "action_id" not in read:
        found.append(f"{where}, fields: each action needs its id; add `action_id: {{column: action_id}}`")
    together = set(TOGETHER.get(destination.normalisers, ()))
    have = together & {target.normaliser for target in destination.fields.values()}
    if have and have != together:
        found.append(f"{where}, fields: {sorted(together)} go together; {sorted(together - have)} are missing")
    if found:
        return found
    return _key(conf, where, destination) + _endpoint(conf, where, destination) + _same_prefix(conf, where, destination)


def _endpoint(conf: Conf, where: str, destination: Destination) -> list[str]:
    if destination.http is None or destination.http.endpoint in conf.env.endpoints:
        return []
    return [unknown(f"{where}, http.endpoint", "endpoint in conf/env", destination.http.endpoint, conf.env.endpoints)]


def _same_prefix(conf: Conf, where: str, destination: Destination) -> list[str]:
    others = [d.description for d in conf.destinations.values() if d.prefix == destination.prefix and d != destination]
    return [f"{where}, prefix: {destination.prefix!r} is also that of another destination"] if others else []
