"""What is left after a crash, a full disk or two runs at once? After the next run: the tables of an undisturbed run.

Real processes of the real command; what goes wrong in them is in tests/kill and tests/outage. `make test-faults` kills
every write of every step before, during and after its commit, and prints the matrix; the suite kills one.
"""

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

from cdp_spark import session
from cdp_spark.config.load import load
from cdp_spark.demo.retailer import generate
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.pipeline import NAMES, STEPS, between
from cdp_spark.runner import run_steps
from tests.cluster.standalone import KEYS, cluster, s3_server, upload
from tests.conftest import ROOT, TINY
from tests.drops import DAY1, write
from tests.lakes import BIN, contents, environment, job_on
from tests.outage import Line

LONG = pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="many real processes: make test-faults")
OF_INGEST = ("bronze.crm", "bronze.web", "bronze.orders", "bronze._quarantine", "bronze._reconciliation")


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

    def run(self, lake, *more: str, wrong: str = "", env: str = "local", **own: str) -> subprocess.CompletedProcess:
        """The command in a process of its own; `wrong`: CDP_TEST_KILL. Its words must hold no one's address."""
        killed = self.folder / "killed"
        killed.unlink(missing_ok=True)
        own |= {"PYTHONPATH": f"{ROOT}/tests/kill:{ROOT}", "CDP_TEST_KILLED": str(killed)}
        own |= {"CDP_TEST_KILL": wrong} if wrong else {}
        done = subprocess.run(self.command(lake, *more, env=env), env=environment(**own), cwd=ROOT,
                              capture_output=True, text=True)  # fmt: skip
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


def test_a_killed_landing_is_mended_by_the_next(tiny, landed, tmp_path):
    lake = tmp_path / "lake"
    assert tiny.run(lake, "--to", "ingest", wrong="bronze.web during").returncode < 0
    assert json.loads((lake / "_cdp" / "steps" / "ingest.json").read_text())["status"] == "running"
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    assert contents(tiny.spark, lake, OF_INGEST) == landed


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


@LONG
def test_a_full_disk(tiny, landed, tmp_path):
    """A real one: a file system of some kilobytes, and room for the next run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("this user may not mount a file system of a given size")
    try:
        told(tiny.run(disk / "lake", "--to", "ingest"), 3, "a disk is full.*spark.local.dir")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        run_steps(tiny.job(disk / "lake"), between("ingest", "ingest"))
        assert contents(tiny.spark, disk / "lake", OF_INGEST) == landed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@LONG
@pytest.mark.parametrize("back_after", [None, 3], ids=["for long", "for a moment"])
def test_an_s3_store_that_goes_away_in_mid_write(tiny, landed, back_after):
    with s3_server("shop") as (endpoint, client):
        upload(client, tiny.folder / "drops", "shop", "drops")
        line = Line(int(endpoint.rsplit(":", 1)[1]), b"PUT /shop/lake/bronze/web/", back_after)
        attempts = 2 if back_after is None else 10
        text = f"""lake: s3://shop/lake
drops: s3://shop/drops
mlflow_uri: sqlite:///unused.db
s3: {{endpoint: "http://127.0.0.1:{line.port}", path_style: true, attempts: {attempts}, timeout_seconds: 5}}
"""
        env = tiny.environment("s3", text)
        done = tiny.run("s3://shop/lake", "--to", "ingest", env=env, **KEYS)
        assert line.cuts == 1
        if back_after is None:
            told(done, 3, "a store did not answer.*s3.endpoint")
            line.mend()
            done = tiny.run("s3://shop/lake", "--to", "ingest", env=env, **KEYS)
        assert done.returncode == 0, done.stderr[-3000:]
        line.close()
        hadoop = tiny.spark._jsc.hadoopConfiguration()
        s3 = load(tiny.conf, env).env.s3.model_copy(update={"endpoint": endpoint})
        keys = {"spark.hadoop.fs.s3a.access.key": "k", "spark.hadoop.fs.s3a.secret.key": "s"}
        for key, value in (session.s3_settings(s3) | keys | {"spark.hadoop.fs.s3a.impl.disable.cache": "true"}).items():
            hadoop.set(key.removeprefix("spark.hadoop."), value)
        assert contents(tiny.spark, "s3a://shop/lake", OF_INGEST) == landed


@LONG
def test_a_worker_lost_during_components(shop, plain, tmp_path):
    """The step fails or goes on without it; either way the next run's tables are the undisturbed ones."""
    lake = tmp_path / "lake"
    run_steps(shop.job(lake), between("ingest", "match"))
    identity = shop.conf / "identity.yml"
    before = identity.read_text()
    identity.write_text(before.replace("engine: auto", "engine: graphframes"))
    (shop.conf / "env" / "standalone.yml").write_text("master: null\njars: provided\nshuffle_partitions: 2\n")
    try:
        with cluster(tmp_path / "cluster") as here:
            victim = here.workers[0].pid
            args = ["--conf", str(shop.conf), "--env", "standalone", "--date", str(shop.day)]
            args += ["--lake", str(lake), "--drops", str(shop.folder / "drops")]
            own = {"PYTHONPATH": f"{ROOT}/tests/kill:{ROOT}", "CDP_TEST_WORKER": str(victim)}
            done = here.submit("jobs/resolve.py", *args, **own)
            assert here.workers[0].wait(30) == -9
        if done.returncode:
            told(done, 3, "a worker was lost")
    finally:
        identity.write_text(before)
    run_steps(shop.job(lake), between("resolve", "resolve"))
    assert contents(shop.spark, lake, set(plain[0]["resolve"])) == plain[1]["resolve"]


@LONG
def test_a_driver_out_of_memory(tiny, landed, tmp_path):
    lake = tmp_path / "lake"
    told(tiny.run(lake, "--to", "ingest", wrong="bronze.web heap"), 3, "memory.*driver_memory")
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    assert contents(tiny.spark, lake, OF_INGEST) == landed


@LONG
def test_a_clock_an_hour_ahead_and_then_an_hour_behind(shop, plain, tmp_path):
    lake = tmp_path / "lake"
    for ahead in ("3600", "-3600"):
        done = shop.run(lake, CDP_TEST_CLOCK=ahead)
        assert done.returncode == 0, done.stderr[-2000:]
    assert shop.published(lake) == 2
    assert not (lake / "_cdp" / "lock.json").exists()
    assert contents(shop.spark, lake) == plain[2]
