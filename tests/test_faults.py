"""What is left after a crash, a full disk or two runs at once? After the next run: the tables of an undisturbed run.

Real processes of the real command, killed by tests/kill. `make test-faults` kills every write of every step before,
during and after its commit, and prints the matrix.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess

import pytest

from cdp_spark.pipeline import STEPS, between
from cdp_spark.runner import run_steps
from tests.conftest import ROOT
from tests.drops import DAY1, write
from tests.lakes import BIN, contents, environment, job_on

LONG = pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="many real processes: make test-faults")
MOMENTS = ("before", "during", "after")


@pytest.fixture(scope="module")
def drops(tmp_path_factory):
    return write(tmp_path_factory.mktemp("drops"))


@pytest.fixture(scope="module")
def plain(spark, drops, tmp_path_factory):
    """Contents of a lake that nothing disturbed."""
    root = tmp_path_factory.mktemp("plain") / "lake"
    run_steps(job_on(spark, root, drops, DAY1), between())
    return contents(spark, root)


def command(lake, drops, *more: str) -> list[str]:
    places = ["--conf", str(ROOT / "conf"), "--lake", str(lake), "--drops", str(drops), "--date", DAY1]
    return [str(BIN / "cdp"), "run", *places, *more]


def cdp(lake, drops, *more: str, kill: str = "", **kwargs) -> subprocess.CompletedProcess:
    own = environment()
    if kill:
        killed = lake.parent / "killed"
        killed.unlink(missing_ok=True)
        own |= {"PYTHONPATH": f"{ROOT}/tests/kill:{ROOT}", "CDP_TEST_KILL": kill, "CDP_TEST_KILLED": str(killed)}
    return subprocess.run(command(lake, drops, *more), env=own, cwd=ROOT, capture_output=True, text=True, **kwargs)


def published(spark, lake) -> int:
    return job_on(spark, lake, "", DAY1).lake.read("governance.runs").count()


@LONG
def test_a_killed_run_publishes_nothing_and_the_next_mends_it_while_a_third_waits(spark, drops, plain, tmp_path):
    lake = tmp_path / "lake"
    assert cdp(lake, drops, kill="identity.members during").returncode < 0
    assert json.loads((lake / "_cdp" / "steps" / "resolve.json").read_text())["status"] == "running"
    assert published(spark, lake) == 0
    both = [
        subprocess.Popen(command(lake, drops), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 4], told[0][-1500:] + told[1][-1500:]
    assert any("holds the lake since" in text for text in told)
    assert published(spark, lake) == 1
    assert contents(spark, lake) == plain


@LONG
def test_what_was_made_on_older_results_is_not_published(spark, drops, tmp_path):
    """A run of one step alone, or one that was stopped, leaves tables that do not belong together."""
    lake = tmp_path / "lake"
    done = cdp(lake, drops, "--from", "publish")
    assert done.returncode == 3 and "ingest has not run" in done.stderr and "Traceback" not in done.stderr
    assert published(spark, lake) == 0


@LONG
def test_every_write_of_every_step_may_be_killed(spark, drops, plain, tmp_path, capsys):
    lake, lines = tmp_path / "lake", []
    for step in STEPS:
        only = ["--from", step.name, "--to", step.name]
        tables = [name for name in step.writes if not name.endswith("*")] + ["bronze.crm"] * (step.name == "ingest")
        for table in tables:
            ended = [cdp(lake, drops, *only, kill=f"{table} {moment}").returncode for moment in MOMENTS]
            lines.append((step.name, table, ended))
        done = cdp(lake, drops, *only)
        assert done.returncode == 0, (step.name, done.stderr[-1500:])
    with capsys.disabled():
        print(f"\n{'step':<12} {'table':<26} {'killed ' + ', '.join(MOMENTS)}")
        for name, table, ended in lines:
            print(f"{name:<12} {table:<26} {', '.join('yes' if code < 0 else 'not written' for code in ended)}")
    assert contents(spark, lake) == plain
    assert published(spark, lake) >= 1
    assert sum(code < 0 for _, _, ended in lines for code in ended) >= len(lines)


@LONG
def test_a_full_disk(spark, drops, plain, tmp_path):
    lake = tmp_path / "lake"

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384))

    done = cdp(lake, drops, preexec_fn=small)
    assert done.returncode != 0 and "example.com" not in done.stderr
    assert published(spark, lake) == 0
    shutil.rmtree(lake / "_mlflow", ignore_errors=True)
    done = cdp(lake, drops)
    assert done.returncode == 0, done.stderr[-1500:]
    assert contents(spark, lake) == plain
