"""Who may write to a lake now? One run at a time, in one process or, held from step to step, in several."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from py4j.protocol import Py4JError

from cdp_spark.job import Job
from cdp_spark.marks import born, marks, process
from cdp_spark.pipeline import Step
from cdp_spark.storage import Storage, StorageError

MINE: set[str] = set()  # tokens of the locks that this process has taken: that its pid is alive says nothing about them


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
    storage, uri = Storage(job.spark), place(job)
    mine = {"run_id": job.run_id, "hold": hold} | process()
    mine |= {"since": datetime.now(UTC).isoformat(), "token": uuid.uuid4().hex}
    MINE.add(mine["token"])
    try:
        _acquire(job, storage, uri, json.dumps(mine))
        try:
            yield
        finally:
            if not hold:
                _release(job, storage, uri)
    finally:
        MINE.discard(mine["token"])


def place(job: Job) -> str:
    return f"{job.lake.root}/_cdp/lock.json"


def held(storage: Storage, uri: str) -> dict | None:
    """What the lock at `uri` says; {} where it cannot be read, None where there is none."""
    text = _read(storage, uri)
    return None if text is None else _parsed(text)


def _read(storage: Storage, uri: str) -> str | None:
    try:
        return storage.read(uri)
    except (FileNotFoundError, StorageError):
        if storage.exists(uri):
            raise
        return None  # let go between the look and the reading


def _parsed(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"run_id", "host", "pid", "since"} <= found.keys() else {}


def _acquire(job: Job, storage: Storage, uri: str, mine: str) -> None:
    """Put `mine` at `uri`, or find the same run's held lock there. Raises RunError where another run has it."""
    while not storage.create(uri, mine):
        if (text := _read(storage, uri)) is None:
            continue
        found = _parsed(text)
        if found.get("hold") and found["run_id"] == job.run_id:
            return
        _refuse(job, storage, uri, found)
        told = f"of run {found['run_id']}" if found else f"{uri}, which cannot be read (a full disk leaves such)"
        job.log(f"taking over the lock {told}: who made it has died")
        _take_over(job, storage, uri, text, mine)
        break
    if _read(storage, uri) != mine:  # a store that does not create exclusively let two in
        raise _lost(uri)


def _lost(uri: str) -> RunError:
    return RunError(f"another run took the lock {uri} at the same moment; wait for it, or run again", 4)


def _refuse(job: Job, storage: Storage, uri: str, found: dict) -> None:
    """Raises RunError where the lock that says `found` is not that of a dead run."""
    minutes = job.conf.base.lock_idle_minutes
    if not found:
        stamps = storage.stamps(uri)
        made = datetime.fromtimestamp(stamps[0][2] / 1000, UTC) if stamps else datetime.now(UTC)
        if datetime.now(UTC) - made <= timedelta(minutes=minutes):
            raise RunError(
                f"the lock {uri} cannot be read: it is being written, or a full disk has cut it short. It is dead "
                f"{minutes} minutes (lock_idle_minutes) after it was made; remove it if you know that no run is on",
                4,
            )
    elif not _abandoned(found, job):
        raise RunError(
            f"run {found['run_id']} holds the lake since {found['since']} (host {found['host']}, pid {found['pid']}); "
            f"wait for it, or give the lake back if you know that it has died: "
            f"cdp unlock --run-id {found['run_id']} --conf {job.conf_dir} --lake {job.lake.root}",
            4,
        )


def _take_over(job: Job, storage: Storage, uri: str, text: str, mine: str) -> None:
    """Replace the dead lock `text` by `mine`. Raises RunError where another run does so: one claim a lock is made.

    A claim is a file named after the very lock it is about, and goes when that lock is replaced: who read the dead
    lock before and claims it afterwards finds another one in its place.
    """
    claims: list[str] = []
    if not _claimed(job, storage, uri, text, mine, claims):
        raise _lost(uri)
    try:
        if _read(storage, uri) != text:
            claims = claims[-1:]
            raise _lost(uri)
        storage.write(uri, mine)
    finally:
        for claim in claims:
            storage.delete(claim)


