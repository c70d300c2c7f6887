"""Was a range of days broken off? A small file beside the tables, there until the range's last day is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date

from cdp_spark.job import Job
from cdp_spark.lock import RunError
from cdp_spark.pipeline import NAMES, Step
from cdp_spark.storage import Storage


def _uri(job: Job) -> str:
    return f"{job.lake.root}/_cdp/range.json"


def publishes(steps: Sequence[Step]) -> bool:
    return steps[-1].name == "publish"


def begin(job: Job, days: Sequence[date], steps: Sequence[Step]) -> None:
    """Note, under the lake's lock, which day of a range of several comes now, and up to which it goes."""
    if len(days) > 1 and publishes(steps):
        found = {"next": str(job.date), "to": str(days[-1]), "from_step": steps[0].name}
        Storage(job.spark).write(_uri(job), json.dumps(found))


def end(job: Job, steps: Sequence[Step]) -> None:
    """Forget the range whose last day the job's date is."""
    found = broken_off(job) if publishes(steps) else None
    if found and str(job.date) >= found["to"]:
        Storage(job.spark).delete(_uri(job))


def broken_off(job: Job) -> dict | None:
    """{"next", "to", "from_step"} of a range that was not finished; None where there is none."""
    storage = Storage(job.spark)
    return json.loads(storage.read(_uri(job))) if storage.exists(_uri(job)) else None


def unfinished(found: dict, days: Sequence[date], steps: Sequence[Step]) -> bool:
    """Do `steps` of `days` leave a part of the broken-off range `found` as it is?"""
    whole = NAMES.index(steps[0].name) <= NAMES.index(found["from_step"]) and publishes(steps)
    return not (whole and str(days[0]) <= found["next"] and str(days[-1]) >= found["to"])


def refuse_broken_off(job: Job, days: Sequence[date], steps: Sequence[Step]) -> None:
    """Raises RunError where a range was broken off and this run is not its rest.

    Days that were not made anew would be published with it: what is known of people would have a hole, or be old.
    """
    found = broken_off(job)
    if found and unfinished(found, days, steps):
        first = "" if found["from_step"] == NAMES[0] else f" --from {found['from_step']}"
        raise RunError(
            f"a run of several days was broken off before {found['next']}: finish it first, with --from-date "
            f"{found['next']} --to-date {found['to']}{first} (Airflow: the DAG cdp_backfill), or remove {_uri(job)} "
            "if these days shall stay as they are",
            2,
        )
