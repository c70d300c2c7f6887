"""Do Airflow's DAGs equal the steps, and does a DAG run with a killed task end in the tables of a plain run?"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest

from cdp_spark import jars
from cdp_spark.config.load import load
from cdp_spark.demo.retailer import generate
from cdp_spark.demo.show import START
from cdp_spark.marks import marks, warnings
from cdp_spark.pipeline import STEPS, UPKEEP, upstream
from cdp_spark.runner import run_steps
from tests.airflow import serve
from tests.airflow.local import AIRFLOW, Airflow
from tests.conftest import ROOT
from tests.faulty import fault  # noqa: F401  a fixture
from tests.lakes import BIN, contents, environment, job_on
from tests.postgres import MISSING, execute, postgres
from tests.processes import free_port, kill, until

needs_airflow = pytest.mark.skipif(not (AIRFLOW / "airflow").exists(), reason="no Airflow here: make airflow-env")
DAILY = [step for step in STEPS if step.every == "day"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    told = Airflow(home).run("python", str(ROOT / "tests" / "airflow" / "dags_as_json.py"), str(ROOT / "dags")).stdout
    return json.loads(next(line for line in told.splitlines() if line.startswith("DAGS "))[5:])


@needs_airflow
def test_every_dag_imports_and_runs_once_at_a_time(bag):
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {"cdp_daily", "cdp_weekly", "cdp_backfill"}
    for dag in bag["dags"].values():
        assert dag["runs"] == 1
        assert dag["pools"] == ["cdp"]
        assert dag["java"] == ["-XX:+ExitOnOutOfMemoryError"]  # else a driver may hang, and its task with it
        assert dag["careful"] == list(dag["tasks"])


@needs_airflow
def test_the_dags_are_the_steps(bag):
    names = {step.name for step in DAILY}
    wanted = {step.name: sorted(set(upstream(step)) & names) for step in DAILY}
    assert bag["dags"]["cdp_daily"]["tasks"] == wanted | {"unlock": sorted(names)}
    weekly = {step.name for step in (*STEPS, *UPKEEP) if step.every == "week"}
    assert set(bag["dags"]["cdp_weekly"]["tasks"]) == weekly | {"done", "unlock"}
    assert names | weekly == {step.name for step in (*STEPS, *UPKEEP)}


@needs_airflow
def test_a_weekly_step_waits_for_what_it_reads_alone_and_upkeep_for_all_however_they_ended(bag):
    weekly = bag["dags"]["cdp_weekly"]
    assert weekly["at_once"] == 1  # all of them write ml.trainings
    learning = [step for step in STEPS if step.every == "week"]
    names = {step.name for step in learning}
    for step in learning:
        assert weekly["tasks"][step.name] == sorted(set(upstream(step)) & names)
    assert weekly["tasks"]["value"] == []  # a failed `train` does not stop it
    assert weekly["tasks"]["maintain"] == sorted(names) and weekly["rules"]["maintain"] == "all_done"
    # Airflow judges a DAG run by its leaves: a failure must not hide behind an upkeep that went well
    assert weekly["tasks"]["done"] == sorted(names | {"maintain"}) and weekly["rules"]["done"] == "all_success"


@needs_airflow
def test_weekly_steps_work_on_the_newest_published_day(bag):
    """Airflow's logical date of a weekly run is a week old: the daily run has passed it, and no step would run."""
    days = {args[args.index("--date") + 1] for args in bag["dags"]["cdp_weekly"]["args"].values() if "--date" in args}
    assert len(days) == 1 and "'published'" in days.pop()


@needs_airflow
def test_every_dag_run_gives_the_lake_back_however_it_ended(bag):
    for name in ("cdp_daily", "cdp_weekly"):
        dag = bag["dags"][name]
        assert dag["teardowns"] == ["unlock"] and "--run-id" in dag["args"]["unlock"]
        steps = set(dag["tasks"]) - {"unlock", "done"}
        assert set(dag["tasks"]["unlock"]) == steps
        assert all("--hold" in dag["args"][step] for step in steps)


@needs_airflow
def test_others_can_schedule_on_a_published_run(bag):
    outlets = {name: dag["outlets"] for name, dag in bag["dags"].items()}
    published = ["cdp_published_run"]
    assert outlets == {"cdp_daily": {"publish": published}, "cdp_backfill": {"backfill": published}, "cdp_weekly": {}}


