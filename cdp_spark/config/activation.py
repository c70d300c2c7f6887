"""What is a purpose, an audience, a destination? Models of conf/purposes.yml, conf/audiences, conf/destinations."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from cdp_spark.config.contract import Duration, Pii, Strict

# Every normaliser of every set, and whether it hashes. A set is never changed, a new one is added: what was sent under
# a name must be computable for as long as somebody may ask for its removal.
PLAIN = {"none": False, "email": False, "phone": False, "name": False, "postcode": False, "country": False}
GOOGLE = {
    "none": False, "email": True, "phone": True, "given_name": True, "family_name": True, "country_code": False,
    "postal_code": False, "mobile_id": False, "user_id": False, "consent_status": False,
}  # fmt: skip
META = {
    "none": False, "email": True, "phone": True, "given_name": True, "first_initial": True, "family_name": True,
    "gender": True, "birth_year": True, "birth_month": True, "birth_day": True, "city": True, "state": True,
    "zip": True, "country": True, "madid": False, "extern_id": False, "lookalike_value": False,
}  # fmt: skip
TIKTOK = {"none": False, "email": True, "phone": True, "idfa": True, "aaid": True}
LINKEDIN = {"none": False, "email": True, "email_sha512": True, "google_aid": False}
NORMALISERS = {
    "plain_2026_11": PLAIN,
    "google_2026_11": GOOGLE,
    "meta_2026_11": META,
    "tiktok_2026_11": TIKTOK,
    "linkedin_2026_11": LINKEDIN,
}
# Fields that a destination takes all of or none of (Google's AddressInfo).
TOGETHER = {"google_2026_11": ("given_name", "family_name", "country_code", "postal_code")}
# What the destination's own rules ask for in plain, though it tells who somebody is.
PLAIN_BY_RULE = {
    "google_2026_11": ("country_code", "postal_code", "mobile_id", "user_id"),
    "meta_2026_11": ("madid", "extern_id"),
    "tiktok_2026_11": (),
    "linkedin_2026_11": ("google_aid",),
}
# What names somebody at the destination by itself: a removal sends these, and TOGETHER's as one.
NAMING = {
    "plain_2026_11": (),
    "google_2026_11": ("email", "phone", "mobile_id", "user_id"),
    "meta_2026_11": ("email", "phone", "madid", "extern_id"),
    "tiktok_2026_11": ("email", "phone", "idfa", "aaid"),
    "linkedin_2026_11": ("email", "email_sha512", "google_aid"),
}


class Purpose(Strict):
    """What a consent is for, and the legal basis that decides what silence means.

    channels: only facts about these channels (or 'any') count; empty: all do.
    policy: how the newest facts of each source, identifier and channel come together. most_restrictive - any no is a
    no; latest - the newest decides; source_precedence - the first source of `precedence` that said anything decides;
    conflict_denies - the newest word of each source stands for it, and sources that disagree are a no.
    categories: names under which a consent platform (IAB TCF purposes, say) asks for parts of this purpose: a no to one
    is a no, and only a yes to all of them, or to the purpose itself, is a yes.
    texts: versions of the text that a grant counts under; empty: any.
    """

    description: str
    basis: Literal["consent", "legitimate_interest", "contract"]
    channels: tuple[str, ...] = ()
    policy: Literal["most_restrictive", "latest", "source_precedence", "conflict_denies"] = "most_restrictive"
    precedence: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    expires_after: Duration | None = None

    @model_validator(mode="after")
    def decides(self) -> Purpose:
        if (self.policy == "source_precedence") != bool(self.precedence):
            raise ValueError("policy source_precedence goes with `precedence: [source, ...]`, and only with it")
        return self


class Cap(Strict):
    """At most `contacts` in the last `days` days, over all channels."""

    contacts: int = Field(ge=1)
    days: int = Field(ge=1, le=365)


class Exclude(Strict):
    """Who is left out: members of other audiences, who bought lately, who stands on a suppression list.

    suppression: names of lists; a list is landed like a consent source, its rows refusing under the list's name as
    purpose.
    """

    audiences: tuple[str, ...] = ()
    bought_days: int | None = Field(None, ge=1, le=3650)
    suppression: tuple[str, ...] = ()


class Seed(Strict):
    """The `size` people of the highest (or lowest) `by`, for a platform to find others like them."""

    by: str
    size: int = Field(ge=1)
    lowest: bool = False


class Quiet(Strict):
    """Hours of the day, in `zone`, in which nobody new is delivered; `start` may be after `end` (over midnight)."""

    start: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    end: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def known(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"{zone!r} is no time zone such as 'Europe/London'")
        return zone

    @model_validator(mode="after")
    def some(self) -> Quiet:
        if self.start == self.end:
            raise ValueError(f"from {self.start} to {self.end} is no time at all; give another end")
        return self

    def holds(self, moment: datetime) -> bool:
        now = f"{moment.astimezone(ZoneInfo(self.zone)):%H:%M}"
        inside = (now >= self.start, now < self.end)
        return all(inside) if self.start <= self.end else any(inside)


class Audience(Strict):
    """A rule with a purpose: who is in, and for what their data may be used.

    competes, priority: of audiences that compete under one name a person is in that of the smallest priority only.
    experiment: what draws the holdout; audiences of one experiment hold out the same people. Default: the audience.
    """

    description: str
    owner: str
    purpose: str
    where: str
    scores_max_age_days: int = Field(7, ge=0, le=3650)
    min_size: int = Field(1, ge=0)
    holdout: float = Field(0.0, ge=0, lt=1)
    experiment: str | None = None
    caps: tuple[Cap, ...] = ()
    exclude: Exclude = Exclude()
    competes: str | None = None
    priority: int = 100
    seed: Seed | None = None
    quiet_hours: Quiet | None = None


class Target(Strict):
    """A field of a destination: a column or single expression, and the normaliser it passes on its way out."""

    column: str
    normaliser: str = "none"


class Http(Strict):
    """How rows are posted: `endpoint` is a name under `endpoints:` in conf/env, `token_env` that of a secret.

    A request carries at most batch_rows rows and is tried `attempts` times, with backoff_seconds, doubled each time,
    between them, or as long as the receiver's Retry-After says (at most backoff_max_seconds).
    """

    endpoint: str
    token_env: str | None = None
    batch_rows: int = Field(1000, ge=1, le=100_000)
    attempts: int = Field(5, ge=1)
    timeout_seconds: float = Field(30, gt=0)
    backoff_seconds: float = Field(1, ge=0)
    backoff_max_seconds: float = Field(60, ge=0)


class Destination(Strict):
    """Where members go: protocol, audiences, fields, normaliser set, sync mode.

    sync: full - the whole list each time; mirror - only differences, removals first; upsert - as mirror, but who only
    left the audience stays: removed are those whose permission or values are gone.
    key: the fields that together name a row at the destination; by default what the normaliser set says, else the
    field that carries person_id.
    channel: a delivery is a contact by this channel, and counts for contact caps.
    may_leave: classes of personal data that may leave as they are; identifiers that a normaliser hashes may always.
    partition_by: fields whose values become folders (name=value, as in Hive) and stand in no file.
    max_mb_per_file: as many MiB no file exceeds, by its widest row before compression; only a single row may.
    keep_days: deliveries older than this are deleted, never what a reader of the one in force needs. A mirror whose
    first delivery is older starts anew: its next one replaces all.
    journeys: instead of audiences: their actions, each sent once (sync upsert), named by a field with `action_id`.
    """

    description: str
    protocol: Literal["s3_files", "http"]
    audiences: tuple[str, ...] = ()
    journeys: tuple[str, ...] = ()
    sync: Literal["full", "mirror", "upsert"] = "full"
    prefix: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")
    format: Literal["csv", "json", "parquet", "delta"] = "csv"
    normalisers: str = "plain_2026_11"
    fields: dict[str, Target] = Field(min_length=1)
    key: tuple[str, ...] = ()
    channel: str | None = None
    may_leave: tuple[Pii, ...] = ("none", "pseudonym")
    max_rows_per_file: int = Field(1_000_000, ge=1)
    max_mb_per_file: int | None = Field(None, ge=1)
    partition_by: tuple[str, ...] = ()
    compression: Literal["none", "gzip", "zstd"] = "none"
    keep_days: int | None = Field(None, ge=1, le=36500)
    http: Http | None = None

    @model_validator(mode="after")
    def readable(self) -> Destination:
        if bool(self.audiences) == bool(self.journeys):
            raise ValueError("a destination takes `audiences: [...]` or `journeys: [...]`: one of them")
        if self.journeys and (self.sync != "upsert" or self.key):
            raise ValueError("journeys go with sync upsert and no key: each action is sent once, under its action_id")
        if self.keep_days and self.sync == "upsert" and not self.journeys:
            raise ValueError("keep_days does not go with sync upsert: a reader needs every delivery since the first")
        if self.compression == "zstd" and self.format not in ("parquet", "delta"):
            raise ValueError("zstd goes with parquet and delta only: few readers of text files know it; use gzip")
        if self.format == "delta" and self.sync != "full":
            raise ValueError("format delta goes with sync full: a table holds the list, not its differences")
        if (self.protocol == "http") != (self.http is not None):
            raise ValueError("protocol http goes with a section `http:` (endpoint, batch_rows, ...), and only with it")
        if self.protocol == "http" and self.sync == "full":
            raise ValueError("protocol http sends differences: sync is mirror or upsert")
        return self

    @model_validator(mode="after")
    def named(self) -> Destination:
        if odd := [name for name in self.partition_by if name not in self.fields]:
            raise ValueError(f"partition_by names {odd}, which are none of the fields {list(self.fields)}")
        if set(self.partition_by) == set(self.fields):
            raise ValueError("partition_by names every field: nothing is left to stand in the files")
        lower = [name.lower() for name in self.fields]
        ours = {"_audience", "_row_id", "_person_id", "_input_id", *(["row_id"] if self.http else [])}
        if odd := [
            name for name in self.fields if lower.count(name.lower()) > 1 or name.lower() in ours or "`" in name
        ]:
            raise ValueError(f"fields {odd}: names must differ in more than case, without `, and not be {sorted(ours)}")
        return self

    @property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """Fields that name a row at the destination, each tuple on its own; () where nothing does."""
        if self.journeys:
            return tuple((name,) for name, target in self.fields.items() if target.column == "action_id")[:1]
        if self.key:
            return (self.key,)
        naming = NAMING.get(self.normalisers, ())
        alone = [(name,) for name, target in self.fields.items() if target.normaliser in naming]
        group = TOGETHER.get(self.normalisers, ())
        if whole := tuple(name for name, target in self.fields.items() if target.normaliser in group):
            alone.append(whole)
        person = [(name,) for name, target in self.fields.items() if target.column == "person_id"]
        return tuple(alone or person[:1])
