"""One Spark session for all tests, started only if a test asks for it, tuned for tiny data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdp_spark import session
from cdp_spark.config.models import Env
from cdp_spark.lake import Lake
from tests.forty import job  # noqa: F401  a fixture for all that is about audiences and deliveries

ROOT = Path(__file__).parents[1]
# Java's second compiler and its parallel collectors pay off in long runs only: in tests they cost half of all seconds.
# Without it Java takes 48 MB for compiled code: a suite fills that, and then compiles the same again and again.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC")
TINY = {
    "spark.sql.shuffle.partitions": "1",  # many tasks for ten rows is what makes suites slow
    "spark.sql.adaptive.enabled": "false",  # planning cost without gain on tiny data
    "spark.default.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.allFilesInCrc.enabled": "false",  # each commit would read its table's log back
    "spark.sql.codegen.wholeStage": "false",  # compiling a query costs more than running it on ten rows
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    warehouse = {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    env = Env(master="local[2]", driver_memory="3g", shuffle_partitions=1)
    built = session.build(env, name="tests", s3=True, settings=TINY | warehouse)
    built.sparkContext.setCheckpointDir(str(tmp_path_factory.mktemp("checkpoints")))
    yield built
    built.stop()


@pytest.fixture(autouse=True)
def clean(request):
    yield
    if "spark" in request.fixturenames:
        session_now = request.getfixturevalue("spark")
        session_now.catalog.clearCache()


@pytest.fixture(scope="session")
def conf():
    from cdp_spark.config.load import load

    return load(ROOT / "conf")


@pytest.fixture
def lake(spark, conf, tmp_path):
    return Lake(spark, str(tmp_path / "lake"), conf.tables, run_id="test", step="test")


def pytest_collection_modifyitems(items):
    """The longest files first: a process that is given one of them last would keep all others waiting."""
    first = ("test_end_to_end", "test_time", "test_sync", "test_bad_input", "test_journey_runs")
    items.sort(key=lambda item: first.index(item.path.stem) if item.path.stem in first else len(first))


def pytest_terminal_summary(terminalreporter):
    """The matrix of faults: what went wrong in which step, how its process ended, what the next run left."""
    words = {"passed": "equal tables", "failed": "NOT AS UNDISTURBED", "skipped": "not shown here"}
    rows = [
        [*row, words[status]]
        for status in words
        for report in terminalreporter.stats.get(status, ())
        for name, row in getattr(report, "user_properties", ())  # a module that is skipped as a whole has none
        if name == "fault"
    ]
    for row in [["step", "what goes wrong", "ended", "after the next run"], *rows] if rows else []:
        terminalreporter.write_line("{:<12} {:<52} {:<8} {}".format(*row))