@needs_airflow
def test_no_dag_run_is_cut_short_while_its_task_may_go_on(bag):
    for dag in bag["dags"].values():
        assert dag["seconds"] > dag["longest"]


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
        "run = lambda at, kind='manual', after=d.datetime(2026, 2, 1, 3):"
        " types.SimpleNamespace(logical_date=at, run_after=after, run_type=kind);"
        "say = lambda **k: print(jinja2.Template(cdp_dag.DAY).render(macros=d, **k));"
        "say(params={'date': None}, dag_run=run(d.datetime(2026, 1, 30, 3)));"
        "say(params={'date': None}, dag_run=run(d.datetime(2026, 2, 1, 3)));"  # by hand, with Airflow's date: now
        "say(params={'date': None}, dag_run=run(d.datetime(2026, 1, 31, 3), 'scheduled'));"
        "say(params={'date': None}, dag_run=run(d.datetime(2026, 2, 1, 2), 'scheduled'));"  # an hourly schedule
        "say(params={'date': None}, dag_run=run(None));"
        "say(params={'date': None}, dag_run=run(None, 'asset_triggered'));"
        "say(params={'date': '2026-01-02'}, dag_run=run(None))"
    )
    told = Airflow(tmp_path).run("python", "-c", code, str(ROOT / "dags")).stdout.split()
    by_hand, scheduled, undated = ["2026-01-30", "2026-01-31"], ["2026-01-31", "2026-02-01"], ["2026-01-31"] * 2
    assert told[-7:] == [*by_hand, *scheduled, *undated, "2026-01-02"]


