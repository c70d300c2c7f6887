"""How are steps run? One after another in this process, or one by spark-submit: the same `run(job)` either way."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib import import_module

import click
from pyspark.sql import functions as F

from cdp_spark import job as jobs
from cdp_spark import ranges
from cdp_spark.cli import day, told
from cdp_spark.config.load import ConfError
from cdp_spark.cost import Meter
from cdp_spark.failures import failure
from cdp_spark.failures import told as outage
from cdp_spark.governance import gates
from cdp_spark.identity.past import known_on
from cdp_spark.job import Job, PlaceError
from cdp_spark.lock import RunError, lock, refuse_twice
from cdp_spark.marks import begin, finish, marks, of_run
from cdp_spark.pipeline import UPKEEP, Step, between, keeps_back, upstream
from cdp_spark.storage import Storage, StorageError

PLACES = [
    click.option("--conf", "conf_dir", required=True, help="the deployment: a folder like the shipped conf/"),
    click.option("--env", default="local", show_default=True, help="a name in conf/env"),
    click.option("--lake", help="root of the tables (default: the environment's)"),
    click.option("--drops", help="root of the drops (default: the environment's)"),
    click.option("--exports", help="root of the deliveries (default: the environment's, else inside the lake)"),
]
OURS = ("cdp_spark", "ml", "jobs")  # whose errors speak for themselves: others' words may hold a row's values
PUBLISHED = "published"  # a word for a date: the newest day that was published
OPTIONS = [*PLACES, click.option("--date", "text", required=True, help="the day whose drops are landed, YYYY-MM-DD")]
ACCEPT = click.option("--accept", multiple=True, help="a step whose gate may stay open: you have looked at its outcome")


def with_options(command: Callable, options: list | None = None) -> Callable:
    for option in reversed(options or OPTIONS):
        command = option(command)
    return command


def run_steps(
    job: Job, steps: list[Step], *, hold: bool = False, accept: tuple[str, ...] = (), days: Sequence[date] = ()
) -> list[dict]:
    """Run `steps` in order under the lake's lock; the account of each (marks.ACCOUNT).

    A closed gate stops the steps that follow from its step, and no other. Where `deliver` is kept back by one, or by a
    step that failed, who may no longer be addressed is taken out of the destinations all the same. Raises RunError
    where a step fails, or at the end where a gate was closed. hold: the run goes on in another process, so the lock is
    kept. days: all those of the range that the job's date is one of, so that one that is broken off is remembered.
    """
    with lock(job, hold):
        ranges.begin(job, days, steps)
        done = _in_order(job, steps, accept)
        ranges.end(job, steps)
    return done


def _in_order(job: Job, steps: list[Step], accept: tuple[str, ...]) -> list[dict]:
    done, stopped, reasons = [], set(), []
    for number, step in enumerate(steps, 1):
        if stopped & set(upstream(step)):
            stopped.add(step.name)
            continue
        here = replace(job.step(step.name), accepted=job.accepted or "resolve" in accept)
        here.log(f"[{number}/{len(steps)}] {step.about}")
        try:
            account, why = _marked(here, step, accept)
        except RunError as error:
            below = isinstance(error.__cause__, StorageError) or outage(error.__cause__)  # then nothing else would work
            if not below and keeps_back(step, steps):
                _take_back(job)
            raise
        done.append(account)
        if why:
            stopped.add(step.name)
            reasons += why + (_take_back(job, doubted=step.name == "resolve") if keeps_back(step, steps) else [])
    if reasons:
        raise RunError(
            f"gate closed: {'; '.join(reasons)}. Not run: {', '.join(sorted(stopped - {d['name'] for d in done}))}. "
            "If it is as it should be, run again with --accept <step>",
            5,
        )
    return done


def _take_back(job: Job, *, doubted: bool = False) -> list[str]:
    """Take who may no longer be addressed out of every destination; [why that failed], which ends nothing else.

    doubted: who is who today waits for somebody's word; a no is asked of the people of the last published run.
    """
    from cdp_spark.activation.deliver import take_back

    here = job.step("deliver")
    if doubted:
        published = partial(known_on, at=gates.base(job))
        here = replace(here, lake=replace(here.lake, seen={"identity.members": published}))
    here.log("nothing new is delivered; who may no longer be addressed is taken back all the same")
    try:
        take_back(here)
    except Exception as error:
        ours = type(error).__module__.split(".")[0] in OURS
        told = f"who has withdrawn could not be taken back: {error if ours else failure('deliver', error)}"
        here.warn(told)
        return [told]
    return []


def _marked(job: Job, step: Step, accept: tuple[str, ...]) -> tuple[dict, list[str]]:
    """Run one step between its two marks; its account, and why its gate is closed ([]: it is open)."""
    refuse_twice(job, step)
    mark, before, meter = begin(job, step), len(job.warnings), Meter(job.spark)
    seconds = _run_one(job, step)
    rows = {name: written.rows for name, written in job.lake.writes.items()}
    why = [] if step.name in accept else gates.closed(job, step.name)
    account = {"name": step.name, "seconds": round(seconds, 1), "rows": rows} | meter.read()
    status = "gate" if why else "done"
    finish(job, mark, account | {"status": status, "warnings": job.warnings[before:]})
    job.log(f"done in {seconds:.1f} s")
    _forget(job)
    return account, why


def _forget(job: Job) -> None:
    """Give back what the step held in memory: steps hand each other tables and nothing else."""
    job.spark.catalog.clearCache()
    for held in list(job.spark.sparkContext._jsc.getPersistentRDDs().values()):
        held.unpersist()


def _run_one(job: Job, step: Step) -> float:
    run = import_module(f"jobs.{step.name}").run
    try:
        with jobs.checkpoints(job):
            return jobs.timed(run, job)
    except Exception as error:
        if type(error).__module__.split(".")[0] in OURS:
            closed = getattr(error, "exit_code", 3) == 5  # before the step wrote anything
            code = 5 if closed else 2 if isinstance(error, ConfError | PlaceError) else 3
            said = "gate closed:" if closed else "failed:"
            raise RunError(f"step {step.name} {said} {error}", code) from error
        raise RunError(failure(step.name, error), 3) from error


def published_day(job: Job) -> date | None:
    """The newest day that was published; None where none was."""
    return job.lake.read("governance.runs").agg(F.max("date").alias("day")).first()["day"]


def refuse_future(job: Job, last: date) -> None:
    """Raises RunError where `last` is yet to come: a day far ahead, once published, would shut out all before it."""
    if last > job.run_at.date() + timedelta(days=1):
        raise RunError(f"{last} is yet to come: is the year right? A day is run when it is over", 2)


def refuse_older(job: Job, last: date) -> None:
    """Raises RunError where `last`, the last day to be run, is older than a published one.

    Tables of state would go back to that day and be published so: every day after it must be made anew as well.
    """
    newest = published_day(job)
    if newest and last < newest:
        raise RunError(
            f"{newest} is published already: after a run of {last} every day up to it must be made anew. Give "
            f"--from-date {last} --to-date {newest} (Airflow: the DAG cdp_backfill)",
            2,
        )


def refuse_rewind(job: Job, last: date) -> None:
    """Raises RunError where people of a later day than `last`, the last day to be run, are there.

    The step `resolve` would leave the people of `last` as today's and forget what came after, but for its ledger.
    """
    # a run of `cdp identity apply` brings no records of its day: that day, and the one before, may still be run
    rows = job.lake.read("identity.runs").where("NOT coalesce(applied, false)")
    row = rows.agg(F.max("as_of").alias("day")).first()
    newest = row["day"] and row["day"] - timedelta(days=1)  # as_of is the midnight that ends a day
    if newest and last < newest:
        raise RunError(
            f"people of {newest} are there already: a run of {last} would forget what came after it. Give a day from "
            f"{newest} on, make every day anew by `cdp run --from-date {last} --to-date {newest} --to resolve`, or "
            "take another lake",
            2,
        )


def opened(conf_dir, env, lake, drops=None, exports=None) -> Job:
    """A job that only looks: for commands without a date. It stands at today, and needs no drops."""
    return jobs.start(conf_dir, env, datetime.now(UTC).date(), lake=lake, drops=drops or lake or ".", exports=exports)


def finished(job: Job, done: list[dict]) -> None:
    """Leave summary.json in the lake and print the account."""
    from cdp_spark.summary import print_summary, summary

    found = summary(job, done)
    Storage(job.spark).write(f"{job.lake.root}/summary.json", json.dumps(found, indent=1, default=str))
    print_summary(found)


def days(text: str | None, first: str | None, last: str | None) -> list[date]:
    """The days of a run: --date, or --from-date to --to-date. Raises ValueError where they are neither."""
    if text and not (first or last):
        return [day(text)]
    if text or not (first and last):
        raise ValueError("give --date, or --from-date and --to-date")
    begin, end = day(first), day(last)
    if begin > end:
        raise ValueError(f"--from-date {begin} comes after --to-date {end}")
    return [begin + timedelta(days=n) for n in range((end - begin).days + 1)]


@click.command("run")
@partial(with_options, options=PLACES)
@click.option("--date", "text", help="the day whose drops are landed, YYYY-MM-DD")
@click.option("--from-date", help="first of several days, run one after another")
@click.option("--to-date", help="last of several days")
@click.option("--from", "first", help="first step (default: ingest)")
@click.option("--to", "last", help="last step (default: publish)")
@ACCEPT
def run_command(conf_dir, env, lake, drops, exports, text, from_date, to_date, first, last, accept) -> None:
    """Run the steps of a day, or of each day of a range, on a deployment, in this process."""
    try:
        steps, wanted = between(first, last), days(text, from_date, to_date)
    except ValueError as error:
        raise RunError(str(error), 2) from None
    for one in wanted:
        job = jobs.start(conf_dir, env, one, lake=lake, drops=drops, exports=exports)
        refuse_future(job, wanted[-1])
        if ranges.publishes(steps):
            refuse_older(job, wanted[-1])
            ranges.refuse_broken_off(job, wanted, steps)
        if any(step.name == "resolve" for step in steps):
            refuse_rewind(job, wanted[-1])
        finished(job, run_steps(job, steps, accept=accept, days=wanted))


def named(name: str) -> list[Step]:
    """The one step of a job's file, also one that is part of no day's run. Raises ValueError where there is none."""
    return [step for step in UPKEEP if step.name == name] or between(name, name)


def dated(job: Job, text: str) -> Job:
    """The job at the day that `text` names; `published` is the newest one that was published.

    Raises RunError where the day is yet to come, or where nothing was ever published.
    """
    wanted = published_day(job) if text == PUBLISHED else day(text)
    if wanted is None:
        raise RunError("nothing was ever published: run a day first, or give its date", 2)
    job = replace(job, date=wanted)
    refuse_future(job, job.date)
    refuse_older(job, job.date)
    return job


def main(run: Callable[[Job], None]) -> None:
    """Start one job under spark-submit: `spark-submit jobs/<step>.py --conf DIR --env NAME --date D ...`.

    Steps of one run share `--run-id`, and all but the last give `--hold`: no other run comes in between.
    """
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]

    @click.command(name)
    @with_options
    @click.option("--run-id", help="the run that this step belongs to (default: a run of its own)")
    @click.option("--hold", is_flag=True, help="keep the lake's lock for the run's next step")
    @ACCEPT
    def command(conf_dir, env, lake, drops, exports, text, run_id, hold, accept) -> None:
        steps, today = named(name), datetime.now(UTC).date()
        asked = today if text == PUBLISHED else day(text)  # a word that is no date dies before Spark starts
        job = jobs.start(conf_dir, env, asked, lake=lake, drops=drops, exports=exports, run_id=run_id)
        job = dated(job, text)
        if steps[0] not in UPKEEP:
            ranges.refuse_broken_off(job, [job.date], steps)
        if name == "resolve":
            refuse_rewind(job, job.date)
        run_steps(job, steps, hold=hold, accept=accept)
        if name == "publish":
            finished(job, of_run(marks(job), job.run_id))

    try:
        command()
    except Exception as error:
        sys.exit(told(error))
