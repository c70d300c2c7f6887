"""Do Airflow's DAGs equal the steps, and does a DAG run with a killed task end in the tables of a plain run?"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from datetime import datetime

import pytest

from cdp_spark import jars
from cdp_spark.pipeline import STEPS, UPKEEP, upstream
from cdp_spark.runner import run_steps
from tests.conftest import ROOT
from tests.drops import DAY1, write
from tests.lakes import BIN, contents, environment, job_on

AIRFLOW = ROOT / ".venv-airflow" / "bin"
needs_airflow = pytest.mark.skipif(not (AIRFLOW / "airflow").exists(), reason="no Airflow here: make airflow-env")
DAILY = [step for step in STEPS if step.every == "day"]


def airflow_environment(home, **more: str) -> dict[str, str]:
    return environment(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW_CONN_SPARK_DEFAULT='{"conn_type": "spark", "host": "local[2]"}',
        CDP_RETRY_MINUTES="0",
        **more,
    )


def airflow(home, *command: str, timeout: int = 300, **more: str) -> subprocess.CompletedProcess:
    done = subprocess.run([str(AIRFLOW / command[0]), *command[1:]], env=airflow_environment(home, **more), cwd=ROOT,
                          capture_output=True, text=True, timeout=timeout)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    told = airflow(home, "python", str(ROOT / "tests" / "airflow" / "dags_as_json.py"), str(ROOT / "dags")).stdout
    return json.loads(next(line for line in told.splitlines() if line.startswith("DAGS "))[5:])


@needs_airflow
def test_every_dag_imports_and_runs_once_at_a_time(bag):
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {"cdp_daily", "cdp_weekly", "cdp_backfill"}
    for dag in bag["dags"].values():
        assert dag["runs"] == 1
        assert dag["careful"] == list(dag["tasks"])


@needs_airflow
def test_the_dags_are_the_steps(bag):
    names = {step.name for step in DAILY}
    wanted = {step.name: sorted(set(upstream(step)) & names) for step in DAILY}
    assert bag["dags"]["cdp_daily"]["tasks"] == wanted
    weekly = [step.name for step in (*STEPS, *UPKEEP) if step.every == "week"]
    assert list(bag["dags"]["cdp_weekly"]["tasks"]) == weekly
    assert names | set(weekly) == {step.name for step in (*STEPS, *UPKEEP)}


@needs_airflow
def test_only_the_last_task_lets_the_lake_go_and_publishes(bag):
    daily = bag["dags"]["cdp_daily"]
    assert [name for name, args in daily["args"].items() if "--hold" not in args] == ["publish"]
    assert daily["outlets"] == {"publish": ["cdp_published_run"]}


def test_dags_need_only_the_pipeline_and_airflow():
    own = {path.stem for path in (ROOT / "dags").glob("*.py")}
    for path in (ROOT / "dags").glob("*.py"):
        nodes = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        modules = {getattr(node, "module", None) or node.names[0].name for node in nodes}
        outside = {m for m in modules if m.split(".")[0] in ("cdp_spark", "ml", "jobs", "pyspark")}
        assert outside <= {"cdp_spark.pipeline"}, path
        assert {m for m in modules if m.startswith("cdp_") and "." not in m and m != "cdp_spark"} <= own


@needs_airflow
def test_the_day_comes_from_the_run(tmp_path):
    code = (
        "import sys, datetime as d; sys.path.insert(0, sys.argv[1]); import cdp_dag, jinja2, types;"
        "run = lambda at: types.SimpleNamespace(logical_date=at, run_after=d.datetime(2026, 2, 1, 3));"
        "say = lambda **k: print(jinja2.Template(cdp_dag.DAY).render(macros=d, **k));"
        "say(params={'date': None}, dag_run=run(d.datetime(2026, 1, 30, 3)));"
        "say(params={'date': None}, dag_run=run(None));"
        "say(params={'date': '2026-01-02'}, dag_run=run(None))"
    )
    told = airflow(tmp_path, "python", "-c", code, str(ROOT / "dags")).stdout.split()
    assert told[-3:] == ["2026-01-30", "2026-01-31", "2026-01-02"]


@pytest.mark.parametrize("step", ["profile", "resolve"])
def test_a_job_started_by_its_file_finds_the_standard_library(step):
    """jobs/profile.py must not stand in for the module `profile`."""
    done = subprocess.run([BIN / "python", ROOT / "jobs" / f"{step}.py", "--help"], env=environment(), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    assert "--hold" in done.stdout


def deployment(tmp_path, drops) -> str:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    places = f"lake: {tmp_path}/lake\ndrops: {drops}\nexports: {tmp_path}/lake/_exports\nshuffle_partitions: 1\n"
    (conf / "env" / "airflow.yml").write_text(f"master: null\njars: provided\n{places}")
    return str(conf)


def failing_submit(folder, table: str) -> None:
    """A spark-submit that kills itself half-way through the write of `table`, the first time."""
    folder.mkdir()
    script = folder / "spark-submit"
    kill = f"PYTHONPATH={ROOT}/tests/kill:$PYTHONPATH CDP_TEST_KILL='{table} during' CDP_TEST_KILLED={folder}/killed"
    script.write_text(f'#!/bin/sh\n{kill} exec {BIN}/spark-submit "$@"\n')
    script.chmod(0o755)


@needs_airflow
@pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="ten spark-submits: make test-airflow")
def test_a_dag_run_with_a_killed_task_ends_in_the_tables_of_a_plain_run(spark, tmp_path):
    drops, home = write(tmp_path / "drops"), tmp_path / "airflow"
    home.mkdir()
    plain = job_on(spark, tmp_path / "plain", drops, DAY1)
    run_steps(plain, DAILY)
    failing_submit(tmp_path / "bin", "gold.profiles")
    more = {"CDP_CONF": deployment(tmp_path, drops), "CDP_ENV": "airflow", "CDP_POOL": "default_pool",
            "CDP_SUBMIT_JARS": ",".join(jars.paths(["core"])),
            "PATH": f"{tmp_path}/bin{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    airflow(home, "airflow", "db", "migrate")
    done = airflow(home, "airflow", "dags", "test", "cdp_daily", DAY1, timeout=1800, **more)
    assert (tmp_path / "bin" / "killed").exists(), done.stdout[-2000:]
    assert contents(spark, tmp_path / "lake") == contents(spark, tmp_path / "plain")
    job = job_on(spark, tmp_path / "lake", drops, DAY1)
    row = job.lake.read("governance.runs").first()
    assert row.run_id.startswith("manual__") and row.status == "partial"
    assert any(text.startswith("ingest: ") and "loyalty" in text for text in row.warnings)
    summary = json.loads((tmp_path / "lake" / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == [step.name for step in DAILY]
    assert not (tmp_path / "lake" / "_cdp" / "lock.json").exists()
    assert "example.com" not in done.stdout + done.stderr
    assert row.run_at > datetime(2026, 1, 1)
