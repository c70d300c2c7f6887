"""What stands in a YAML file? One mapping without a key given twice, or a problem that names file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error, as the second would silently win."""


def _mapping(loader: UniqueKeys, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} given twice", node.value[i][0].start_mark)
    if odd := [key for key in keys if not isinstance(key, str | int)]:
        raise yaml.constructor.ConstructorError(
            None, None, f"key {odd[0]!r} is read as {type(odd[0]).__name__}: put it in quotes", node.start_mark
        )
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path, problems: list[str]) -> dict[str, Any]:
    """The file's mapping; {} and a problem where it cannot be read as one."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506 a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({type(error).__name__}); expected a UTF-8 YAML file")
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problems.append(f"{path}{place}: not valid YAML: {getattr(error, 'problem', None) or error}")
        return {}
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.append(f"{path}: expected keys and values, found a {type(found).__name__}")
        return {}
    return found
