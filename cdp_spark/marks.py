"""Which step ran last, for which day, on whose results? A small file a step beside the tables, read before publishing.

A step may be a process of its own, on another machine than the last one: what the run must know of it lies here.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

from cdp_spark.job import Job
from cdp_spark.pipeline import NAMES, Step, upstream
from cdp_spark.storage import Storage

ACCOUNT = ("name", "seconds", "rows", "task_seconds", "shuffle_bytes", "spill_bytes")


def _uri(job: Job, name: str) -> str:
    return f"{job.lake.root}/_cdp/steps/{name}.json"


def process() -> dict:
    """What tells this process from every other one: host, pid, born."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())}


def born(pid: int) -> str | None:
    """When process `pid` of this machine began, in ticks since the machine did; None where that is not told.

    `ended` for one that has, and whose parent has not asked how: a container without an init keeps such.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if words[0] == "Z" else words[19]


def marks(job: Job) -> dict[str, dict]:
    """Step -> what it left: date, run_id, status (running, done, gate), token, inputs, host, pid, born, at,
    account."""
    storage = Storage(job.spark)
    found = [json.loads(storage.read(uri)) for uri in storage.files(_uri(job, "*"))]
    return {mark["step"]: mark for mark in found}


def begin(job: Job, step: Step) -> dict:
    """Note that `step` runs now and whose results it takes; its mark."""
    known = marks(job)
    mark = {
        "step": step.name,
        "date": str(job.date),
        "run_id": job.run_id,
        "status": "running",
        "token": uuid.uuid4().hex,
        "inputs": {name: known[name]["token"] for name in upstream(step) if name in known},
        **process(),
        "at": datetime.now(UTC).isoformat(),
    }
    Storage(job.spark).write(_uri(job, step.name), json.dumps(mark))
    return mark


def finish(job: Job, mark: dict, account: dict) -> None:
    """Note that the step of `mark` has ended, with its `account` (ACCOUNT), status, warnings."""
    ended = {"at": datetime.now(UTC).isoformat()} | account
    Storage(job.spark).write(_uri(job, mark["step"]), json.dumps(mark | ended))


def unfit(found: dict[str, dict], day: date, steps: Iterable[Step]) -> list[str]:
    """Why the tables do not belong together for `day`: one line a reason, each naming the step to run from; [] is fit.

    A weekly step counts from whenever it ran. Tokens tell the order of steps, as clocks of machines may differ.
    """
    steps, problems = list(steps), []
    weekly = {step.name for step in steps if step.every != "day"}
    for step in steps:
        mark = found.get(step.name)
        if step.name in weekly:
            continue
        if mark is None:
            problems.append(f"{step.name} has not run")
        elif mark["status"] != "done":
            problems.append(f"{step.name} {'was stopped by its gate' if mark['status'] == 'gate' else 'did not end'}")
        elif mark["date"] != str(day):
            problems.append(f"{step.name} last ran for {mark['date']}")
        else:
            before = [name for name in upstream(step) if name not in weekly and name in found]
            problems += [
                f"{step.name} ran before {name} was run again"
                for name in before
                if mark["inputs"].get(name) != found[name]["token"]
            ]
    return problems


def warnings(found: dict[str, dict], day: date) -> list[str]:
    """Every warning of the steps that ran for `day`, of whatever process, in the order of the steps."""
    mine = [found[name] for name in NAMES if name in found and found[name]["date"] == str(day)]
    return [text for mark in mine for text in mark.get("warnings", [])]


def of_run(found: dict[str, dict], run_id: str) -> list[dict]:
    """The account of each step of one run, in the order of the steps."""
    mine = [found[name] for name in NAMES if name in found and found[name]["run_id"] == run_id]
    return [{key: mark.get(key) for key in ACCOUNT} for mark in mine if "seconds" in mark]
