"""Is a text of the conf one SQL expression, of names that are there? Judged by sqlglot, before Spark starts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import sqlglot
from sqlglot import exp

from cdp_spark.config.load import unknown


def parsed(sql: str) -> exp.Expression:
    """The one expression that `sql` is. Raises ValueError with the parser's words where it is none, or several."""
    try:
        found = sqlglot.parse(sql, read="spark")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(_told(error)) from None
    if len(found) != 1 or found[0] is None:
        raise ValueError("expected one expression, without a semicolon")
    return found[0]


def _told(error: sqlglot.errors.SqlglotError) -> str:
    """The parser's own words without names of its classes: 'something is missing after `>` (column 13)'."""
    at = (getattr(error, "errors", None) or [{}])[0]
    if "Required keyword" in str(at.get("description")):
        return f"something is missing after `{at.get('highlight')}` (column {at.get('col')})"
    return str(error).splitlines()[0]


def columns_of(sql: str) -> set[str]:
    """Names of the columns a SQL expression reads. Raises ValueError where it is not SQL."""
    tree = parsed(sql)
    inner = {arg.name for one in tree.find_all(exp.Lambda) for arg in one.expressions}
    return {column.parts[0].name for column in tree.find_all(exp.Column)} - inner


@cache
def spark_functions() -> frozenset[str]:
    """Names of Spark's functions, read from pyspark's own text: importing it takes longer than a check may."""
    spec = find_spec("pyspark")
    files = [Path(folder) / "sql/functions/builtin.py" for folder in (spec.submodule_search_locations if spec else [])]
    return frozenset(re.findall(r"^def (\w+)\(", "".join(f.read_text() for f in files if f.is_file()), re.MULTILINE))


STATEMENTS = (exp.Command, exp.Drop, exp.DDL, exp.DML, exp.Star)
NUMBERS = (exp.Literal, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe)  # no conditions


def sql_problems(where: str, sql: str, known: Iterable[str], *, of_rows: bool = False) -> list[str]:
    """One problem a name that `sql` uses and neither `known` nor Spark has, or one where it is no SQL of one row.

    of_rows: an expression over many rows (sum, max_by), as features have.
    """
    known = set(known)
    try:
        tree, used = parsed(sql), columns_of(sql)
    except ValueError as error:
        return [f"{where}: not a SQL expression: {error}"]
    if isinstance(tree, STATEMENTS):
        return [f"{where}: expected an expression such as orders > 3, found a statement or a bare *"]
    lower = {name.lower() for name in known}
    found = [unknown(where, "column", name, known) for name in sorted(used) if name.lower() not in lower]
    for name in sorted({call.name for call in tree.find_all(exp.Anonymous)}):
        if (functions := spark_functions()) and name.lower() not in functions:
            near = get_close_matches(name.lower(), functions, n=1)
            found.append(
                f"{where}: no function {name!r} in Spark SQL" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    found += [f"{where}: {told}" for told in _broken_patterns(tree)]
    beyond = (exp.Query, exp.Subquery, *(() if of_rows else (exp.Window, exp.AggFunc)))
    if tree.find(*beyond):
        found.append(f"{where}: expected an expression over one row, found a subquery, aggregate or window function")
    return found


# What no dialect of regular expressions allows; of all else Java's and Python's are not the same.
BROKEN = ("missing )", "unbalanced parenthesis", "unterminated character set")


def _broken_patterns(tree: exp.Expression) -> list[str]:
    """One problem a regular expression that opens what it does not close."""
    found = []
    for call in tree.find_all(exp.RegexpLike, exp.RegexpILike, exp.RegexpReplace, exp.RegexpExtract):
        pattern = call.expression
        if isinstance(pattern, exp.Literal):
            found += pattern_problems(pattern.this)
    return found


def pattern_problems(pattern: str) -> list[str]:
    """[why `pattern` is no regular expression], or [] where nothing speaks against it."""
    try:
        re.compile(pattern)
    except re.error as error:
        if error.msg.startswith(BROKEN):
            return [f"{pattern!r} is no regular expression: {error.msg} at position {error.pos}"]
    return []


def condition_problems(where: str, sql: str, columns: dict[str, str]) -> list[str]:
    """`sql_problems`, and one where `sql` is plainly no condition. columns: name -> Spark type."""
    if found := sql_problems(where, sql, columns):
        return found
    found = [part for part in _parts(parsed(sql).unnest()) if _kind(part, columns) not in (None, "boolean")]
    return [f"{where}: expected a condition such as orders > 3, found {part.sql('spark')!r}" for part in found]


def number_problems(where: str, sql: str, columns: dict[str, str]) -> list[str]:
    """`sql_problems`, and one where `sql` is plainly no number. columns: name -> Spark type."""
    if found := sql_problems(where, sql, columns):
        return found
    kind = _kind(parsed(sql).unnest(), columns)
    odd = kind is not None and not kind.startswith(NUMERIC)
    return [f"{where}: expected a number such as churn_score, found {sql.strip()!r} ({kind})"] if odd else []


NUMERIC = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")


def _parts(tree: exp.Expression) -> list[exp.Expression]:
    """What `and`, `or` and `not` hold together."""
    if isinstance(tree, exp.And | exp.Or):
        return _parts(tree.left.unnest()) + _parts(tree.right.unnest())
    return _parts(tree.this.unnest()) if isinstance(tree, exp.Not) else [tree]


def _kind(tree: exp.Expression, columns: dict[str, str]) -> str | None:
    """Spark type of an expression over `columns`; None where sqlglot cannot tell."""
    if isinstance(tree, exp.Column):
        lower = {name.lower(): kind for name, kind in columns.items()}
        return None if isinstance(tree.parent, exp.Dot) or len(tree.parts) > 1 else lower.get(tree.name.lower())
    if isinstance(tree, NUMBERS) and not tree.is_string:
        return "string" if isinstance(tree, exp.DPipe) else "double"
    from sqlglot.optimizer.annotate_types import annotate_types

    kind = annotate_types(tree.copy(), dialect="spark").type
    told = kind.sql("spark").lower() if kind else "unknown"
    return None if told in ("unknown", "null") else told
