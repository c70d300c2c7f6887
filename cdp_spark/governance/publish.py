"""Which versions belong together? The audit of every write, and one row that publishes the run, written last."""

from __future__ import annotations

import subprocess
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.load import digest
from cdp_spark.job import Job
from cdp_spark.marks import marks, unfit, warnings
from cdp_spark.pipeline import STEPS

COST = ("seconds", "task_seconds", "shuffle_bytes", "spill_bytes")
OWN = ("governance.audit", "governance.runs")


class PublishError(Exception):
    """The tables do not belong together: what was published before stays in force."""


def publish(job: Job) -> None:
    """Add the run's commits to governance.audit, then the run with the version of each table to governance.runs.

    Raises PublishError where a step did not run, or did not end, or ran on what another one has since made anew.
    """
    found = marks(job)
    if problems := unfit(found, job.date, [step for step in STEPS if step.name != "publish"]):
        raise PublishError(
            f"not published for {job.date}, as its tables do not belong together: {'; '.join(problems)}. What was "
            f"published before stays in force; run --from {problems[0].split()[0]} for that date"
        )
    versions = {name: version for name in table_names(job) if (version := job.lake.version(name)) is not None}
    job.lake.write("governance.audit", with_cost(job, audit(job, unaudited(job, versions)), found))
    steps = [step.name for step in STEPS]
    told = warnings(found, job.date)
    status = "partial" if told else "published"
    runs = job.lake.read("governance.runs")
    run_id = publication(job.run_id, [row.run_id for row in runs.where(_of_run(job.run_id)).collect()])
    row = (run_id, job.date, job.run_at.replace(tzinfo=None), status, digest(job.conf_dir), commit(), versions,
           steps, told)  # fmt: skip
    job.lake.write("governance.runs", job.spark.createDataFrame([row], runs.schema))
    job.log(f"run {run_id} {status}: {len(versions)} tables")


def _of_run(run_id: str):
    return (F.col("run_id") == run_id) | F.col("run_id").startswith(f"{run_id}~")


def publication(run_id: str, before: list[str]) -> str:
    """The id of one publication: a run whose tasks are run again publishes again, as `<run_id>~2`, `~3` ..."""
    return f"{run_id}~{len(before) + 1}" if before else run_id


def table_names(job: Job) -> list[str]:
    """Every table a run may write, in the order of their names."""
    written = {name for step in STEPS for name in step.writes if not name.endswith("*")} - set(OWN)
    return sorted(written | {f"bronze.{name}" for name in job.conf.sources})


def unaudited(job: Job, versions: dict[str, int]) -> dict[str, int]:
    """How many of its newest commits governance.audit does not know yet, by table; `versions` are the newest."""
    known = job.lake.read("governance.audit").groupBy("table_name").agg(F.max("version").alias("version"))
    seen = {row["table_name"]: row["version"] for row in known.collect()}  # one row a table
    # a table younger than its audit was made anew: all its commits are told again, those that are known stay once
    missing = {name: v - seen[name] if seen.get(name, v + 1) <= v else v + 1 for name, v in versions.items()}
    return {name: count for name, count in missing.items() if count}


def audit(job: Job, last: dict[str, int]) -> DataFrame:
    """One row per commit among the `last` newest of each table, from the facts that each commit carries."""
    facts = "run_id string, step string, mode string, rows bigint, quarantined bigint, checks string, " \
            "reads map<string,bigint>, user string"  # fmt: skip
    if not last:
        return job.lake.read("governance.audit").limit(0)
    commits = [job.lake.commits(name, count).withColumn("table_name", F.lit(name)) for name, count in last.items()]
    rows = reduce(lambda a, b: a.unionByName(b), commits).withColumn("f", F.from_json("userMetadata", facts))
    return rows.select(
        "table_name",
        "version",
        "f.run_id",
        "f.step",
        "f.mode",
        "f.rows",
        "f.quarantined",
        F.coalesce("f.checks", F.lit("{}")).alias("checks"),
        "f.reads",
        F.col("f.user").alias("user_name"),
        F.col("timestamp").alias("committed_at"),
    )


def with_cost(job: Job, rows: DataFrame, found: dict[str, dict]) -> DataFrame:
    """`rows` of the audit with what their whole step cost; null where the step has run again since."""
    cost = [(step, mark["run_id"], *(mark.get(key) for key in COST)) for step, mark in found.items()]
    kinds = "step string, run_id string, seconds double, task_seconds double, shuffle_bytes bigint, spill_bytes bigint"
    return rows.join(F.broadcast(job.spark.createDataFrame(cost, kinds)), ["step", "run_id"], "left")


def commit() -> str | None:
    """The git commit of the working folder, None outside a checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None
