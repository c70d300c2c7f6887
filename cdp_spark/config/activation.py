"""What is a purpose, an audience, a destination? Models of conf/purposes.yml, conf/audiences, conf/destinations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cdp_spark.config.contract import Duration, Pii, Strict


class Purpose(Strict):
    """What a consent is for, and the legal basis that decides what silence means."""

    description: str
    basis: Literal["consent", "legitimate_interest", "contract"]
    channels: tuple[str, ...] = ()
    policy: Literal["most_restrictive", "latest", "source_precedence", "conflict_denies"] = "most_restrictive"
    expires_after: Duration | None = None


class Audience(Strict):
    """A rule with a purpose: who is in, and for what their data may be used."""

    description: str
    owner: str
    purpose: str
    where: str
    channel: str = "any"
    scores_max_age_days: int = Field(7, ge=0)
    min_size: int = Field(1, ge=0)
    holdout: float = Field(0.0, ge=0, lt=1)


class Target(Strict):
    """A field of a destination: a column or single expression, and the normaliser it passes on its way out."""

    column: str
    normaliser: str = "none"


class Destination(Strict):
    """Where members go: protocol, audiences, fields, normaliser set, sync mode."""

    description: str
    protocol: Literal["s3_files"]
    audiences: tuple[str, ...]
    sync: Literal["full"] = "full"
    prefix: str
    format: Literal["csv", "json", "parquet"] = "csv"
    normalisers: str = "plain_2026_11"
    fields: dict[str, Target]
    may_leave: tuple[Pii, ...] = ("none", "pseudonym")
    max_rows_per_file: int = Field(1_000_000, ge=1)
    compression: Literal["none", "gzip", "zstd"] = "none"
