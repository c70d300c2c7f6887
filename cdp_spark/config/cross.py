"""Do the parts of a deployment fit together? Names that one file uses must stand in another; SQL must compile."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from phonenumbers import SUPPORTED_REGIONS

from cdp_spark.config.contract import Table
from cdp_spark.config.load import contract_file, unknown
from cdp_spark.config.matching import matching_problems
from cdp_spark.config.models import Conf
from cdp_spark.config.source import RECORD, Feature, Source
from cdp_spark.config.sql import columns_of, condition_problems, number_problems, pattern_problems, sql_problems

GIVEN = {"source", "record_id", "subject_key", "event_time", "known_at", "ingest_date", "landing", "deleted", "extra"}
WEEKLY = {  # what weekly steps know of a person, by table
    "ml.values": ("p_alive", "expected_orders", "clv"),
    "ml.segments": ("rfm_tier", "cluster"),
}
TEXT = {"text_topic", "text_mood"}  # what cdp_spark/gold/texts.py adds to rows with a text
BEFORE_SOURCE = {"_file", "_ingest_date"}


def model_names() -> list[str]:
    """Names of the models whose scores are in ml.scores: the modules in ml/models that have a `label`."""
    spec = find_spec("ml.models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.py"))
    return [path.stem for path in files if "\ndef label(" in path.read_text()]


def decided_names() -> list[str]:
    """Names of the models that `decisions` may be made by: a probability, an effect, or what a customer is worth."""
    return sorted([*model_names(), "clv", "interests", "uplift"])


def audience_columns(conf: Conf) -> dict[str, str]:
    """What an audience's condition may read, with types: profile, features, scores, percentiles, WEEKLY."""
    scores = {f"{name}_{what}": "double" for name in model_names() for what in ("score", "percentile")}
    weekly = {one: conf.tables[name].columns[one].type for name, columns in WEEKLY.items() for one in columns}
    tables = (conf.tables["gold.profiles"].columns, conf.tables["gold.features"].columns)
    return {name: column.type for columns in tables for name, column in columns.items()} | scores | weekly


def _source(conf: Conf, where: str, source: Source) -> list[str]:
    table = conf.tables.get(f"silver.{source.entity}")
    if table is None:
        known = {name.split(".")[1] for name in conf.tables if name.startswith("silver.")} - {"identifiers"}
        return [unknown(f"{where}, entity", "silver table", source.entity, known)]
    found = [
        unknown(f"{where}, columns", f"column of silver.{source.entity}", name, set(table.columns) - GIVEN)
        for name in source.columns
        if name not in table.columns
    ]
    needed = {n for n, c in table.columns.items() if c.required} - GIVEN - set(source.columns)
    found += [f"{where}, columns: silver.{source.entity} needs {name!r}; map it" for name in sorted(needed)]
    for namespace in source.identifiers:
        if namespace not in conf.identity.identifiers:
            found.append(unknown(f"{where}, identifiers", "namespace", namespace, conf.identity.identifiers))
    fields = {*source.fields, *BEFORE_SOURCE}
    for key, sql in _expressions(source):
        found += sql_problems(f"{where}, {key}", sql, fields)
    return found


def _expressions(source: Source) -> list[tuple[str, str]]:
    found = [("event_time", source.event_time)]
    found += [(key, sql) for key in ("available", "deleted", "where") if (sql := getattr(source, key))]
    found += [(f"columns.{name}", sql) for name, sql in source.columns.items()]
    found += [(f"identifiers.{name}", sql) for name, sql in source.identifiers.items()]
    return found + [(f"checks.{check.label}", check.expr) for check in source.checks]


