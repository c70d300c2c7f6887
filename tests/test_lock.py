"""Does one run at a time write to a lake, whoever died before, whatever disk was full and whoever else comes?"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdp_spark import lock as locks
from cdp_spark import storage as stores
from cdp_spark.lock import RunError, lock, refuse_twice, unlock
from cdp_spark.marks import begin
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.storage import Storage, StorageError
from tests.drops import DAY1
from tests.lakes import job_on


@pytest.fixture
def job(spark, tmp_path):
    return job_on(spark, tmp_path / "lake", "", DAY1, run_id="mine")


@pytest.fixture
def place(job) -> Path:
    return Path(locks.place(job))


def dead_process() -> dict:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return {"run_id": "dead", "host": socket.gethostname(), "pid": ended.pid, "since": datetime.now(UTC).isoformat()}


def left(place: Path, text: str, minutes: int = 0) -> None:
    """A file that somebody has left `minutes` ago."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    ago = (datetime.now(UTC) - timedelta(minutes=minutes)).timestamp()
    os.utime(place, (ago, ago))


def test_a_lock_is_there_while_a_run_is_on_and_gone_afterwards(job, place):
    with lock(job):
        assert json.loads(place.read_text())["run_id"] == "mine"
    assert list(place.parent.iterdir()) == []


def test_another_run_of_the_same_process_waits(spark, job, tmp_path):
    other = job_on(spark, tmp_path / "lake", "", DAY1, run_id="other")
    with lock(job), pytest.raises(RunError, match=r"run mine holds.*cdp unlock --run-id mine") as told, lock(other):
        pass
    assert told.value.exit_code == 4


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_lock(job, place, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(stores.os, "fsync", full)
        with pytest.raises(StorageError, match="a disk is full"), lock(job):
            pass
    assert list(place.parent.iterdir()) == []
    with lock(job):
        assert place.exists()


def test_where_no_links_are_a_lock_is_as_exclusive_and_a_full_disk_leaves_none(spark, place, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(stores.os, "link", no_links)
    assert [Storage(spark).create(str(place), text) for text in ("one", "two")] == [True, False]
    assert place.read_text() == "one"
    place.unlink()
    room = iter([None])  # for the file beside it, and no more
    monkeypatch.setattr(stores.os, "fsync", lambda _: next(room, 0) is None or full())
    with pytest.raises(StorageError, match="a disk is full"):
        Storage(spark).create(str(place), "three")
    assert list(place.parent.iterdir()) == []


def test_only_one_of_many_creates_a_file(spark, place, monkeypatch):
    monkeypatch.setattr(Storage, "exists", lambda *_: False)  # all have looked before any has written
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: Storage(spark).create(str(place), f"{n}"), range(8)))
    assert sum(made) == 1 and place.read_text() == str(made.index(True))


@pytest.mark.parametrize("text", ["", '{"run_id": "cut', "[]", '{"run_id": "x"}'])
def test_a_lock_that_cannot_be_read_is_waited_for_and_then_dead(job, place, text):
    left(place, text)
    with pytest.raises(RunError, match="cannot be read.*120 minutes.*remove it") as told, lock(job):
        pass
    assert told.value.exit_code == 4
    left(place, text, minutes=121)
    with lock(job):
        assert json.loads(place.read_text())["run_id"] == "mine"


def test_two_runs_that_see_a_dead_lock_do_not_both_go_on(spark, tmp_path, place, monkeypatch):
    runs = [job_on(spark, tmp_path / "lake", "", DAY1, run_id=name) for name in ("one", "two")]
    left(place, json.dumps(dead_process()))
    both, seen, settled, inside, refused = threading.Barrier(2), threading.local(), threading.Event(), [], []
    read = locks._read

    def together(*asked):
        text = read(*asked)
        if not hasattr(seen, "dead"):
            seen.dead = text
            both.wait(60)
        return text

    def run(job):
        try:
            with lock(job):
                inside.append(job.run_id)
                if len(inside) == 2:
                    settled.set()
                settled.wait(60)
        except RunError as error:
            refused.append(error.exit_code)
            settled.set()

    monkeypatch.setattr(locks, "_read", together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, runs))
    assert (len(inside), refused) == (1, [4])
    assert list(place.parent.iterdir()) == []


