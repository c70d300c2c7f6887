"""How does a step become an Airflow task? Shared by the DAGs here: settings, the operator, dates, the callback.

Everything about a deployment comes from environment variables of Airflow's processes:
CDP_HOME (folder with jobs/ and cdp_spark/), CDP_CONF, CDP_ENV, CDP_CONN (Spark connection), CDP_POOL, CDP_SCHEDULE,
CDP_RETRY_MINUTES, CDP_SUBMIT_JARS, CDP_SUBMIT_PACKAGES, CDP_SUBMIT_PY_FILES, CDP_SUBMIT_ARCHIVES, CDP_SUBMIT_CONF
(Spark settings as a JSON object), CDP_ALERT_URL (gets failures as JSON).
A file of DAGs must hold the word Airflow, or Airflow does not look into it.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from cdp_spark.pipeline import Step, upstream

HOME = os.environ.get("CDP_HOME", str(Path(__file__).resolve().parents[1]))
CONF = os.environ.get("CDP_CONF", f"{HOME}/conf")
ENV = os.environ.get("CDP_ENV", "cluster")
POOL = os.environ.get("CDP_POOL", "cdp")
SCHEDULE = os.environ.get("CDP_SCHEDULE", "0 3 * * *")
START = datetime(2026, 1, 1)
JVM = {"spark.driver.extraJavaOptions": "-XX:+ExitOnOutOfMemoryError"}  # an end that is told, not a hang
PUBLISHED = Asset("cdp_published_run")
HOPELESS = {2: "wrong configuration or use", 5: "a gate is closed"}  # trying again would not help
# The day whose drops are landed: a scheduled run's logical date. That of a run triggered by hand is the moment it was
# triggered at, unless somebody gave one, or there is none (an asset, an API call without one): a day that is over, so
# the day before it runs at the latest.
BEFORE = "dag_run.run_after - macros.timedelta(days=1)"
BY_HAND = f"[dag_run.logical_date or dag_run.run_after, {BEFORE}] | min"
OF_RUN = f"(dag_run.logical_date if dag_run.logical_date and dag_run.run_type != 'manual' else {BY_HAND})"
DAY = f"{{{{ params.date or {OF_RUN}.strftime('%Y-%m-%d') }}}}"
# Weekly steps work on what readers see: no day of their own, which the daily run may not have reached, or has passed.
NEWEST = "{{ params.date or 'published' }}"
ACCEPT = "{{ params.accept }}"


class SparkStep(SparkSubmitOperator):
    """spark-submit of one job; an exit code that a second try cannot change fails the task at once."""

    def execute(self, context) -> None:
        try:
            super().execute(context)
        except AirflowException as error:
            # spark-submit's own, and that of a driver in Kubernetes, of which spark-submit says only that it failed
            for code in re.findall(r"(?:Error|spark exit) code is: (\d+)", str(error)):
                if int(code) in HOPELESS:
                    raise AirflowFailException(f"{HOPELESS[int(code)]}; the log above says what to do") from error
            raise


def on_failure(context) -> None:
    """Tell CDP_ALERT_URL which task failed: names and times only. Never fails itself."""
    url, ti = os.environ.get("CDP_ALERT_URL"), context["task_instance"]
    told = {"dag": ti.dag_id, "task": ti.task_id, "run": ti.run_id, "try": ti.try_number}
    print(f"FAILED {json.dumps(told)}; what was published before stays in force")
    if not url:
        return
    try:
        body = urllib.request.Request(url, json.dumps(told).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(body, timeout=10).close()
    except OSError as error:
        print(f"CDP_ALERT_URL cannot be reached ({type(error).__name__})")


DEFAULTS = {
    "retries": 3,
    "retry_delay": timedelta(minutes=float(os.environ.get("CDP_RETRY_MINUTES", "5"))),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=3),
    "pool": POOL,
    "on_failure_callback": on_failure,
}
DATE = Param(None, type=["null", "string"], format="date", description="the day to land (default: the run's)")
GATES = Param("", type="string", description="a step whose closed gate you have looked at and accept")


def dag(dag_id: str, about: str, schedule: str | None, hours: int = 12, at_once: int = 16, **params: Param) -> DAG:
    """A DAG of which one run at a time is on, for `hours` at most, with `at_once` tasks at a time."""
    return DAG(
        dag_id,
        description=about,
        doc_md=f"{about}. Settings: `dags/cdp_dag.py`. Until a run has published, readers see the run before.",
        schedule=CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        max_active_tasks=at_once,
        dagrun_timeout=timedelta(hours=hours),
        default_args=DEFAULTS,
        params=params,
        tags=["cdp"],
    )


def submit(task_id: str, application: str, args: list[str], about: str, **more) -> SparkStep:
    """A task that runs `spark-submit <application> <args>` in the deployment's environment."""
    py_files = os.environ.get("CDP_SUBMIT_PY_FILES")
    return SparkStep(
        task_id=task_id,
        application=f"{HOME}/{application}",
        application_args=args,
        conn_id=os.environ.get("CDP_CONN", "spark_default"),
        name=f"cdp-{task_id}",
        jars=os.environ.get("CDP_SUBMIT_JARS"),
        packages=os.environ.get("CDP_SUBMIT_PACKAGES"),
        py_files=py_files,
        archives=os.environ.get("CDP_SUBMIT_ARCHIVES"),
        conf=JVM | json.loads(os.environ.get("CDP_SUBMIT_CONF", "{}")),
        env_vars=None if py_files else {"PYTHONPATH": HOME},
        doc_md=about,
        **more,
    )


def deployment() -> list[str]:
    return ["--conf", CONF, "--env", ENV]


def task(step: Step, day: str = DAY, outlets: tuple[Asset, ...] = (), **more) -> SparkStep:
    """The task of one step. `--hold` keeps the lake's lock for the other tasks of the same DAG run."""
    args = [*deployment(), "--date", day, "--run-id", "{{ run_id }}", "--accept", ACCEPT, "--hold"]
    about = f"{step.about.capitalize()}.\n\nReads: {', '.join(step.reads) or '-'}\n\nWrites: {', '.join(step.writes)}"
    return submit(step.name, f"jobs/{step.name}.py", args, about, outlets=list(outlets), **more)


def chain(steps: list[Step], tasks: dict[str, SparkStep]) -> None:
    """Each task after those that write what its step reads: a failure stops what follows from it, and nothing else."""
    for step in steps:
        for name in upstream(step):
            if name in tasks:
                tasks[name] >> tasks[step.name]


def give_back(tasks: dict[str, SparkStep]) -> SparkStep:
    """The last task, whatever became of the others: the lake is free for the next run, also where this one failed.

    A teardown: Airflow does not judge the DAG run by it.
    """
    args = ["unlock", *deployment(), "--run-id", "{{ run_id }}"]
    last = submit("unlock", "cdp_spark/cli.py", args, "Give the lake's lock back, if this DAG run still holds it.")
    return list(tasks.values()) >> last.as_teardown()