def _features(conf: Conf, root: Path) -> list[str]:
    found = []
    for name, feature in conf.features.items():
        where = f"{root / 'features.yml'}, {name}"
        table = conf.tables.get(feature.table)
        if table is None or "known_at" not in table.columns:
            known = {n for n, t in conf.tables.items() if "known_at" in t.columns}
            found.append(unknown(f"{where}, table", "table with known_at", feature.table, known))
            continue
        columns = {*table.columns, "as_of", "person_id", *(TEXT if conf.texts and "text" in table.columns else ())}
        for key in ("aggregate", "where"):
            if sql := getattr(feature, key):
                found += sql_problems(f"{where}, {key}", sql, columns, of_rows=key == "aggregate") or _unsaid(
                    where, feature, table, sql
                )
        found += _overwritten(conf, where, feature)
    return found


def _overwritten(conf: Conf, where: str, feature: Feature) -> list[str]:
    """Models may not learn from rows that their source overwrites.

    A list of today shows an old date only of who did nothing since: whether a row was known then is the label itself.
    """
    silver, once = {f"silver.{source.entity}" for source in conf.sources.values()}, ("snapshot", "cdc")
    names = [n for n, s in conf.sources.items() if f"silver.{s.entity}" == feature.table and s.mode in once]
    if feature.sensitive or feature.table not in silver or not names:
        return []
    rows = f"{feature.table} holds rows that their sources overwrite ({', '.join(names)})"
    cure = "take what happened (mode: append), or say `sensitive: true`: then audiences may use it and no model does"
    return [f"{where}: {rows}: what was known earlier is not there, a model would learn from the future; {cure}"]


def _unsaid(where: str, feature: Feature, table: Table, sql: str) -> list[str]:
    """A feature made of a sensitive column must say so: models learn from none of them."""
    read = {name.lower() for name in columns_of(sql)}
    named = {name for name, column in table.columns.items() if column.pii == "sensitive" and name in read}
    if not named or feature.sensitive:
        return []
    told = f"it reads {', '.join(sorted(named))} of {feature.table}, which is sensitive; add `sensitive: true`"
    return [f"{where}: {told}"]


def _checks(conf: Conf, root: Path) -> list[str]:
    """Checks of contracts that are no SQL over their table's columns."""
    found = []
    for name, table in conf.tables.items():
        layer, _, short = name.partition(".")
        where = f"{contract_file(root, layer, short)}, {short}.checks"
        for check in (one for one in table.checks if one.expr):
            found += sql_problems(f"{where}.{check.label}", check.expr, table.columns)
    return found


def _purposes(conf: Conf, root: Path) -> list[str]:
    known = [name for name, source in conf.sources.items() if source.entity == "consents"]
    return [
        unknown(f"{root / 'purposes.yml'}, {name}.precedence", "source of consents", source, known)
        for name, purpose in conf.purposes.items()
        for source in purpose.precedence
        if source not in known
    ]


def _audiences(conf: Conf, root: Path) -> list[str]:
    found = []
    for name, audience in conf.audiences.items():
        where = str(root / "audiences" / f"{name}.yml")
        found += condition_problems(f"{where}, where", audience.where, audience_columns(conf))
        if audience.purpose not in conf.purposes:
            found.append(unknown(f"{where}, purpose", "purpose", audience.purpose, conf.purposes))
        for other in audience.exclude.audiences:
            if other not in conf.audiences:
                found.append(unknown(f"{where}, exclude.audiences", "audience", other, conf.audiences))
        if audience.seed:
            found += number_problems(f"{where}, seed.by", audience.seed.by, audience_columns(conf))
    return found or _circle(conf, root)


def _circle(conf: Conf, root: Path) -> list[str]:
    left = dict(conf.audiences)
    while ready := [name for name, one in left.items() if not set(one.exclude.audiences) & set(left)]:
        left = {name: one for name, one in left.items() if name not in ready}
    files = ", ".join(f"{name}.yml" for name in sorted(left))
    told = f"{root / 'audiences'}: {files} exclude each other in a circle; take one exclusion out"
    return [told] if left else []


def _destinations(conf: Conf, root: Path) -> list[str]:
    from cdp_spark.config.leaving import problems as leaving

    found = []
    for name, destination in conf.destinations.items():
        where = str(root / "destinations" / f"{name}.yml")
        for audience in destination.audiences:
            if audience not in conf.audiences:
                found.append(unknown(f"{where}, audiences", "audience", audience, conf.audiences))
        for journey in destination.journeys:
            if journey not in conf.journeys:
                found.append(unknown(f"{where}, journeys", "journey", journey, conf.journeys))
        found += leaving(conf, where, destination)
    return found


