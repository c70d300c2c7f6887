"""How does a command look at a lake without running a step? The options they share, and a job that writes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime

import click

from cdp_spark.job import Job

OPTIONS = [
    click.option("--lake", "root", required=True, help="root of the tables"),
    click.option("--conf", "conf_dir", help="the deployment (default: the shipped conf/)"),
    click.option("--env", default="local", show_default=True, help="a name in conf/env"),
    click.option("--date", "text", help="as of the end of this day, YYYY-MM-DD (default: today)"),
    click.option("--json", "as_json", is_flag=True, help="for programs"),
]


def with_options(command: Callable) -> Callable:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def opened(root: str, conf_dir: str | None, env: str, text: str | None, run_at: datetime | None = None) -> Job:
    """A job on the lake `root` for reading only. Raises ConfError, StorageError where no lake is there, or click's
    BadParameter for a bad date."""
    from cdp_spark import job as jobs
    from cdp_spark.cli import day
    from cdp_spark.config.load import SHIPPED
    from cdp_spark.storage import Storage, StorageError

    when = day(text) if text else datetime.now(UTC).date()
    # Spark's own warehouse would otherwise appear as a folder where the command is called
    quiet = {"spark.sql.warehouse.dir": tempfile.mkdtemp(prefix="cdp-")}
    job = jobs.start(conf_dir or str(SHIPPED), env, when, lake=root, drops=root, run_at=run_at, settings=quiet)
    if not job.lake.catalog and not Storage(job.spark).exists(job.lake.root):
        raise StorageError(f"{job.lake.root}: no lake is there; give --lake the place that `cdp run` filled")
    return job
