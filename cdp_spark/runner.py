"""How are steps run? One after another in this process, or one by spark-submit: the same `run(job)` either way."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module

import click
from pyspark.errors import PySparkException

from cdp_spark import job as jobs
from cdp_spark.cli import day
from cdp_spark.job import Job
from cdp_spark.pipeline import Step, between
from cdp_spark.storage import Storage

OPTIONS = [
    click.option("--conf", "conf_dir", required=True, help="the deployment: a folder like the shipped conf/"),
    click.option("--env", default="local", show_default=True, help="a name in conf/env"),
    click.option("--lake", help="root of the tables (default: the environment's)"),
    click.option("--drops", help="root of the drops (default: the environment's)"),
    click.option("--exports", help="root of the deliveries (default: the environment's, else inside the lake)"),
    click.option("--date", "text", required=True, help="the day whose drops are landed, YYYY-MM-DD"),
]


class RunError(Exception):
    """A run cannot go on; `exit_code` says why: 2 wrong use or configuration, 3 a step failed, 4 another run is on."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def with_options(command: Callable) -> Callable:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@contextmanager
def lock(job: Job) -> Iterator[None]:
    """One run at a time on a lake. Raises RunError that names the holder; an old one (lock_hours) is taken over."""
    storage, uri = Storage(job.spark), f"{job.lake.root}/_cdp/lock.json"
    mine = {"run_id": job.run_id, "host": socket.gethostname(), "pid": os.getpid(), "since": job.run_at.isoformat()}
    if not storage.create(uri, json.dumps(mine)):
        held = json.loads(storage.read(uri))
        if not _abandoned(held, job):
            raise RunError(
                f"run {held['run_id']} holds the lake since {held['since']} (host {held['host']}, pid {held['pid']}); "
                f"wait for it, or remove {uri} if you know that it has died",
                4,
            )
        job.log(f"taking over the lock of run {held['run_id']}, which has died")
        storage.write(uri, json.dumps(mine))
    try:
        yield
    finally:
        storage.delete(uri)


def _abandoned(held: dict, job: Job) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(held["since"])
    if age > timedelta(hours=job.conf.base.lock_hours):
        return True
    if held["host"] != socket.gethostname():
        return False
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return held["pid"] == os.getpid()


def run_steps(job: Job, steps: list[Step]) -> list[dict]:
    """Run `steps` in order under the lake's lock; seconds and rows of each. Raises RunError where one fails."""
    done = []
    with lock(job):
        for number, step in enumerate(steps, 1):
            here = job.step(step.name)
            here.log(f"[{number}/{len(steps)}] {step.about}")
            seconds = _run_one(here, step)
            rows = {name: written.rows for name, written in here.lake.writes.items()}
            done.append({"name": step.name, "seconds": round(seconds, 1), "rows": rows})
            here.log(f"done in {seconds:.1f} s")
    return done


def _run_one(job: Job, step: Step) -> float:
    run = import_module(f"jobs.{step.name}").run
    try:
        return jobs.timed(run, job)
    except Exception as error:
        if type(error).__module__.startswith(("cdp_spark", "ml", "jobs")):
            raise RunError(f"step {step.name} failed: {error}", 3) from None
        if isinstance(error, PySparkException) and not os.environ.get("CDP_TRACE"):
            # Spark's words may hold a row's values or a whole plan: they are shown only to who asks for them
            raise RunError(
                f"step {step.name} failed in Spark ({type(error).__name__}, {error.getCondition() or 'no condition'}); "
                "what was published before stays in force. CDP_TRACE=1 shows the whole trace",
                3,
            ) from None
        raise


def run_command_body(steps: list[Step], conf_dir, env, lake, drops, exports, text) -> Job:
    job = jobs.start(conf_dir, env, day(text), lake=lake, drops=drops, exports=exports)
    done = run_steps(job, steps)
    from cdp_spark.summary import print_summary, summary

    found = summary(job, done)
    Storage(job.spark).write(f"{job.lake.root}/summary.json", json.dumps(found, indent=1, default=str))
    print_summary(found)
    return job


@click.command("run")
@with_options
@click.option("--from", "first", help="first step (default: ingest)")
@click.option("--to", "last", help="last step (default: publish)")
def run_command(conf_dir, env, lake, drops, exports, text, first, last) -> None:
    """Run the steps of one day on a deployment, in this process."""
    try:
        steps = between(first, last)
        run_command_body(steps, conf_dir, env, lake, drops, exports, text)
    except ValueError as error:
        raise RunError(str(error), 2) from None


def main(run: Callable[[Job], None]) -> None:
    """Start one job under spark-submit: `spark-submit jobs/<step>.py --conf DIR --env NAME --date D ...`."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]

    @click.command(name)
    @with_options
    def command(conf_dir, env, lake, drops, exports, text) -> None:
        job = jobs.start(conf_dir, env, day(text), lake=lake, drops=drops, exports=exports)
        run_steps(job, between(name, name))

    from cdp_spark.config.load import ConfError

    try:
        command()
    except (RunError, ConfError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))
