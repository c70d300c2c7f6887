"""What may a steward say by hand, and which change of rules is too big? Models of conf/links.csv and `plan:`."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cdp_spark.config.contract import Strict

COLUMNS = ("kind", "left", "right", "author", "reason", "expires")
MAX_LINKS = 100_000
SUBJECT_KEY = "expected a subject key such as crm|C1 or web|user_id:u1"

# What people and programs write where they know nothing (Segment's and Adobe's suggestions, see README).
BLOCKED_VALUES = (
    "", "-", "-1", "0", "null", "none", "nil", "nan", "n/a", "na", "undefined", "unknown", "not set", "(not set)",
    "not available", "not provided", "anonymous", "anon", "guest", "invalid", "void", "test", "abc123", "true", "false",
    "[object object]", "test@test.com", "test@example.com", "noreply@example.com", "none@none.com", "no@email.com",
)  # fmt: skip
# Seven equal characters are a made-up telephone number; fewer may be somebody's account (1111, 22222). So are nine
# digits in their order. A form's mailbox is nobody's at whatever host.
BLOCKED_PATTERNS = (
    r"^[0-]*$",
    r"^\+?(.)\1{6,}$",
    r"^\+[0-9]{1,3}?([0-9])\1{6,}$",
    r"^\+?[0-9]{0,3}123456789[0-9]?$",
    r"^(?:no-?_?reply|do-?_?not-?_?reply|no-?e?-?mail|none|null|unknown|nobody|anonymous|not-?provided|test|dummy)@",
)


class Link(Strict):
    """A steward's word on two records. `left`, `right`: subject keys; an expired row is ignored, and told."""

    kind: Literal["must_link", "cannot_link"]
    left: str = Field(min_length=3, pattern=r"^[^|]+\|.")
    right: str = Field(min_length=3, pattern=r"^[^|]+\|.")
    author: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date | None = Field(None, description="the first day on which it no longer holds; empty: never")

    @field_validator("expires", mode="before")
    @classmethod
    def empty_is_never(cls, value):
        return value or None

    @model_validator(mode="after")
    def two_records(self) -> Link:
        if self.left == self.right:
            raise ValueError("left and right are the same record")
        return self


class Plan(Strict):
    """Thresholds of `cdp identity plan`: a change of rules beyond one of them is not applied unseen."""

    required: bool = Field(False, description="true: a run whose rules changed needs a plan within the thresholds")
    max_merged_share: float = Field(0.01, ge=0, le=1, description="of people before: those that end in another")
    max_split_share: float = Field(0.01, ge=0, le=1, description="of people before: those that lose records")
    max_cluster: int = Field(1_000, ge=2, description="records of one person")
    max_audience_share: float = Field(
        0.05, ge=0, le=1, description="of an audience's members: gained, or lost; one is none"
    )
    max_consent_conflicts: int = Field(0, ge=0, description="merges of somebody who said yes with one who said no")


def read_links(path: Path, problems: list[str]) -> tuple[Link, ...]:
    """The rows of a links file; () where there is none. A problem names the file and line, never a key."""
    if not path.is_file():
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                problems.append(f"{path}, line 1: expected the header {','.join(COLUMNS)}")
                return ()
            found = [link for row in reader if (link := _link(row, f"{path}, line {reader.line_num}", problems))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: cannot be read as UTF-8 CSV ({type(error).__name__})")
        return ()
    if len(found) > MAX_LINKS:
        problems.append(f"{path}: {len(found)} rows; more than {MAX_LINKS} decisions by hand belong in a source")
    return tuple(found)


def _link(row: dict, where: str, problems: list[str]) -> Link | None:
    if None in row or None in row.values():
        problems.append(f"{where}: expected {len(COLUMNS)} cells: {','.join(COLUMNS)}")
        return None
    try:
        return Link.model_validate({name: cell.strip() for name, cell in row.items()})
    except ValidationError as error:
        for one in error.errors():
            key = ".".join(map(str, one["loc"])) or "left, right"
            reason = one["msg"].removeprefix("Value error, ")
            problems.append(f"{where}, {key}: {SUBJECT_KEY if key in ('left', 'right') else reason}")
        return None
