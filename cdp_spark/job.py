"""What does a job get, and how does it start? One `run(job)` behind the CLI, spark-submit and Airflow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

from cdp_spark import session
from cdp_spark.config.load import load
from cdp_spark.config.models import Conf
from cdp_spark.lake import Lake, Written
from cdp_spark.say import say
from cdp_spark.storage import Storage, StorageError


class PlaceError(ValueError):
    """A place that the run needs is not named."""

    exit_code = 2


@dataclass(frozen=True)
class Job:
    """Everything a step may use. `as_of` bounds data, `run_at` judges permission; no step reads a clock."""

    spark: SparkSession
    lake: Lake
    conf: Conf
    conf_dir: str
    env: str
    date: date
    run_at: datetime
    run_id: str
    drops: str
    exports: str
    warnings: list[str] = field(default_factory=list)
    only: tuple[str, ...] | None = None  # the sources to land anew; None: all
    accepted: bool = False  # somebody looks, or has looked, at what changed rules do to people

    @property
    def as_of(self) -> date:
        """The midnight (UTC) that ends the run's day: what happened or became known later is not seen."""
        return self.date + timedelta(days=1)

    @property
    def mlflow_uri(self) -> str:
        """Where models are tracked: the environment's, else a SQLite file beside the lake's tables."""
        return mlflow_place(self.conf, self.env, self.lake.root)[0]

    @property
    def mlflow_artifacts(self) -> str:
        return mlflow_place(self.conf, self.env, self.lake.root)[1]

    def log(self, message: str) -> None:
        """One line of progress, never a row's values; a JSON object where the environment says CDP_LOG=json."""
        now, warning = datetime.now(UTC), message.startswith("WARNING ")
        about = {"run_id": self.run_id, "date": str(self.date), "step": self.lake.step}
        text = f"{now:%H:%M:%S} {self.lake.step:<12} {message}"
        say(message.removeprefix("WARNING "), "warning" if warning else "info", text, now, **about)

    def warn(self, message: str) -> None:
        """A line of progress that also ends in the run's row and summary."""
        self.warnings.append(f"{self.lake.step}: {message}")
        self.log(f"WARNING {message}")

    def step(self, name: str) -> Job:
        """The same job for another step, with an account of its own for reads and writes."""
        lake = replace(self.lake, step=name, reads={}, writes={})
        return replace(self, lake=lake)


def mlflow_place(conf: Conf, env: str, lake: str) -> tuple[str, str]:
    """(tracking address, root of artefacts) of a deployment. Raises PlaceError where a remote lake names no address."""
    artifacts = conf.env.mlflow_artifacts or f"{lake}/_mlflow/artifacts"
    if conf.env.mlflow_uri:
        return conf.env.mlflow_uri, artifacts
    if "://" in lake:
        raise PlaceError(f"env {env}: mlflow_uri is needed, as the lake is not on a local disk")
    return f"sqlite:///{lake}/_mlflow/mlflow.db", artifacts


def needs_s3(conf: Conf, *uris: str | None) -> bool:
    places = (*uris, conf.env.lake, conf.env.drops, conf.env.exports)
    return any((uri or "").startswith(("s3a://", "s3://")) for uri in places)


def needs_jdbc(conf: Conf) -> bool:
    return any(source.jdbc for source in conf.sources.values())


def start(
    conf_dir: str,
    env: str,
    day: date,
    *,
    lake: str | None = None,
    drops: str | None = None,
    exports: str | None = None,
    run_at: datetime | None = None,
    run_id: str | None = None,
    settings: dict[str, str] | None = None,
    on_write: Callable[[str, Written], None] | None = None,
) -> Job:
    """A job on the deployment `conf_dir`, its configuration checked before Spark starts.

    Raises ConfError, and StorageError where the lake's place cannot be reached.
    """
    conf = load(conf_dir, env)
    root = place("lake", lake or conf.env.lake)
    spark = session.build(conf.env, s3=needs_s3(conf, root, drops, exports), jdbc=needs_jdbc(conf), settings=settings)
    run_at = run_at or datetime.now(UTC)
    run_id = run_id or f"{run_at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    Storage(spark).exists(root)  # a store that is away is told here, in words of ours, not by whatever reads first
    tables = Lake(spark, root, conf.tables, run_id=run_id, catalog=conf.env.catalog, on_write=on_write)
    return Job(
        spark=spark,
        lake=tables,
        conf=conf,
        conf_dir=conf_dir,
        env=env,
        date=day,
        run_at=run_at,
        run_id=run_id,
        drops=place("drops", drops or conf.env.drops),
        exports=place("exports", exports or conf.env.exports or f"{root}/_exports"),
    )


def place(what: str, uri: str | None) -> str:
    """`uri` with local paths made absolute and s3:// as s3a://. Raises PlaceError where none is given."""
    from pathlib import Path

    if not uri:
        raise PlaceError(f"no place for {what}: give --{what} or set `{what}:` in conf/env/<name>.yml")
    if uri.startswith("s3://"):
        return "s3a://" + uri.removeprefix("s3://").rstrip("/")
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def side_by_side(work: Callable[[Job, str], object], job: Job, names: Iterable[str]) -> list:
    """`work(job, name)` of every name, `env.parallel` at a time; the results, and the warnings, in the names' order.

    Small tables wait for planning and not for executors: two at a time are done in little more than the time of one.
    Each has an account of its own of what it reads, so that a commit names no neighbour's reads.
    """
    names = list(names)
    apart = [replace(job, lake=replace(job.lake, reads=dict(job.lake.reads)), warnings=[]) for _ in names]
    with ThreadPoolExecutor(max_workers=job.conf.env.parallel) as pool:
        # local properties (job group, pool) are this thread's, in a copy for each: Spark writes to them
        started = [
            pool.submit(inheritable_thread_target(job.spark)(work), one, name)
            for one, name in zip(apart, names, strict=True)
        ]
        try:
            return [one.result() for one in started]
        finally:
            pool.shutdown(cancel_futures=True)  # where one has failed, those not yet begun need not begin
            for one in apart:
                job.lake.reads.update(one.lake.reads)
                job.warnings.extend(one.warnings)


@contextmanager
def checkpoints(job: Job) -> Iterator[None]:
    """A place for GraphFrames' rounds while a step runs, whichever step finds components; nothing of it is left."""
    folder = f"{job.lake.root}/_cdp/checkpoints"
    job.spark.sparkContext.setCheckpointDir(folder)
    try:
        yield
    finally:
        try:
            Storage(job.spark).delete(folder)
        except StorageError as error:  # the step's own outcome counts; the next step deletes what is left
            job.log(f"{folder} is left for the next step to delete: {error}")


def timed(run: Callable[[Job], None], job: Job) -> float:
    """Run one step; its seconds."""
    begin = time.monotonic()
    run(job)
    return time.monotonic() - begin
