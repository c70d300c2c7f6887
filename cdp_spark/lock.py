"""Who may write to a lake now? One run at a time, in one process or, held from step to step, in several."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from py4j.protocol import Py4JError

from cdp_spark.job import Job
from cdp_spark.marks import marks
from cdp_spark.storage import Storage, StorageError


class RunError(Exception):
    """A run cannot go on. `exit_code`: 2 wrong use or configuration, 3 a step failed, 4 another run is on, 5 a gate."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def lock(job: Job, hold: bool = False) -> Iterator[None]:
    """One run at a time on a lake. `hold` keeps the lock afterwards, for the run's next process (same run id).

    Raises RunError that names the holder. A lock is taken over where its process has died, where a held one was idle
    for lock_idle_minutes, or where it is older than lock_hours.
    """
    storage, uri = Storage(job.spark), f"{job.lake.root}/_cdp/lock.json"
    mine = {"run_id": job.run_id, "host": socket.gethostname(), "pid": os.getpid(), "hold": hold}
    mine["since"] = datetime.now(UTC).isoformat()
    if not storage.create(uri, json.dumps(mine)):
        held = json.loads(storage.read(uri))
        if not (held["run_id"] == job.run_id and held.get("hold")):
            _take_over(job, storage, uri, held, mine)
    try:
        yield
    finally:
        if not hold:
            _release(job, storage, uri)


def _release(job: Job, storage: Storage, uri: str) -> None:
    """Remove the lock; where the store or Spark is away by now, say so and let the run's own failure be told."""
    try:
        storage.delete(uri)
    except (StorageError, OSError, Py4JError):
        job.log(f"{uri} could not be removed: the next run on this machine takes it over, one elsewhere names it")


def _take_over(job: Job, storage: Storage, uri: str, held: dict, mine: dict) -> None:
    if not _abandoned(held, job):
        raise RunError(
            f"run {held['run_id']} holds the lake since {held['since']} (host {held['host']}, pid {held['pid']}); "
            f"wait for it, or remove {uri} if you know that it has died",
            4,
        )
    job.log(f"taking over the lock of run {held['run_id']}, which has died")
    storage.write(uri, json.dumps(mine))


def _abandoned(held: dict, job: Job) -> bool:
    if held.get("hold"):
        return _idle(held, job)
    return _age(held["since"]) > timedelta(hours=job.conf.base.lock_hours) or dead(held) is True


def _idle(held: dict, job: Job) -> bool:
    """Has none of the processes of a run that holds its lock from step to step done anything for long?"""
    mine = [mark for mark in marks(job).values() if mark["run_id"] == held["run_id"]]
    running = [mark for mark in mine if mark["status"] == "running" and dead(mark) is not True]
    if running:
        return all(_age(mark["at"]) > timedelta(hours=job.conf.base.lock_hours) for mark in running)
    last = max([held["since"], *(mark["at"] for mark in mine)])
    return _age(last) > timedelta(minutes=job.conf.base.lock_idle_minutes)


def _age(moment: str) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(moment)


def dead(process: dict) -> bool | None:
    """True where the process {host, pid} is known to have ended, None where it ran on another machine."""
    if process["host"] != socket.gethostname():
        return None
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return process["pid"] == os.getpid()