def _namespaces(conf: Conf, root: Path) -> list[str]:
    carried = {namespace for source in conf.sources.values() for namespace in source.identifiers}
    return [
        f"{root / 'identity.yml'}, identifiers.{name}: no source carries it; name it under `identifiers` of a source"
        for name in conf.identity.identifiers
        if name not in carried and name != RECORD
    ]


def _matching(conf: Conf, root: Path) -> list[str]:
    where = f"{root / 'identity.yml'}, matching"
    mapped = {column for one in conf.sources.values() if one.entity == "customers" for column in one.columns}
    found = matching_problems(where, conf.identity.matching, mapped)
    if conf.identity.matching.enabled and not mapped:
        found.append(f"{where}: no source of entity customers maps a column to compare")
    return found


def _patterns(conf: Conf, root: Path) -> list[str]:
    said = {f"identifiers.{name}.pattern": rule.pattern for name, rule in conf.identity.identifiers.items()}
    said |= {f"blocked_patterns[{n}]": pattern for n, pattern in enumerate(conf.identity.blocked_patterns)}
    where = root / "identity.yml"
    return [f"{where}, {key}: {told}" for key, text in said.items() if text for told in pattern_problems(text)]


def _regions(conf: Conf, root: Path) -> list[str]:
    """Regions that phone numbers are read by: with one that phonenumbers does not know, none would be read."""
    said = {f"{root / 'base.yml'}, region": conf.base.region}
    said |= {f"{root / 'sources' / name}.yml, region": one.region for name, one in conf.sources.items() if one.region}
    told = "is no country of phone numbers; expected two letters of ISO 3166, such as GB (not UK), US or DE"
    return [f"{where}: {region!r} {told}" for where, region in said.items() if region not in SUPPORTED_REGIONS]


def _distinct(conf: Conf, root: Path) -> list[str]:
    where, found = f"{root / 'identity.yml'}, distinct_sources", []
    for name in conf.identity.distinct_sources:
        if name not in conf.sources:
            found.append(unknown(where, "source", name, conf.sources))
        elif len(conf.sources[name].subjects) > 1:
            found.append(f"{where}: {name} tells of {', '.join(conf.sources[name].subjects)}, of which one person has "
                         "several; only a source with one record a person can be free of duplicates")  # fmt: skip
    return found


def _households(conf: Conf, root: Path) -> list[str]:
    found = []
    for name, rule in conf.identity.households.rules.items():
        where = f"{root / 'identity.yml'}, households.rules.{name}"
        columns = conf.tables["gold.profiles"].columns
        found += [unknown(where, "column of gold.profiles", c, columns) for c in rule.columns if c not in columns]
        if rule.namespace and rule.namespace not in conf.identity.identifiers:
            found.append(unknown(where, "namespace", rule.namespace, conf.identity.identifiers))
    return found


def _decisions(conf: Conf, root: Path) -> list[str]:
    where, known, found = f"{root / 'base.yml'}, decisions", decided_names(), []
    for name, rule in conf.base.decisions.items():
        if name not in known:
            found.append(unknown(where, "model", name, known))
        elif name == "clv" and rule.capacity is None:
            found.append(
                f"{where}.clv: give `capacity`; what a customer is worth is no probability that a cost goes by"
            )
    return found


def problems(conf: Conf, root: Path) -> list[str]:
    """Every mistake between the files of a deployment; [] where it is sound."""
    found = []
    for name, source in conf.sources.items():
        found += _source(conf, str(root / "sources" / f"{name}.yml"), source)
    for part in (
        _matching,
        _namespaces,
        _patterns,
        _regions,
        _distinct,
        _households,
        _features,
        _decisions,
        _checks,
        _purposes,
        _audiences,
        _destinations,
    ):
        found += part(conf, root)
    return found
