"""What is left after a crash, a full disk or two runs at once? After the next run: the tables of an undisturbed run.

Real processes of the real command; what goes wrong in them is in tests/kill and tests/outage. `make test-faults` kills
every write of every step before, during and after its commit; `make test` kills one. Both print the matrix of what went
wrong, by what each test notes as a `fault`.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from cdp_spark.governance.publish import table_names
from cdp_spark.pipeline import NAMES, STEPS, between
from cdp_spark.runner import run_steps
from tests.conftest import ROOT
from tests.faulty import LONG, OF_INGEST, fault, landed, plain, shop, tiny, told  # noqa: F401  fixtures
from tests.lakes import contents, environment


def test_a_killed_landing_is_mended_by_the_next(tiny, landed, fault, tmp_path):
    lake = tmp_path / "lake"
    ended = tiny.run(lake, "--to", "ingest", wrong="bronze.web during").returncode
    fault("ingest", "kill -9 during bronze.web", ended)
    assert ended == -9
    assert json.loads((lake / "_cdp" / "steps" / "ingest.json").read_text())["status"] == "running"
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    assert contents(tiny.spark, lake, OF_INGEST) == landed


@pytest.fixture(scope="module")
def disturbed(shop):
    """The lake that every step of the matrix disturbs, and which steps it has behind it."""
    return shop.folder / "disturbed", []


@LONG
@pytest.mark.parametrize("name", NAMES)
def test_every_write_of_every_step_may_be_killed(shop, plain, disturbed, fault, name):
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
        fault(name, f"kill -9 {moment} {table}", ended.returncode)
        assert ended.returncode == -9, (table, moment, ended.stderr[-2000:])
        assert shop.published(lake) == 0 or table == "governance.runs", (table, moment)
    run_steps(shop.job(lake), between(name, name))
    done.append(name)
    assert contents(shop.spark, lake, set(tables)) == after[name]
    if name == "publish":
        assert_published_whole(shop.job(lake))


def assert_published_whole(job) -> None:
    """Every published run pins every table as it is, and the audit knows each of these versions."""
    now = {name: job.lake.version(name) for name in table_names(job) if job.lake.exists(name)}
    known = {(row.table_name, row.version) for row in job.lake.read("governance.audit").collect()}
    assert [row.versions for row in job.lake.read("governance.runs").collect() if row.versions != now] == []
    assert set(now.items()) <= known


@LONG
def test_in_the_end_the_disturbed_lake_is_the_undisturbed_one(shop, plain, disturbed):
    lake, done = disturbed
    if done != list(NAMES):
        pytest.skip("only part of the matrix was run")
    assert contents(shop.spark, lake) == plain[2]


@LONG
def test_upkeep_may_be_killed(shop, plain, fault, tmp_path):
    """The step `maintain`, while it orders rows anew: part of no day's run, so no day's run mends it."""
    lake = shutil.copytree(shop.folder / "plain", tmp_path / "lake")
    for moment in ("before", "during", "after"):
        ended = shop.process(shop.maintain(lake), f"silver.events {moment}")
        fault("maintain", f"kill -9 {moment} silver.events", ended.returncode)
        assert ended.returncode == -9, (moment, ended.stderr[-2000:])
        assert contents(shop.spark, lake) == plain[2]
    done = shop.process(shop.maintain(lake))
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(shop.spark, lake) == plain[2]


@LONG
def test_a_killed_run_publishes_nothing_and_the_next_mends_it_while_a_third_waits(shop, plain, fault, tmp_path):
    lake = tmp_path / "lake"
    ended = shop.run(lake, wrong="identity.members during").returncode
    fault("all", "kill -9 during identity.members of a whole run", ended)
    assert ended == -9
    assert shop.published(lake) == 0
    both = [
        subprocess.Popen(shop.command(lake), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    words = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    fault("all", "two runs at once", ", ".join(map(str, codes)))
    assert codes == [0, 4], words[0][-1500:] + words[1][-1500:]
    assert any("holds the lake since" in text for text in words)
    assert shop.published(lake) == 1
    assert_published_whole(shop.job(lake))
    assert contents(shop.spark, lake) == plain[2]


@LONG
def test_what_was_made_on_older_results_is_not_published(shop, tmp_path):
    """A run of one step alone, or one that was stopped, leaves tables that do not belong together."""
    told(shop.run(tmp_path / "lake", "--from", "publish"), 3, "ingest has not run")
    assert shop.published(tmp_path / "lake") == 0
