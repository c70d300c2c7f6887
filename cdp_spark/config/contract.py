"""What does a table promise? Models of conf/tables, and what all configuration models share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Severity = Literal["quarantine", "fail", "warn"]
Pii = Literal["none", "direct", "pseudonym", "sensitive", "subject"]
Normaliser = Literal[
    "exact",
    "lower",
    "upper",
    "email",
    "phone",
    "name",
    "postcode",
    "country",
    "digits",
    "money",
    "code",
    "date_text",
    "birth_date",
]
NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME)]
DURATION = re.compile(r"^(\d+)\s*(minute|hour|day|week)s?$")


def duration(value: Any) -> Any:
    """timedelta of '3 days', '96 hours', '2 weeks'; other values are left for pydantic to refuse."""
    match = DURATION.match(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not a duration such as '2 days' or '96 hours'")
    try:
        return timedelta(**{match[2] + "s": int(match[1])})
    except OverflowError:
        raise ValueError(f"{value!r} is longer than any calendar; give days or weeks") from None


Duration = Annotated[timedelta, BeforeValidator(duration)]


class Strict(BaseModel):
    """Base of every model: a typo in a key is an error, a loaded configuration cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(Strict):
    """A promise about a table: one of `expr` (true for each good row), `unique` or `rows_change_max`."""

    name: str | None = None
    expr: str | None = None
    unique: tuple[str, ...] | None = None
    rows_change_max: float | None = None
    severity: Severity = "fail"

    @model_validator(mode="after")
    def one_kind(self) -> Check:
        if sum(x is not None for x in (self.expr, self.unique, self.rows_change_max)) != 1:
            raise ValueError("a check has exactly one of expr, unique, rows_change_max")
        if self.severity == "quarantine" and self.expr is None:
            raise ValueError("only a check with expr can quarantine rows")
        return self

    @property
    def label(self) -> str:
        return self.name or self.expr or (f"unique({', '.join(self.unique)})" if self.unique else "rows_change_max")


class Column(Strict):
    """A column of a table: its type in Spark's DDL, whether it may be null, and how personal it is.

    was: names that it had before; a table that is there is altered when it is written next.
    """

    type: str
    required: bool = False
    pii: Pii = "none"
    erase: Literal["delete", "blank", "pseudonymise", "keep"] | None = None
    normaliser: Normaliser | None = None
    values: tuple[str, ...] | None = None
    was: tuple[str, ...] = ()
    meaning: str = ""


class Table(Strict):
    """A table's contract: grain, mode, key, columns, checks and what an erasure does to it."""

    grain: str
    mode: Literal["by_date", "state", "ledger"]
    key: tuple[str, ...]
    date: str | None = None
    subject: str | None = None
    erase: Literal["delete", "blank", "pseudonymise", "keep"] | None = None
    cluster: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # of a by_date table: columns besides the date by which files lie apart
    columns: dict[str, Column]
    checks: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def holds_together(self) -> Table:
        used = [*self.key, *self.cluster, *self.folders, *(name for name in (self.date, self.subject) if name)]
        if unknown := [name for name in used if name not in self.columns]:
            raise ValueError(
                f"key, date, subject, cluster or folders name {unknown}, which are no columns of this table"
            )
        named = [name for check in self.checks for name in check.unique or ()]
        if unknown := [name for name in named if name not in self.columns]:
            raise ValueError(f"checks.unique names {unknown}, which are no columns of this table")
        if self.mode == "by_date" and not self.date:
            raise ValueError("a by_date table needs `date`: the column whose rows a rerun replaces")
        personal = [name for name, column in self.columns.items() if column.pii != "none"]
        if personal and not self.erase and any(self.columns[name].erase is None for name in personal):
            raise ValueError(f"columns {personal} are personal but nothing says how to erase them: add `erase:`")
        return self
