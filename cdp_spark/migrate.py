"""Does a table that is there still fit its contract? Columns that were added, widened or renamed since."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from cdp_spark.config.contract import Column, Table
from cdp_spark.contracts import ContractError, schema

# Delta's type widening: docs.delta.io/latest/delta-type-widening.html; bigint -> decimal and others left out.
WIDER = {
    "tinyint": ("smallint", "int", "bigint", "double"),
    "smallint": ("int", "bigint", "double"),
    "int": ("bigint", "double"),
    "float": ("double",),
}
RENAMING = "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"


class Difference(NamedTuple):
    """What the contract asks for and the table lacks: columns by name; `renamed` maps new names to old ones."""

    added: dict[str, str]
    widened: dict[str, str]
    renamed: dict[str, str]


def difference(name: str, have: StructType, table: Table) -> Difference:
    """How the table `name` with schema `have` differs from its contract; columns the contract lacks stay unread.

    Raises ContractError where a column has a type that the contract's cannot be made from.
    """
    stored = {field.name: field.dataType.simpleString() for field in have.fields}
    added, widened, renamed = {}, {}, {}
    kinds = {field.name: field.dataType.simpleString() for field in schema(table).fields}
    for column, promise in table.columns.items():
        here = _stored(column, promise, stored)
        wanted = kinds[column]
        if here is None:
            added[column] = promise.type
            continue
        if here != column:
            renamed[column] = here
        if stored[here] != wanted:
            if wanted not in WIDER.get(stored[here], ()):
                raise ContractError(
                    f"{name}: column {column} is {stored[here]} in the table and {wanted} in its contract. Only these "
                    f"can be widened: {', '.join(WIDER)}. Declare the new column under another name, or move the "
                    "table away and make its days anew with `cdp run --from-date ... --to-date ...`"
                )
            widened[column] = promise.type
    return Difference(added, widened, renamed)


def _stored(column: str, promise: Column, stored: dict[str, str]) -> str | None:
    """Name under which a column stands in the table: its own, or one that it had before (`was`)."""
    return next((name for name in (column, *promise.was) if name in stored), None)


def as_promised(table: Table, found: Difference) -> list[SparkColumn]:
    """The contract's columns, read from a table that is not altered yet."""
    return [_read(name, column.type, found) for name, column in table.columns.items()]


def _read(name: str, kind: str, found: Difference) -> SparkColumn:
    if name in found.added:
        return F.lit(None).cast(kind).alias(name)
    col = F.col(f"`{found.renamed.get(name, name)}`")
    return (col.cast(kind) if name in found.widened else col).alias(name)


def statements(location: str, found: Difference) -> list[str]:
    """ALTER TABLE statements that make the table fit: it keeps its rows, no file is written."""
    alter = f"ALTER TABLE {location}"
    done = [f"{alter} SET TBLPROPERTIES ({RENAMING})"] if found.renamed else []
    done += [f"{alter} RENAME COLUMN `{old}` TO `{new}`" for new, old in found.renamed.items()]
    done += [f"{alter} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')"] if found.widened else []
    done += [f"{alter} ALTER COLUMN `{name}` TYPE {kind}" for name, kind in found.widened.items()]
    new = ", ".join(f"`{name}` {kind}" for name, kind in found.added.items())
    return done + ([f"{alter} ADD COLUMNS ({new})"] if new else [])
