"""What is a deployment? Models of conf/base.yml and conf/env, and all parts of a conf folder together."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from cdp_spark.config.activation import Audience, Destination, Purpose
from cdp_spark.config.contract import Duration, Strict, Table
from cdp_spark.config.identity import Link
from cdp_spark.config.journeys import Journey, Offer
from cdp_spark.config.source import Feature, Identity, Source, Texts


class S3(Strict):
    """How `s3a://` roots are reached; secrets are environment variables, named here, never written here.

    encryption: what the store is told to encrypt objects with: AES256 (SSE-S3) or aws:kms, with kms_key (an ARN) or the
    account's own key. checksum: SHA256 asks the store to check and keep it; none for stores that know no such header.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = False
    access_key_env: str = "AWS_ACCESS_KEY_ID"
    secret_key_env: str = "AWS_SECRET_ACCESS_KEY"
    attempts: int = Field(5, ge=1)
    timeout_seconds: int = Field(30, ge=1)
    encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key: str | None = None
    checksum: Literal["SHA256", "none"] = "SHA256"

    @model_validator(mode="after")
    def key_has_a_use(self) -> S3:
        if self.kms_key and self.encryption != "aws:kms":
            raise ValueError("kms_key goes with `encryption: aws:kms`, and only with it")
        return self


class Env(Strict):
    """conf/env/<name>.yml: where this deployment runs. The only file that differs between environments."""

    master: str | None = "local[*]"
    drops: str | None = None
    lake: str | None = None
    exports: str | None = None
    catalog: str | None = None
    mlflow_uri: str | None = None
    mlflow_artifacts: str | None = None
    graphframes: str | None = None
    jars: Literal["cache", "provided"] = "cache"
    driver_memory: str = Field("4g", pattern=r"^[1-9][0-9]*[kmgtKMGT][bB]?$", description="4g, 800m")
    shuffle_partitions: int = Field(8, ge=1)
    parallel: int = Field(2, ge=1, le=64, description="sources, or tables, that a step works on at a time")
    settings: dict[str, str] = {}
    endpoints: dict[str, str] = {}
    s3: S3 = S3()


class Gates(Strict):
    """When a step's outcome stops the steps that follow from it. Shares of what the published run had; judged from
    `min_before` people or members on, as in a small beginning everything changes."""

    people_changed_max: float = Field(1.0, ge=0, le=1, description="people merged or split by one run, of those known")
    members_changed_max: float = Field(1.0, ge=0, description="growth or loss of an audience, of its members before")
    min_before: int = Field(1_000, ge=1)
    drift_alarms_max: int | None = Field(None, ge=0, description="alarms of scores and labels in ml.monitoring a day")


class Decision(Strict):
    """Whom to act on by a model's score: the best `capacity` of them, or all for whom p x gain covers the cost."""

    capacity: float | None = Field(None, gt=0, le=1, description="share of the scored people who can be reached")
    cost: float | None = Field(None, gt=0, description="of acting on one person")
    gain: float | None = Field(None, gt=0, description="where the model's label comes true for who was acted on")

    @model_validator(mode="after")
    def one_way(self) -> Decision:
        by_cost = (self.cost is not None, self.gain is not None)
        if (self.capacity is None) == (by_cost == (False, False)) or by_cost in ((True, False), (False, True)):
            raise ValueError("give `capacity`, or `cost` and `gain`")
        if self.cost is not None and self.cost >= self.gain:
            raise ValueError("the gain must be more than the cost, or it is never worth acting")
        return self


class Alerts(Strict):
    """When `cdp health` raises an alert. Volumes are shares of a source's median of `history_days` landings."""

    published_max_days: int = Field(1, ge=0, description="days between today and the newest published day")
    volume_min: float = Field(0.5, ge=0)
    volume_max: float = Field(2.0, ge=1)
    history_days: int = Field(7, ge=1)


class Base(Strict):
    """conf/base.yml: what holds for the whole deployment."""

    name: str
    region: str = Field("GB", pattern="^[A-Z]{2}$", description="country of phone numbers and addresses that name none")
    currency: str = Field("EUR", pattern="^[A-Z]{3}$")
    max_field_chars: int = Field(65_536, ge=1_000)
    future_tolerance: Duration = timedelta(days=1)
    quarantine_days: int = Field(90, ge=1)
    keep_examples_days: int = Field(365, ge=1, description="training sets of models that are out of use")
    keep_versions_days: int = Field(30, ge=7, description="how long a published run's versions can be read")
    lock_hours: int = Field(12, ge=1)
    lock_idle_minutes: int = Field(120, ge=1, description="pause between the steps of a run after which it is dead")
    gates: Gates = Gates()
    alerts: Alerts = Alerts()
    retrain_after_days: int = Field(7, ge=0)
    seed: int = 42
    decisions: dict[str, Decision] = Field({}, description="by model: whom to act on")


class Conf(Strict):
    """A whole deployment: everything a run needs to know besides its dates and addresses."""

    base: Base
    env: Env
    sources: dict[str, Source]
    identity: Identity
    links: tuple[Link, ...] = ()
    tables: dict[str, Table]
    features: dict[str, Feature] = {}
    texts: Texts | None = None
    purposes: dict[str, Purpose] = {}
    audiences: dict[str, Audience] = {}
    destinations: dict[str, Destination] = {}
    offers: dict[str, Offer] = {}
    journeys: dict[str, Journey] = {}
