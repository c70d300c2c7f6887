"""Which deployment is this, and is it sound? Reads a conf folder as a whole, before Spark starts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cdp_spark.config import activation, contract, journeys, models, source
from cdp_spark.config.identity import read_links
from cdp_spark.config.strict_yaml import read_yaml

SHIPPED = next(
    (p for p in (Path(__file__).parents[1] / "default_conf", Path(__file__).parents[2] / "conf") if p.is_dir()),
    Path(__file__).parents[2] / "conf",
)
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
FOLDERS = {
    "sources": source.Source,
    "audiences": activation.Audience,
    "destinations": activation.Destination,
    "journeys": journeys.Journey,
}


# besides the folders
FILES = ("base.yml", "identity.yml", "links.csv", "features.yml", "texts.yml", "purposes.yml", "offers.yml")


class ConfError(Exception):
    """The deployment is not sound. Carries every problem found, one a line: file, key, what is wrong, what to do."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))


def unknown(where: str, what: str, name: str, known: Collection[str]) -> str:
    """'conf/audiences/winback.yml, where: no column 'churn_scores'; did you mean 'churn_score'? Known: ...'"""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{where}: no {what} {name!r}{hint} Known: {', '.join(sorted(known)) or 'none'}"


def _reason(error: dict, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        fields = _fields_at(model, error["loc"][:-1])
        near = get_close_matches(str(error["loc"][-1]), fields, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key{hint}" + (f" Allowed: {', '.join(fields)}" if fields else "")
    message = error["msg"].removeprefix("Value error, ").replace("valid tuple", "list, such as [a, b]")
    given = error.get("input")
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool) else ""
    return message + shown


def _fields_at(model: type[BaseModel], loc: tuple) -> list[str]:
    """Names allowed at a place inside a model, as far as plain annotations tell; [] where they do not."""
    for part in loc:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif inner:
            model = inner[0]
    return sorted(model.model_fields)


def parse(model: type[BaseModel], data: Any, where: str, problems: list[str]) -> Any:
    """`data` as `model`, or None with one problem a mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for one in error.errors():
            key = ".".join(str(part) for part in one["loc"]) or "file"
            problems.append(f"{where}, {key}: {_reason(one, model)}")
        return None


def _named(folder: Path, model: type[BaseModel], problems: list[str]) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.glob("*.yml")):
        before = len(problems)
        if not re.fullmatch(NAME, path.stem):
            problems.append(f"{path}: expected letters, digits, - and _ before .yml: the name stands in tables")
        if path.stem.lower() in {name.lower() for name in found}:
            problems.append(f"{path}: another file has this name but for capital letters; Spark takes them for one")
        data = read_yaml(path, problems)
        parsed = parse(model, data, str(path), problems) if len(problems) == before else None
        if parsed is not None:
            found[path.stem] = parsed
    return found


def _entries(path: Path, model: type[BaseModel], problems: list[str]) -> dict[str, Any]:
    data = read_yaml(path, problems) if path.is_file() else {}
    parsed = {name: parse(model, body, f"{path}, {name}", problems) for name, body in data.items()}
    return {name: value for name, value in parsed.items() if value is not None}


def tables(root: Path, problems: list[str]) -> dict[str, contract.Table]:
    """Contracts by `layer.name`: the shipped ones, replaced table by table by those of the deployment."""
    found = {}
    for folder in dict.fromkeys((SHIPPED / "tables", root / "tables")):
        for path in sorted(folder.glob("*.yml")):
            found |= {f"{path.stem}.{name}": t for name, t in _entries(path, contract.Table, problems).items()}
    return found


def contract_file(root: Path, layer: str, table: str) -> Path:
    """The file that holds the contract in force: the deployment's where it names the table, else the shipped one."""
    own = root / "tables" / f"{layer}.yml"
    return own if own.is_file() and table in read_yaml(own, []) else SHIPPED / "tables" / f"{layer}.yml"


def _env(root: Path, name: str, problems: list[str]) -> models.Env | None:
    """The environment `name`. The others are read too: a mistake in them would wait for the night they are used."""
    folder = root / "env"
    found = {p.stem: parse(models.Env, read_yaml(p, problems), str(p), problems) for p in sorted(folder.glob("*.yml"))}
    if name not in found and (name != "local" or found):
        problems.append(unknown(str(folder), "environment", name, found))
        return None
    return found.get(name, models.Env())


def _leftovers(root: Path) -> list[str]:
    """One problem a file or folder that no part of the platform reads: a misspelt name would pass for a default."""
    folders, found = [*FOLDERS, "tables", "env"], []
    for path in sorted(root.iterdir()):
        if path.name.startswith((".", "README")):
            continue
        if path.is_dir() and path.name in folders:
            inner = (one for one in sorted(path.iterdir()) if not one.name.startswith((".", "README")))
            found += [f"{one}: expected files named <name>.yml here" for one in inner if one.suffix != ".yml"]
        elif path.is_dir() or path.name not in FILES:
            what, known = ("folder", folders) if path.is_dir() else ("file", FILES)
            found.append(unknown(str(path), f"{what} of this name is read:", path.name, known))
    return found


def load(root: str | Path, env: str = "local") -> models.Conf:
    """The deployment in folder `root`, cross-checked.

    Raises ConfError with all problems at once: file, key, what is wrong, the allowed values.
    """
    from cdp_spark.config import acting, cross

    root, problems = Path(root), []
    if not root.is_dir():
        raise ConfError([f"{root}: no such folder; --conf names a deployment, a folder like the shipped conf/"])
    problems += _leftovers(root)
    named = {kind: _named(root / kind, model, problems) for kind, model in FOLDERS.items()}
    if not named["sources"] and not problems:
        problems.append(f"{root / 'sources'}: no source; a deployment has at least one conf/sources/<name>.yml")
    identity = root / "identity.yml"
    parts = {
        "base": parse(models.Base, {"name": root.name} | read_base(root, problems), str(root / "base.yml"), problems),
        "env": _env(root, env, problems),
        "identity": parse(source.Identity, read_required(identity, problems), str(identity), problems),
        "links": read_links(root / "links.csv", problems),
        "tables": tables(root, problems),
        "features": _entries(root / "features.yml", source.Feature, problems),
        "texts": read_texts(root / "texts.yml", problems),
        "purposes": _entries(root / "purposes.yml", activation.Purpose, problems),
        "offers": _entries(root / "offers.yml", journeys.Offer, problems),
    } | named
    if problems:
        raise ConfError(problems)
    parts["tables"] = with_features(parts["tables"], parts["features"])
    parts["tables"] = with_matched(parts["tables"], parts["identity"].matching.fields)
    conf = models.Conf(**parts)
    if problems := cross.problems(conf, root) + acting.problems(conf, root):
        raise ConfError(problems)
    return conf


def with_features(tables: dict, features: dict) -> dict:
    """The contracts, `gold.features` with one double column a declared feature."""
    table = tables["gold.features"]
    columns = {
        name: contract.Column(type="double", pii="sensitive" if f.sensitive else "none", meaning=f.meaning)
        for name, f in features.items()
    }
    return tables | {"gold.features": table.model_copy(update={"columns": table.columns | columns})}


def with_matched(tables: dict, fields: dict) -> dict:
    """The contracts, `silver.customers` with a text column for each field of `matching:` that it lacks."""
    table = tables["silver.customers"]
    new = {name: contract.Column(type="string", pii="direct", meaning=f"{kind}, for matching", normaliser="exact")
           for name, kind in fields.items() if name not in table.columns}  # fmt: skip
    return tables | {"silver.customers": table.model_copy(update={"columns": table.columns | new})}


def read_base(root: Path, problems: list[str]) -> dict[str, Any]:
    return read_yaml(root / "base.yml", problems) if (root / "base.yml").is_file() else {}


def read_texts(path: Path, problems: list[str]) -> source.Texts | None:
    return parse(source.Texts, read_yaml(path, problems), str(path), problems) if path.is_file() else None


def read_required(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        problems.append(f"{path}: missing; it names the identifiers that link records")
        return {"identifiers": {}}
    return read_yaml(path, problems)


def digest(root: str | Path) -> str:
    """SHA-256 over the deployment's files (path and bytes), for the run row: which rules made these tables."""
    root, found = Path(root), hashlib.sha256()
    for path in sorted((*root.rglob("*.yml"), *root.glob("links.csv"))):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
