"""Can Spark read a source as its YAML says? Names of options, encodings and paths, before Spark starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

# spark.apache.org/docs/latest/sql-data-sources-csv.html, -text.html (JSON lines are read as text), -parquet.html and
# -generic-options.html; without what the reader sets itself, what belongs to writing, and what is about types: all
# fields are read as text.
FILES = ("pathGlobFilter", "recursiveFileLookup", "modifiedBefore", "modifiedAfter", "ignoreCorruptFiles",
         "ignoreMissingFiles")  # fmt: skip
OPTIONS = {
    "csv": (*FILES, "sep", "delimiter", "encoding", "charset", "quote", "escape", "comment", "header",
            "charToEscapeQuoteEscaping", "emptyValue", "nullValue", "ignoreLeadingWhiteSpace",
            "ignoreTrailingWhiteSpace", "lineSep", "locale", "maxCharsPerColumn", "maxColumns", "mode", "multiLine",
            "unescapedQuoteHandling", "compression", "codec"),
    "json": (*FILES, "encoding", "lineSep", "wholetext", "compression"),
    "parquet": (*FILES, "mergeSchema", "datetimeRebaseMode", "int96RebaseMode"),
}  # fmt: skip


EXPRESSIONS = ("event_time", "available", "columns", "identifiers")  # of a source: where a field may stand alone
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted(name: str) -> str:
    """`name` as Spark's SQL reads it, whatever stands in it."""
    return "`" + name.replace("`", "``") + "`"


def with_quoted_fields(source: Mapping) -> dict:
    """A source's YAML in which an expression that is a field's name, such as Date of Birth, is quoted for SQL."""
    given = source.get("fields")
    names = given if isinstance(given, list) else []
    odd = {name for name in names if isinstance(name, str) and not PLAIN.fullmatch(name)}

    def read(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: read(inner) for key, inner in value.items()}
        return quoted(value) if isinstance(value, str) and value in odd else value

    return {key: read(value) if key in EXPRESSIONS else value for key, value in source.items()}


def reading_problem(kind: str, path: str, options: Mapping[str, object]) -> str | None:
    """What is wrong with a source's `path` or `options`; None where nothing is."""
    known = {name.lower(): name for name in OPTIONS.get(kind, ())}
    for name, value in options.items():
        if known and name.lower() not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"; did you mean {known[near[0]]!r}?" if near else f". Known: {', '.join(sorted(known.values()))}"
            return f"options: {kind} has no option {name!r}{hint}"
        if name.lower() in ("encoding", "charset") and not _is_encoding(str(value)):
            return f"options.{name}: no encoding {value!r}; UTF-8, ISO-8859-1 and UTF-16 are some"
        if name.lower() in ("sep", "delimiter") and not str(value):
            return f"options.{name}: empty; expected what stands between two fields, such as ; or \\t for a tab"
    for inner in re.findall(r"\{([^{}]*)\}", path):
        if inner != "date" and "," not in inner:  # Hadoop's own {a,b}: either of them
            return f"path: nothing is put in place of {{{inner}}}; {{date}} is the day of the drop"
    return None


def _is_encoding(name: str) -> bool:
    try:
        return "".encode(name) is not None  # rot13 and the like are known, and no encodings
    except LookupError:
        return False
