"""Small deployments whose processes may be killed, and what their undisturbed runs leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from cdp_spark.demo.retailer import generate
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.pipeline import STEPS, between
from cdp_spark.runner import run_steps
from tests.conftest import ROOT, TINY
from tests.drops import DAY1, write
from tests.lakes import BIN, contents, environment, job_on

LONG = pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="many real processes: make test-faults")

OF_INGEST = ("bronze.crm", "bronze.web", "bronze.orders", "bronze._quarantine", "bronze._reconciliation")


@pytest.fixture
def fault(record_property):
    """fault(step, what goes wrong, exit code of the process): a row of the matrix that tests/conftest.py prints."""
    return lambda step, wrong, code: record_property("fault", [step, wrong, "killed" if code == -9 else f"{code}"])


class Shop:
    """A small deployment with its drops, quick to run: `job` in this session, `run` as a process that may go wrong."""

    def __init__(self, folder: Path, spark):
        self.spark, self.folder, self.day = spark, folder, DAY1
        self.conf = shutil.copytree(ROOT / "conf", folder / "conf")
        for path in (self.conf / "audiences").glob("*.yml"):
            path.write_text(re.sub("min_size: .*", "min_size: 1", path.read_text()))
        self.environment("local", "")

    def environment(self, name: str, text: str) -> str:
        settings = json.dumps(TINY)
        head = f"master: local[2]\ndriver_memory: 1500m\nshuffle_partitions: 1\nsettings: {settings}\n"
        (self.conf / "env" / f"{name}.yml").write_text(head + text)
        return name

    def job(self, lake) -> Job:
        return job_on(self.spark, lake, self.folder / "drops", self.day, conf_dir=str(self.conf))

    def command(self, lake, *more: str, env: str = "local") -> list[str]:
        places = ["--conf", str(self.conf), "--env", env, "--date", str(self.day)]
        places += ["--lake", str(lake), "--drops", str(self.folder / "drops")] if env == "local" else []
        return [str(BIN / "cdp"), "run", *places, *more]

    def maintain(self, lake) -> list[str]:
        """The command of the step that is part of no day's run."""
        places = ["--conf", str(self.conf), "--date", "published", "--lake", str(lake), "--drops", str(lake)]
        return [str(BIN / "python"), str(ROOT / "jobs" / "maintain.py"), *places]

    def run(self, lake, *more: str, wrong: str = "", env: str = "local", **own: str) -> subprocess.CompletedProcess:
        """The command in a process of its own; `wrong`: CDP_TEST_KILL. Its words must hold no one's address."""
        return self.process(self.command(lake, *more, env=env), wrong, **own)

    def process(self, command: list[str], wrong: str = "", **own: str) -> subprocess.CompletedProcess:
        killed = self.folder / "killed"
        killed.unlink(missing_ok=True)
        own |= {"PYTHONPATH": f"{ROOT}/tests/kill:{ROOT}", "CDP_TEST_KILLED": str(killed)}
        own |= {"CDP_TEST_KILL": wrong} if wrong else {}
        done = subprocess.run(command, env=environment(**own), cwd=ROOT, capture_output=True, text=True)
        assert not re.search(r"@example\.|not-to-be-shown", done.stdout + done.stderr)
        return done

    def published(self, lake) -> int:
        return self.job(lake).lake.read("governance.runs").count()


def told(done: subprocess.CompletedProcess, code: int, words: str) -> None:
    """The process ended with `code` and said `words` instead of showing a trace."""
    assert done.returncode == code, done.stderr[-3000:]
    assert re.search(words, done.stderr) and "Traceback" not in done.stderr, done.stderr[-3000:]


@pytest.fixture(scope="module")
def tiny(spark, tmp_path_factory):
    """Two days of a handful of people, for what needs no more than a landing."""
    shop = Shop(tmp_path_factory.mktemp("tiny"), spark)
    write(shop.folder / "drops")
    return shop


@pytest.fixture(scope="module")
def landed(tiny):
    """Contents of what an undisturbed landing leaves."""
    lake = tiny.folder / "plain"
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    return contents(tiny.spark, lake, OF_INGEST)


@pytest.fixture(scope="module")
def shop(spark, tmp_path_factory):
    """Sixty people of the generated retailer: enough for models, members and deliveries."""
    shop = Shop(tmp_path_factory.mktemp("shop"), spark)
    shop.day = date(2026, 1, 30)
    generate(shop.folder, 60, 1, 7, shop.day)
    return shop


@pytest.fixture(scope="module")
def plain(shop):
    """(commits of each step in their order, its tables after it, all tables in the end) of an undisturbed run."""
    lake, commits, after = shop.folder / "plain", {}, {}
    job = shop.job(lake)
    for step in STEPS:
        with noted() as commits[step.name]:
            run_steps(job, [step])
        after[step.name] = contents(shop.spark, lake, set(commits[step.name]))
    return commits, after, contents(shop.spark, lake)


class noted:
    """While it lasts, the names of the tables that are committed to, in their order, each once."""

    def __enter__(self) -> list[str]:
        self.before, names = (Lake._save, Lake._add_missing), []

        def noting(commit: Callable) -> Callable:
            def run(lake, name, *rest, **more):
                if name not in names:
                    names.append(name)
                return commit(lake, name, *rest, **more)

            return run

        Lake._save, Lake._add_missing = (noting(commit) for commit in self.before)
        return names

    def __exit__(self, *_) -> None:
        Lake._save, Lake._add_missing = self.before
