"""What has come since the last look, and whose is it? The steps of a day again and again, for what is new alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

import click

from cdp_spark import job as jobs
from cdp_spark.cli import day
from cdp_spark.config.source import Source
from cdp_spark.job import Job
from cdp_spark.lock import RunError
from cdp_spark.marks import marks
from cdp_spark.pipeline import Step, between
from cdp_spark.ranges import refuse_broken_off
from cdp_spark.runner import ACCEPT, PLACES, refuse_older, run_steps, with_options
from cdp_spark.say import say
from cdp_spark.storage import Storage, StorageError

FAILED, BUSY = 3, 4  # exit codes after which another look may go well
ALWAYS = "jdbc"  # a database tells nobody that it has new rows: it is asked at each look


def seen(job: Job) -> dict[str, list]:
    """Source -> its files of the job's day with size and time; [] where there is none."""
    storage = Storage(job.spark)
    return {name: _files(storage, job, source) for name, source in job.conf.sources.items()}


def _files(storage: Storage, job: Job, source: Source) -> list:
    if source.jdbc:
        return [ALWAYS]
    uri = f"{job.drops}/{source.path.replace('{date}', str(job.date))}"
    return [list(stamp) for stamp in storage.stamps(f"{uri}/_delta_log/*" if source.format == "delta" else uri)]


def new_sources(known: dict | None, now: dict[str, list]) -> tuple[str, ...]:
    """Names of the sources whose files differ from those known, and of the databases."""
    known = known or {}
    return tuple(name for name, files in now.items() if files != known.get(name, []) or ALWAYS in files)


def look(job: Job, steps: Sequence[Step], accept: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Run `steps` for the sources that have something new since the last look; their names, () where none has.

    None: everything was made anew, as on the first look of a day, or after another run came in between. The result
    is that of one run over all files: bronze is replaced a source and day, and identity recomputes what is touched.
    """
    storage, uri = Storage(job.spark), f"{job.lake.root}/_cdp/watch.json"
    state, now = json.loads(storage.read(uri)) if storage.exists(uri) else {}, seen(job)
    mine = state.get("date") == str(job.date) and state.get("token") == _token(job, steps)
    only = new_sources(state["files"], now) if mine else None
    if only == ():
        return ()
    run_steps(replace(job, only=only), list(steps), accept=accept)
    storage.write(uri, json.dumps({"date": str(job.date), "token": _token(job, steps), "files": now}))
    return only


def _token(job: Job, steps: Sequence[Step]) -> str | None:
    return marks(job).get(steps[-1].name, {}).get("token")


def told(only: tuple[str, ...] | None, seconds: float) -> str:
    if only == ():
        return "nothing new"
    return f"{'all sources' if only is None else ', '.join(only)} landed and resolved in {seconds:.0f} s"


@click.command("watch")
@partial(with_options, options=PLACES)
@click.option("--date", "text", help="the day whose drops are watched (default: today, UTC)")
@click.option("--every", "minutes", default=10.0, show_default=True, type=click.FloatRange(min=0), help="minutes")
@click.option("--to", "last", default="resolve", show_default=True, help="last step of a look")
@click.option("--once", is_flag=True, help="look once, for a scheduler")
@click.option("--give-up", "most", default=6, show_default=True, type=click.IntRange(min=1),
              help="failed looks in a row that end the watch")  # fmt: skip
@ACCEPT
def watch(conf_dir, env, lake, drops, exports, text, minutes, last, once, most, accept) -> None:
    """Near real time: land and resolve what is new in the day's drops, every few minutes, until it is stopped."""
    try:
        steps = between(None, last)
    except ValueError as error:
        raise RunError(str(error), 2) from None
    start = partial(jobs.start, conf_dir, env, lake=lake, drops=drops, exports=exports)
    fixed, failed = day(text) if text else None, 0
    while True:
        begin = time.monotonic()
        try:
            _look_once(start, fixed or datetime.now(UTC).date(), steps, accept)
            failed = 0
        except (RunError, StorageError) as error:
            failed = failed + (error.exit_code != BUSY)
            if once or error.exit_code not in (BUSY, FAILED) or failed >= most:
                raise
            say(f"{error}; the next look is in {pause(minutes, failed):g} minutes", "warning")
        if once:
            return
        time.sleep(max(0.0, 60 * pause(minutes, failed) - (time.monotonic() - begin)))


def _look_once(start: Callable[..., Job], today: date, steps: Sequence[Step], accept: tuple[str, ...]) -> None:
    begin, job = time.monotonic(), start(today)
    refuse_older(job, today)
    refuse_broken_off(job, [today], steps)
    job.log(told(look(job, steps, accept), time.monotonic() - begin))


def pause(minutes: float, failed: int) -> float:
    """Minutes to the next look: after each failed look in a row twice as long, up to an hour or the usual pause."""
    return min(minutes * 2**failed, max(60.0, minutes))