@needs_airflow
def test_what_a_second_try_cannot_change_is_not_tried_again(tmp_path):
    """By the exit code of spark-submit, or of a driver in Kubernetes: 2 and 5 fail the task at once, others later."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import cdp_dag\n"
        "for end in ('Error code is: 2.', 'Error code is: 3.', 'Error code is: 4.', 'Error code is: 5.',\n"
        "            'Error code is: 0. Kubernetes spark exit code is: 5', 'Error code is: 25.'):\n"
        "    def execute(*_, end=end):\n"
        "        raise cdp_dag.AirflowException(f'Cannot execute: spark-submit. {end}')\n"
        "    cdp_dag.SparkSubmitOperator.execute = execute\n"
        "    try:\n"
        "        cdp_dag.submit('resolve', 'jobs/resolve.py', [], '').execute({})\n"
        "    except cdp_dag.AirflowException as error:\n"
        "        print('ENDED', type(error).__name__)\n"
    )
    said = Airflow(tmp_path).run("python", "-c", code, str(ROOT / "dags")).stdout
    ended = [line.split()[1] for line in said.splitlines() if line.startswith("ENDED")]
    final, again = "AirflowFailException", "AirflowException"
    assert ended == [final, again, again, final, final, again]


def test_a_local_airflow_tells_its_address_and_has_a_connection_and_a_pool_ready(tmp_path, monkeypatch, capsys):
    """`make airflow`, but for Airflow itself."""
    ran, started = [], []
    monkeypatch.setenv("PORT", "8099")
    monkeypatch.setattr(serve, "HOME", tmp_path)
    monkeypatch.setattr(Airflow, "run", lambda self, *words: ran.append(words))
    monkeypatch.setattr(Airflow, "start", lambda self: started.append(self.env) or SimpleNamespace(wait=lambda: 0))
    assert serve.main() == 0
    assert "Airflow: http://127.0.0.1:8099 " in capsys.readouterr().out
    assert ("airflow", "pools", "set", "cdp", "2") in [words[:5] for words in ran]
    env = started[0]
    assert json.loads(env["AIRFLOW_CONN_SPARK_DEFAULT"]) == {"conn_type": "spark", "host": "local[2]"}
    assert load(env["CDP_CONF"], env["CDP_ENV"]).env.lake == f"{tmp_path}/lake"


@needs_airflow
def test_a_failed_task_is_told_by_its_name_and_telling_never_fails(tmp_path):
    """By names and times alone: what the error says may hold a row."""
    code = (
        "import os, sys, types; sys.path.insert(0, sys.argv[1]); import cdp_dag;"
        "ti = types.SimpleNamespace(dag_id='cdp_daily', task_id='resolve', run_id='r', try_number=4);"
        "tell = lambda: cdp_dag.on_failure({'task_instance': ti, 'exception': ValueError('ann@example.com')});"
        "tell(); os.environ['CDP_ALERT_URL'] = 'http://127.0.0.1:9'; tell()"
    )
    told = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        airflow = Airflow(tmp_path, CDP_ALERT_URL=f"http://127.0.0.1:{server.server_port}")
        said = airflow.run("python", "-c", code, str(ROOT / "dags")).stdout
        server.shutdown()
    assert told == [{"dag": "cdp_daily", "task": "resolve", "run": "r", "try": 4}]
    assert "CDP_ALERT_URL cannot be reached" in said and "ann@" not in said


@pytest.mark.parametrize("step", ["profile", "resolve"])
def test_a_job_started_by_its_file_finds_the_standard_library(step):
    """jobs/profile.py must not stand in for the module `profile`."""
    done = subprocess.run([BIN / "python", ROOT / "jobs" / f"{step}.py", "--help"], env=environment(), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    assert "--hold" in done.stdout


def deployment(tmp_path) -> str:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    places = f"lake: {tmp_path}/lake\ndrops: {tmp_path}/drops\nexports: {tmp_path}/lake/_exports\n"
    (conf / "env" / "airflow.yml").write_text(f"master: null\njars: provided\nshuffle_partitions: 1\n{places}")
    return str(conf)


def failing_submit(folder, table: str) -> None:
    """A spark-submit that kills itself half-way through the write of `table`, the first time."""
    folder.mkdir()
    script = folder / "spark-submit"
    kill = f"PYTHONPATH={ROOT}/tests/kill:$PYTHONPATH CDP_TEST_KILL='{table} during' CDP_TEST_KILLED={folder}/killed"
    script.write_text(f'#!/bin/sh\n{kill} exec {BIN}/spark-submit "$@"\n')
    script.chmod(0o755)


# a new scheduler takes over what a dead one has left within seconds, not minutes
QUICK = {"AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
         "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
         "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60", "AIRFLOW__API__WORKERS": "1",
         "AIRFLOW__CORE__PARALLELISM": "2", "CDP_RETRY_MINUTES": "0", "CDP_SCHEDULE": ""}  # fmt: skip


@needs_airflow
@pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="a DAG run of a dozen spark-submits: make test-airflow")
@pytest.mark.parametrize(
    "database",
    [
        pytest.param("postgresql", marks=pytest.mark.skipif(MISSING, reason="no PostgreSQL programs (initdb, pg_ctl)")),
        pytest.param("sqlite", marks=pytest.mark.skipif(not MISSING, reason="shown on PostgreSQL")),
    ],
)
def test_a_dag_run_with_a_killed_task_and_a_killed_airflow_ends_in_the_tables_of_a_plain_run(
    spark, fault, tmp_path, database
):
    generate(tmp_path, 300, 1, 7, START)
    failing_submit(tmp_path / "bin", "gold.profiles")
    own = {"CDP_CONF": deployment(tmp_path), "CDP_ENV": "airflow", "CDP_SUBMIT_JARS": ",".join(jars.paths(["core"])),
           "PATH": f"{tmp_path}/bin{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}{os.pathsep}{AIRFLOW}"}  # fmt: skip
    with ExitStack() as stack:
        if database == "postgresql":
            port = stack.enter_context(postgres())
            execute(port, "CREATE DATABASE airflow")
            address = f"postgresql+psycopg2://cdp@127.0.0.1:{port}/airflow"
            own["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = address
        airflow = Airflow(tmp_path / "airflow", free_port(), **(QUICK | own))
        airflow.prepare()
        log = stack.enter_context((tmp_path / "airflow.log").open("w"))
        try:
            whole_run(airflow, log)
        except RuntimeError as error:
            tail = (tmp_path / "airflow.log").read_text()[-5000:]
            raise AssertionError(f"{error}\n{tail}") from error
    fault("profile", "kill -9 during gold.profiles of a DAG's task", -9)
    fault("all", f"Airflow killed between tasks ({database})", -9)
    assert (tmp_path / "bin" / "killed").exists()
    plain = job_on(spark, tmp_path / "plain", tmp_path / "drops", START, run_at=datetime.now(UTC))
    run_steps(plain, DAILY)
    assert contents(spark, tmp_path / "lake") == contents(spark, tmp_path / "plain")
    row = job_on(spark, tmp_path / "lake", "", START).lake.read("governance.runs").first()
    assert row.run_id == "demo" and row.warnings == warnings(marks(plain), START)
    summary = json.loads((tmp_path / "lake" / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == [step.name for step in DAILY]
    assert not (tmp_path / "lake" / "_cdp" / "lock.json").exists()


def whole_run(airflow: Airflow, log) -> None:
    """One run of cdp_daily to its end; Airflow is killed as a whole once people are resolved, and started again."""

    def tasks() -> dict[str, str]:
        try:
            told = airflow.ask("dags/cdp_daily/dagRuns/demo/taskInstances")["task_instances"]
        except HTTPError as error:
            if error.code >= 500:  # a server that is busy is asked again
                raise
            raise RuntimeError(error.read().decode()) from None
        return {one["task_id"]: one["state"] for one in told}

    def state() -> str | None:
        found = airflow.ask("dags/cdp_daily/dagRuns/demo")["state"]
        return found if found in ("success", "failed") else None

    process = airflow.start(stdout=log, stderr=log)
    try:
        until(airflow.well, process, pause=1)
        airflow.ask("dags/cdp_daily", "PATCH", is_paused=False)
        airflow.ask("dags/cdp_daily/dagRuns", "POST", dag_run_id="demo", logical_date=f"{START}T03:00:00Z")
        until(lambda: tasks().get("resolve") == "success", process, tries=3600, pause=1)
    finally:
        kill(process)
    process = airflow.start(stdout=log, stderr=log)
    try:
        until(airflow.well, process, pause=1)
        ended = until(state, process, tries=3600, pause=1)
    finally:
        kill(process)
    if ended != "success":
        raise RuntimeError(f"the DAG run ended as {ended}")
