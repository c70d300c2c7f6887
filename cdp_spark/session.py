"""How is Spark started? The only SparkSession.builder of the project."""

from __future__ import annotations

import logging
import os
import sys
import time

from py4j.java_gateway import JVMView
from pyspark.sql import SparkSession

from cdp_spark import failures, jars
from cdp_spark.config.models import S3, Env

SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",  # a machine's zone must not move a day boundary
    "spark.sql.ansi.enabled": "false",  # a bad value in one row becomes null and goes to quarantine, it stops no job
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",  # a JSON line with a key given twice is read as JSON readers do
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # pandas writes times in nanoseconds: a number, not a failed read
    "spark.databricks.delta.snapshotPartitions": "2",  # fifty tasks for a log of ten entries is what makes it slow
    "spark.databricks.delta.stats.skipping": "true",
    "spark.databricks.delta.allFilesInCrc.enabled": "false",  # else each commit reads the log of its table back
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.ui.retainedStages": "3000",  # the cost of a step is added up from its stages (cost.py)
    "spark.ui.retainedJobs": "100",
    "spark.sql.ui.retainedExecutions": "20",  # nobody looks at the plans of a thousand queries: they fill the driver
    "spark.sql.ui.explainMode": "simple",  # written for every query, however small
    # the least that one broadcast table holds, were it of a single row; by default 64 MB of a driver with 4 GB
    "spark.buffer.pageSize": "4m",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.python.sql.dataFrameDebugging.enabled": "false",  # each column's line of code, told to Java: never shown
}


# Hundreds of different queries on little data: Java spends a third of all seconds on compiling what hardly runs again.
# With its second compiler called in four times later than by default, `make demo` took a tenth less time.
JAVA = (
    "-XX:+ExitOnOutOfMemoryError",  # an end that is told, not a hang
    "-XX:ReservedCodeCacheSize=512m",  # the usual 240 MB fill up in a day's steps, then all is compiled again
    "-XX:Tier4InvocationThreshold=20000",
    "-XX:Tier4MinInvocationThreshold=2400",
    "-XX:Tier4CompileThreshold=60000",
    "-XX:Tier4BackEdgeThreshold=160000",
)


def java_options(given: str) -> list[str]:
    """Java's options for a driver of our own; a collector that the environment has (`given`) stays, two are refused."""
    return [*JAVA, *([] if "GC" in given else ["-XX:+UseParallelGC"])]


def s3_settings(s3: S3) -> dict[str, str]:
    """S3A's settings; keys come from the environment variables that the deployment names, when they are set."""
    found = {
        "spark.hadoop.fs.s3a.endpoint.region": s3.region,
        "spark.hadoop.fs.s3a.path.style.access": str(s3.path_style).lower(),
        "spark.hadoop.fs.s3a.attempts.maximum": str(s3.attempts),
        "spark.hadoop.fs.s3a.retry.limit": str(s3.attempts),
        # waits double from 0.1 s: by default 20 times, which is a day for a store that goes on saying SlowDown
        "spark.hadoop.fs.s3a.retry.throttle.limit": str(s3.attempts + 4),
        "spark.hadoop.fs.s3a.connection.establish.timeout": f"{s3.timeout_seconds}s",
        "spark.hadoop.fs.s3a.connection.timeout": f"{s3.timeout_seconds}s",
    }
    if s3.checksum != "none":
        found["spark.hadoop.fs.s3a.create.checksum.algorithm"] = s3.checksum
    if s3.encryption:
        found["spark.hadoop.fs.s3a.encryption.algorithm"] = "SSE-KMS" if s3.encryption == "aws:kms" else s3.encryption
    if s3.kms_key:
        found["spark.hadoop.fs.s3a.encryption.key"] = s3.kms_key
    if s3.endpoint:
        found["spark.hadoop.fs.s3a.endpoint"] = s3.endpoint
        found["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(s3.endpoint.startswith("https")).lower()
    key, secret = os.environ.get(s3.access_key_env), os.environ.get(s3.secret_key_env)
    if key and secret:
        found |= {"spark.hadoop.fs.s3a.access.key": key, "spark.hadoop.fs.s3a.secret.key": secret}
    return found


# What pyspark and Delta name at each column and table: each time Java seeks the name in all JARs, once a part of it.
NAMES = ("functions", "PythonUtils", "PythonSQLUtils", "org.apache.spark.sql.functions",
         "org.apache.spark.sql.classic.SparkSession", "org.apache.hadoop.fs.Path", "scala.Option",
         "org.apache.spark.sql.delta.DeltaLog")  # fmt: skip
WALKED = ("io", "delta", "tables", "DeltaTable")


def remember(jvm: JVMView) -> None:
    """Look NAMES up once for the session's life: a twelfth of a small run was spent on asking for them again."""
    for name in NAMES:
        setattr(jvm, name, getattr(jvm, name))
    here = jvm
    for part in WALKED:
        setattr(here, part, getattr(here, part))
        here = getattr(here, part)


def build(
    env: Env, *, name: str = "cdp", s3: bool = False, jdbc: bool = False, settings: dict[str, str] | None = None
) -> SparkSession:
    """A session for `env`, or the running one. `s3` adds S3A, `jdbc` the databases; `settings` win over all else.

    Under spark-submit (`jars: provided`, `master: null`) the JARs and the master come from its command line.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["TZ"] = "UTC"  # pyspark takes a datetime without a zone for the machine's
    time.tzset()
    found = SETTINGS | {"spark.sql.shuffle.partitions": str(env.shuffle_partitions)}
    if env.jars == "cache" and "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit has brought its own by now
        groups = ["core", *(["s3"] if s3 else []), *(["jdbc"] if jdbc else [])]
        found |= {"spark.jars": ",".join(jars.paths(groups)), "spark.driver.memory": env.driver_memory}
        found["spark.driver.extraJavaOptions"] = " ".join(java_options(os.environ.get("JDK_JAVA_OPTIONS", "")))
    if env.master:
        found["spark.master"] = env.master
    if (env.master or "").startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        found |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if s3:
        found |= s3_settings(env.s3)
    builder = SparkSession.builder.appName(name)
    for key, value in (found | env.settings | (settings or {})).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    remember(spark._jvm)
    failures.quiet()
    logging.getLogger("SQLQueryContextLogger").disabled = True  # it prints plans, and with them a query's literals
    return spark
