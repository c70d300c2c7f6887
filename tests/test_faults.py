"""What is left after a crash, a full disk or two runs at once? After the next run: the tables of an undisturbed run.

Real processes of the real command; what goes wrong in them is in tests/kill and tests/outage. `make test-faults` kills
every write of every step before, during and after its commit, and prints the matrix; `make test` kills one.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from cdp_spark.pipeline import NAMES, STEPS, between
from cdp_spark.runner import run_steps
from tests.conftest import ROOT
from tests.faulty import LONG, OF_INGEST, Shop, landed, noted, plain, shop, tiny, told  # noqa: F401  fixtures
from tests.lakes import contents, environment


def test_a_killed_landing_is_mended_by_the_next(tiny, landed, tmp_path):
    lake = tmp_path / "lake"
    assert tiny.run(lake, "--to", "ingest", wrong="bronze.web during").returncode < 0
    assert json.loads((lake / "_cdp" / "steps" / "ingest.json").read_text())["status"] == "running"
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    assert contents(tiny.spark, lake, OF_INGEST) == landed


@pytest.fixture(scope="module")
def matrix(request):
    """(step, table, moment, exit code) of each killed process; printed at the end."""
    rows = []
    yield rows
    out = request.config.get_terminal_writer()
    out.line(f"\n{'step':<12} {'table':<26} {'moment':<8} ended")
    for step, table, moment, code in rows:
        out.line(f"{step:<12} {table:<26} {moment:<8} {code}")


@pytest.fixture(scope="module")
def disturbed(shop):
    """The lake that every step of the matrix disturbs, and which steps it has behind it."""
    return shop.folder / "disturbed", []


@LONG
@pytest.mark.parametrize("name", NAMES)
def test_every_write_of_every_step_may_be_killed(shop, plain, disturbed, matrix, name):
    """Before the first commit, and during and after each: after one is before the next, between two tables."""
    (lake, done), (commits, after, _) = disturbed, plain
    missing = [step for step in STEPS[: NAMES.index(name)] if step.name not in done]  # where only a part is run
    if missing:
        run_steps(shop.job(lake), missing)
        done += [step.name for step in missing]
    tables = commits[name]
    if not tables:
        pytest.skip(f"{name} has nothing to write here")
    for table, moment in [(tables[0], "before")] + [(t, moment) for t in tables for moment in ("during", "after")]:
        ended = shop.run(lake, "--from", name, "--to", name, wrong=f"{table} {moment}")
        matrix.append((name, table, moment, ended.returncode))
        assert ended.returncode == -9, (table, moment, ended.stderr[-2000:])
    run_steps(shop.job(lake), between(name, name))
    done.append(name)
    assert contents(shop.spark, lake, set(tables)) == after[name]


@LONG
def test_in_the_end_the_disturbed_lake_is_the_undisturbed_one(shop, plain, disturbed):
    lake, done = disturbed
    if done != list(NAMES):
        pytest.skip("only part of the matrix was run")
    assert contents(shop.spark, lake) == plain[2]


@LONG
def test_a_killed_run_publishes_nothing_and_the_next_mends_it_while_a_third_waits(shop, plain, tmp_path):
    lake = tmp_path / "lake"
    assert shop.run(lake, wrong="identity.members during").returncode < 0
    assert shop.published(lake) == 0
    both = [
        subprocess.Popen(shop.command(lake), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    words = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 4], words[0][-1500:] + words[1][-1500:]
    assert any("holds the lake since" in text for text in words)
    assert shop.published(lake) == 1
    assert contents(shop.spark, lake) == plain[2]


@LONG
def test_what_was_made_on_older_results_is_not_published(shop, tmp_path):
    """A run of one step alone, or one that was stopped, leaves tables that do not belong together."""
    told(shop.run(tmp_path / "lake", "--from", "publish"), 3, "ingest has not run")
    assert shop.published(tmp_path / "lake") == 0
