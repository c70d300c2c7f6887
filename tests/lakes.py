"""What is in a lake, apart from facts of the run? For comparing lakes that were made in different ways."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from cdp_spark.config.load import load
from cdp_spark.governance.publish import OWN, table_names
from cdp_spark.identity.state import PINNED
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from tests.conftest import ROOT

RUN_FACTS = ("_landed_at", "_file", "file", "run_id", "recorded_at", "sent_at", "uri", "manifest_sha256", "version",
             "versions", "work")  # fmt: skip
BIN = Path(sys.executable).parent


PUNCTUAL = datetime(2026, 2, 1, tzinfo=UTC)


def job_on(
    spark: SparkSession,
    lake,
    drops,
    day: str | date,
    run_id: str | None = None,
    run_at: datetime = PUNCTUAL,
    conf_dir: str = str(ROOT / "conf"),
) -> Job:
    conf, day = load(conf_dir), date.fromisoformat(str(day))
    run_id = run_id or f"run-{day}"
    tables = Lake(spark, str(lake), conf.tables, run_id=run_id)
    exports = f"{lake}/_exports"
    return Job(spark, tables, conf, conf_dir, "local", day, run_at, run_id, str(drops), exports)


def contents(spark: SparkSession, lake, only: Collection[str] | None = None) -> dict[str, tuple[int, int]]:
    """Table -> (rows, checksum whatever the order) of every table, or of those in `only`, without facts of the run."""
    job = job_on(spark, lake, "", "2026-01-30")
    found = {}
    for name in table_names(job):
        if name in OWN or (only is not None and name not in only) or not job.lake.exists(name):
            continue
        rows = job.lake.read(name).drop(*RUN_FACTS)
        text = F.to_json(F.struct(*rows.columns))
        row = rows.agg(F.count("*").alias("n"), F.sum(F.xxhash64(text).cast("decimal(38,0)")).alias("h")).first()
        found[name] = (row["n"], int(row["h"] or 0))
    return found


def environment(**more: str) -> dict[str, str]:
    """Of a process that runs the project as it lies here, for a short while."""
    own = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    return os.environ | own | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | more


def resolved_as_it_stands(lake: Lake, as_of: date) -> None:
    """The row that the step `resolve` leaves last: identity's tables as they stand are those of a complete run."""
    versions = {f"identity.{name}": lake.version(f"identity.{name}") for name in PINNED}
    row = (as_of, lake.run_id, PUNCTUAL.replace(tzinfo=None), "rules", versions, {"incremental": 0}, None, None)
    frame = lake.spark.createDataFrame([row], lake.read("identity.runs").schema)
    lake.write("identity.runs", frame, on=as_of)
