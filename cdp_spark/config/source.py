"""What is a source, an identifier, a feature? Models of conf/sources, conf/identity.yml and conf/features.yml."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cdp_spark.config.contract import Check, Duration, Name, Normaliser, Strict
from cdp_spark.config.households import Households
from cdp_spark.config.identity import BLOCKED_PATTERNS, BLOCKED_VALUES, Plan
from cdp_spark.config.matching import Matching
from cdp_spark.config.reading import reading_problem, with_quoted_fields


class Jdbc(Strict):
    """A table of a database, read since a watermark; address and login are environment variables, named here only.

    watermark: a timestamp column that grows (updated at, or the time of a log row); a row that is changed in place
    must get a new one. overlap: how far before the last watermark a read begins, for rows that were committed late.
    partition: a column by whose range `partitions` readers share the work; none: one reader.
    """

    url_env: str
    driver: str = "org.postgresql.Driver"
    user_env: str | None = None
    password_env: str | None = None
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    watermark: Name
    overlap: Duration = timedelta(hours=1)
    partition: Name | None = None
    partitions: int = Field(1, ge=1, le=64)

    @model_validator(mode="after")
    def shared(self) -> Jdbc:
        if self.partitions > 1 and not self.partition:
            raise ValueError("`partitions` needs `partition`: the column by whose range the readers share the work")
        return self


class Source(Strict):
    """One source: where its drops lie, how a row is read, and what of it goes to which silver table."""

    description: str
    entity: Name
    format: Literal["csv", "json", "parquet", "delta", "jdbc"]
    path: str = ""
    jdbc: Jdbc | None = None
    options: dict[str, str | bool | int] = {}
    mode: Literal["append", "snapshot", "cdc"] = "append"
    fields: tuple[str, ...]
    required: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    event_time: str = Field("_ingest_date", description="without it a record holds from the day that landed it")
    available: str | None = None
    latency: Duration | None = None
    deleted: str | None = None
    columns: dict[str, str]
    identifiers: dict[str, str] = {}
    where: str | None = None
    checks: tuple[Check, ...] = ()
    priority: int = 50
    region: str | None = None
    max_bad_share: float = Field(0.5, ge=0, le=1)
    shrink_max: float = Field(0.3, ge=0, le=1)
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def a_name_is_an_expression(cls, data: Any) -> Any:
        return with_quoted_fields(data) if isinstance(data, dict) else data

    @field_validator("fields")
    @classmethod
    def once_each(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        lower = [name.lower() for name in fields]
        if twice := [name for n, name in enumerate(fields) if name.lower() in lower[:n]]:
            raise ValueError(f"{twice[0]!r} is named twice; capital letters make no other name")
        return fields

    @model_validator(mode="after")
    def holds_together(self) -> Source:
        if (self.format == "jdbc") != (self.jdbc is not None) or (self.format == "jdbc") == bool(self.path):
            raise ValueError("format jdbc goes with `jdbc:` and without `path:`; every other format needs `path:`")
        if wrong := reading_problem(self.format, self.path, self.options):
            raise ValueError(wrong)
        if self.jdbc and self.jdbc.watermark not in self.fields:
            raise ValueError(f"jdbc.watermark {self.jdbc.watermark!r} is not in `fields`")
        if self.jdbc and self.mode == "snapshot":
            raise ValueError("a jdbc source brings what changed, never the whole: mode append or cdc")
        if self.mode in ("snapshot", "cdc") and not self.key:
            raise ValueError(f"a {self.mode} source needs `key`: the fields that name a record")
        if self.deleted and self.mode != "cdc":
            raise ValueError("`deleted` belongs to mode cdc: an expression that is true for a delete row")
        if unknown := [name for name in (*self.required, *self.key) if name not in self.fields]:
            raise ValueError(f"required or key name {unknown}, which are not in `fields`")
        if unknown := [name for name in self.subjects if name not in self.identifiers]:
            raise ValueError(f"subjects name {unknown}, which are not in `identifiers`")
        if any(check.expr is None for check in self.checks):
            raise ValueError("a source's checks are row checks: they need `expr`")
        return self


RECORD = "record"


class Limit(Strict):
    """At most `count` values a person within `window`, counted on first seen (Segment's and RudderStack's words).

    A window is a calendar day, week (from Monday), month or year in UTC: a value counts in the one in which the
    component first saw it, whatever is seen later, so that neither the order of rows nor the date of a run matters.
    """

    count: int = Field(ge=1)
    window: Literal["ever", "daily", "weekly", "monthly", "annually"] = "ever"


def limit_of(value: Any) -> Any:
    """'1 ever' or '5 weekly' as {count, window}."""
    if isinstance(value, str) and len(parts := value.split()) == 2 and parts[0].isdigit():
        return {"count": int(parts[0]), "window": parts[1]}
    return value


class Identifier(Strict):
    """A namespace of identifiers: how values are normalised, which are blocked, how many a person may have."""

    normaliser: Normaliser = "exact"
    priority: int = Field(50, ge=1, description="1 is the most trusted")
    pattern: str | None = None
    blocked_values: tuple[str, ...] = ()
    max_records: int | None = Field(None, ge=2, description="a value carried by more subject keys links nobody")
    limit: Annotated[Limit | None, BeforeValidator(limit_of)] = None
    unique: bool = Field(False, description="a person has one value at most: `limit: 1 ever` (Adobe's word)")
    link: bool = True
    pii: Literal["direct", "pseudonym"] = "direct"

    @model_validator(mode="before")
    @classmethod
    def unique_is_a_limit(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("unique") is True:
            if data.get("limit") not in (None, "1 ever"):
                raise ValueError("`unique: true` means `limit: 1 ever`; give one of them")
            return data | {"limit": "1 ever"}
        return data


class Identity(Strict):
    """conf/identity.yml: the namespaces and the guards of identity resolution."""

    identifiers: dict[Name, Identifier] = {}
    blocked_values: tuple[str, ...] = BLOCKED_VALUES
    blocked_patterns: tuple[str, ...] = BLOCKED_PATTERNS
    max_records: int | None = Field(None, ge=2, description="of any namespace; without it, what the data make likely")
    max_value_chars: int = Field(1_000, ge=10, description="a longer value is no identifier")
    distinct_sources: tuple[str, ...] = Field((), description="two records of such a source are never one person")
    matching: Matching = Matching()
    households: Households = Households()
    match_priority: int = Field(60, ge=1, description="of probabilistic links beside the identifiers' priorities")
    match_min_score: float | None = Field(None, description="bits of log odds (5: 32 to 1); a weaker match is refused")
    exact_max_links: int = Field(500_000, ge=1, description="a component that breaks a limit is cut exactly up to here")
    incremental: Literal["auto", "always", "never"] = "auto"
    engine: Literal["auto", "graphframes", "scipy"] = "auto"
    local_max_edges: int = Field(5_000_000, ge=0, description="edges that SciPy takes on the driver, 100 bytes each")
    plan: Plan = Plan()

    @model_validator(mode="before")
    @classmethod
    def a_record_names_itself(cls, data: Any) -> Any:
        """Adds the namespace `record`, which links nobody: who carries no identifier is somebody all the same."""
        if isinstance(data, dict) and isinstance(data.get("identifiers", {}), dict):
            return data | {"identifiers": {**data.get("identifiers", {}), RECORD: {"link": False}}}
        return data


class Feature(Strict):
    """A feature: an aggregate over one person's rows of `table` known before `as_of`, in the last `window_days`."""

    table: str
    aggregate: str
    where: str | None = None
    window_days: int | None = Field(None, ge=1)
    of: Literal["person", "household"] = Field(
        "person", description="household: over the rows of all who live together"
    )
    availability: Literal["known_at"]
    sensitive: bool = Field(False, description="no model learns from it")
    default: float | None = None
    meaning: str = ""


class Texts(Strict):
    """conf/texts.yml: how texts are read. Log-odds that each word adds: of the topics, then of three moods."""

    topics: tuple[str, ...] = Field(min_length=2)
    start: tuple[float, ...] = Field(description="log-odds without any word")
    words: dict[str, tuple[float, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def of_one_length(self) -> Texts:
        size = len(self.topics) + 3
        if wrong := [word for word, line in self.words.items() if len(line) != size][:3]:
            raise ValueError(f"words {wrong} have not {size} numbers: one a topic, then negative, neutral, positive")
        if len(self.start) != size:
            raise ValueError(f"start has {len(self.start)} numbers, not {size}")
        return self
