"""What is a purpose, an audience, a destination? Models of conf/purposes.yml, conf/audiences, conf/destinations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cdp_spark.config.contract import Duration, Pii, Strict

# Every normaliser of every set, and whether it hashes. A set is never changed, a new one is added: what was sent under
# a name must be computable for as long as somebody may ask for its removal.
PLAIN = {"none": False, "email": False, "phone": False, "name": False, "postcode": False, "country": False}
GOOGLE = {
    "none": False, "email": True, "phone": True, "given_name": True, "family_name": True, "country_code": False,
    "postal_code": False,
}  # fmt: skip
META = {
    "none": False, "email": True, "phone": True, "given_name": True, "family_name": True, "gender": True,
    "birth_year": True, "birth_month": True, "birth_day": True, "city": True, "zip": True, "country": True,
    "madid": False,
}  # fmt: skip
NORMALISERS = {"plain_2026_11": PLAIN, "google_2026_11": GOOGLE, "meta_2026_11": META}
# Fields that a destination takes all of or none of (Google's AddressInfo).
TOGETHER = {"google_2026_11": ("given_name", "family_name", "country_code", "postal_code")}


class Purpose(Strict):
    """What a consent is for, and the legal basis that decides what silence means.

    channels: only facts about these channels (or 'any') count; empty: all do.
    """

    description: str
    basis: Literal["consent", "legitimate_interest", "contract"]
    channels: tuple[str, ...] = ()
    policy: Literal["most_restrictive", "latest"] = "most_restrictive"
    expires_after: Duration | None = None


class Audience(Strict):
    """A rule with a purpose: who is in, and for what their data may be used."""

    description: str
    owner: str
    purpose: str
    where: str
    scores_max_age_days: int = Field(7, ge=0)
    min_size: int = Field(1, ge=0)
    holdout: float = Field(0.0, ge=0, lt=1)


class Target(Strict):
    """A field of a destination: a column or single expression, and the normaliser it passes on its way out."""

    column: str
    normaliser: str = "none"


class Destination(Strict):
    """Where members go: protocol, audiences, fields, normaliser set, sync mode.

    may_leave: classes of personal data that may leave as they are; identifiers that a normaliser hashes may always.
    """

    description: str
    protocol: Literal["s3_files"]
    audiences: tuple[str, ...] = Field(min_length=1)
    sync: Literal["full"] = "full"
    prefix: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")
    format: Literal["csv", "json", "parquet"] = "csv"
    normalisers: str = "plain_2026_11"
    fields: dict[str, Target] = Field(min_length=1)
    may_leave: tuple[Pii, ...] = ("none", "pseudonym")
    max_rows_per_file: int = Field(1_000_000, ge=1)
    compression: Literal["none", "gzip", "zstd"] = "none"

    @model_validator(mode="after")
    def readable(self) -> Destination:
        if self.compression == "zstd" and self.format != "parquet":
            raise ValueError("zstd goes with parquet only: few readers of text files know it; use gzip")
        return self