def _claimed(job: Job, storage: Storage, uri: str, text: str, mine: str, claims: list[str]) -> bool:
    """Claim what holds `text`, or the claim of one who has died over it; `claims` gets the names of all of them."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    claims.append(f"{uri.removesuffix('.json')}-claim-{name}.json")
    if storage.create(claims[-1], mine):
        return True
    there = _read(storage, claims[-1])
    return bool(there) and _over(_parsed(there), job) and _claimed(job, storage, uri, there, mine, claims)


def _release(job: Job, storage: Storage, uri: str) -> None:
    """Remove the lock; where the store or Spark is away by now, say so and let the run's own failure be told."""
    try:
        if (held(storage, uri) or {}).get("run_id") == job.run_id:  # not that of a run that took it over
            storage.delete(uri)
    except (StorageError, OSError, Py4JError):
        job.log(f"{uri} could not be removed: the next run on this machine takes it over, one elsewhere names it")


def unlock(job: Job, run_id: str) -> str:
    """Give the lake back for run `run_id`, of which no process is left; what was done, in words.

    Raises RunError where a process of that run is still at work on this machine.
    """
    storage, uri = Storage(job.spark), place(job)
    found = held(storage, uri)
    if not found or found["run_id"] != run_id:
        return f"nothing to do: {'run ' + found['run_id'] if found else 'no run'} holds the lake"
    busy = [mark for mark in marks(job).values() if mark["run_id"] == run_id and mark["status"] == "running"]
    if alive := [mark["step"] for mark in busy if dead(mark) is False]:
        raise RunError(f"run {run_id} is still at work on this machine ({', '.join(sorted(alive))})", 4)
    storage.delete(uri)
    return f"run {run_id} has given the lake back"


def refuse_twice(job: Job, step: Step) -> None:
    """Raises RunError where a process of the same run is at `step`: a scheduler may give up a task that lives on."""
    mark = marks(job).get(step.name, {})
    if mark.get("run_id") == job.run_id and mark["status"] == "running" and dead(mark) is False:
        raise RunError(
            f"step {step.name} of run {job.run_id} is still at work in process {mark['pid']} of this machine, begun by "
            "a try that was given up: wait for it, or end it, and run the step again",
            4,
        )


def _abandoned(found: dict, job: Job) -> bool:
    return _idle(found, job) if found.get("hold") else _over(found, job)


def _over(found: dict, job: Job) -> bool:
    """Has the process that wrote `found` ended, or begun too long ago? False for words that cannot be read."""
    if not found or found.get("token") in MINE:
        return False
    return _age(found["since"]) > timedelta(hours=job.conf.base.lock_hours) or dead(found) is True


def _idle(found: dict, job: Job) -> bool:
    """Has none of the processes of a run that holds its lock from step to step done anything for long?"""
    mine = [mark for mark in marks(job).values() if mark["run_id"] == found["run_id"]]
    running = [mark for mark in mine if mark["status"] == "running" and dead(mark) is not True]
    if running:
        return all(_age(mark["at"]) > timedelta(hours=job.conf.base.lock_hours) for mark in running)
    last = max([found["since"], *(mark["at"] for mark in mine)])
    return _age(last) > timedelta(minutes=job.conf.base.lock_idle_minutes)


def _age(moment: str) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(moment)


def dead(process: dict) -> bool | None:
    """True where the process {host, pid, born} is known to have ended, None where it ran on another machine.

    A pid is given again, soon in a container that was started anew: `born` tells whether it is the same process.
    """
    if process["host"] != socket.gethostname():
        return None
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    now = born(process["pid"])
    return process["pid"] == os.getpid() or bool(now and process.get("born") and process["born"] != now)