def test_who_claims_a_lock_that_was_taken_over_meanwhile_stays_out(job, place, monkeypatch):
    """It read the dead lock, slept, and finds the lock of a run that is well."""
    dead, well = json.dumps(dead_process()), json.dumps(dead_process() | {"run_id": "well", "pid": os.getppid()})
    left(place, well)
    read, looks = locks._read, []

    def late(storage, uri):
        looks.append(uri)
        return dead if len(looks) == 1 else read(storage, uri)

    monkeypatch.setattr(locks, "_read", late)
    with pytest.raises(RunError, match="at the same moment"), lock(job):
        pass
    assert place.read_text() == well and [path.name for path in place.parent.iterdir()] == ["lock.json"]


def test_the_claim_of_one_who_died_over_it_is_claimed_in_turn(spark, job, place):
    left(place, json.dumps(dead_process()))
    claims = []
    locks._claimed(job, Storage(spark), str(place), place.read_text(), json.dumps(dead_process()), claims)
    assert len(claims) == 1 and Path(claims[0]).exists()
    with lock(job):
        assert json.loads(place.read_text())["run_id"] == "mine"
    assert list(place.parent.iterdir()) == []


def test_a_lock_that_was_taken_over_is_not_removed_by_who_had_it(job, place):
    with lock(job):
        place.write_text(json.dumps(dead_process()))
    assert json.loads(place.read_text())["run_id"] == "dead"


def test_a_held_lock_is_given_back_by_its_run_alone(spark, job, tmp_path, place):
    other = job_on(spark, tmp_path / "lake", "", DAY1, run_id="other")
    with lock(job, hold=True):
        pass
    with pytest.raises(RunError, match="run mine holds"), lock(other):
        pass
    assert unlock(other, "other") == "nothing to do: run mine holds the lake"
    assert "given the lake back" in unlock(other, "mine")
    with lock(other):
        assert json.loads(place.read_text())["run_id"] == "other"
    assert unlock(other, "mine") == "nothing to do: no run holds the lake"


def test_a_run_that_is_at_work_does_not_give_the_lake_back(job, place, monkeypatch):
    step = between("profile", "profile")[0]
    with lock(job, hold=True):
        begin(job, step)
    monkeypatch.setattr(locks, "dead", lambda _: False)
    with pytest.raises(RunError, match="still at work on this machine .profile.") as told:
        unlock(job, "mine")
    assert told.value.exit_code == 4 and place.exists()


def test_a_pid_that_was_given_again_is_another_process_and_one_that_nobody_waits_for_has_ended():
    """A container that is started anew has the same host and small pids; without an init nobody takes exit codes."""
    parent = {"host": socket.gethostname(), "pid": os.getppid()}
    assert locks.dead(parent | {"born": locks.born(os.getppid())}) is False
    assert locks.dead(parent | {"born": "1"}) is True
    assert locks.dead(parent) is False  # written before `born` was
    ended = subprocess.Popen(["sleep", "60"])
    of_it = {"host": socket.gethostname(), "pid": ended.pid, "born": locks.born(ended.pid)}
    assert locks.dead(of_it) is False
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays as nobody takes its code
    assert locks.dead(of_it) is True
    ended.wait()


def test_a_step_that_a_given_up_try_is_still_at_is_not_begun_again(job, monkeypatch):
    """Airflow may take a task for lost whose spark-submit goes on: both hold the lock of the same run."""
    step = between("profile", "profile")[0]
    refuse_twice(job, step)
    begin(job, step)
    refuse_twice(job, step)  # of this very process: it has come back to the step
    with monkeypatch.context() as other:
        other.setattr(locks, "dead", lambda _: False)
        with pytest.raises(RunError, match=r"step profile of run mine is still at work in process \d+") as told:
            run_steps(job, [step], hold=True)
        refuse_twice(job, between("resolve", "resolve")[0])
    assert told.value.exit_code == 4
