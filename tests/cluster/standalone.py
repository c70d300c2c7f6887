"""A Spark standalone cluster of the pip package and an S3 server on loopback, whose workers have a bare Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pyspark

from cdp_spark import jars
from cdp_spark.ship import ship
from tests.conftest import ROOT
from tests.lakes import BIN, environment
from tests.processes import free_port, kill, until

SPARK = Path(pyspark.__file__).parent
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "not-to-be-shown"}


def local_jars() -> str:
    """In place on every machine, as a cluster's image would have them: `local:` copies nothing from the driver."""
    return ",".join(f"local:{path}" for path in jars.paths(["core", "s3"]))


def bare_environment(folder: Path) -> dict[str, str]:
    """Of a cluster's machine: Spark, Java and nothing of ours."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME", "JDK_JAVA_OPTIONS") if key in os.environ}
    return kept | {"SPARK_HOME": str(SPARK), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOG_DIR": str(folder)}


@dataclass
class Cluster:
    """Its address, the processes of its workers, the bare interpreter they use and the archive that travels to them."""

    address: str
    workers: list[subprocess.Popen]
    python: Path
    archive: Path

    def submit(self, *command: str, **more: str) -> subprocess.CompletedProcess:
        """spark-submit of `command`, the driver here; `more` are environment variables."""
        settings = {
            "spark.executorEnv.PYTHONPATH": "./cdp",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "2g",
            "spark.executor.memory": "1g",
            "spark.executor.cores": "1",
        }
        found = [str(BIN / "spark-submit"), "--master", self.address, "--jars", local_jars()]
        found += ["--archives", f"{self.archive}#cdp"]
        found += [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        own = {"PYSPARK_PYTHON": str(self.python), "PYSPARK_DRIVER_PYTHON": sys.executable}
        return subprocess.run([*found, *command], env=environment(**(own | more)), cwd=ROOT, capture_output=True,
                              text=True)  # fmt: skip


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A master and `workers` of one core each; they are gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "bare" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "bare", with_pip=False)
    env, started = bare_environment(folder), []

    def start(log: str, *words: str) -> subprocess.Popen:
        with (folder / log).open("w") as file:
            command = [str(SPARK / "bin" / "spark-class"), *words]
            started.append(subprocess.Popen(command, env=env, cwd=folder, stdout=file, stderr=file))
        return started[-1]

    try:
        port = str(free_port())
        place = ["--host", "127.0.0.1", "--port", port, "--webui-port", "0"]
        master = start("master.log", "org.apache.spark.deploy.master.Master", *place)
        until(lambda: "New state: ALIVE" in (folder / "master.log").read_text(), master)
        address = f"spark://127.0.0.1:{port}"
        mine = []
        for number in range(workers):
            place = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1500m"]
            place += ["--work-dir", str(folder / f"work{number}"), address]
            mine.append(start(f"worker{number}.log", "org.apache.spark.deploy.worker.Worker", *place))
        wanted = re.compile("Registering worker")
        until(lambda: len(wanted.findall((folder / "master.log").read_text())) == workers, master)
        yield Cluster(address, mine, python, ship(folder / "cdp.tar.gz"))
    finally:
        for process in reversed(started):
            kill(process)
        for number in range(workers):
            shutil.rmtree(folder / f"work{number}", ignore_errors=True)


@contextmanager
def s3_server(bucket: str) -> Iterator[tuple[str, object]]:
    """(endpoint, boto3 client) of an S3 server in memory that has `bucket`."""
    endpoint = f"http://127.0.0.1:{(port := free_port())}"
    server = subprocess.Popen([str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        until(lambda: urllib.request.urlopen(endpoint, timeout=5), server)
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="k",
                              aws_secret_access_key="s")  # fmt: skip
        client.create_bucket(Bucket=bucket)
        yield endpoint, client
    finally:
        kill(server)


def upload(client, folder: Path, bucket: str, prefix: str) -> None:
    """Every file below `folder` to s3://bucket/prefix/."""
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")


def deployment(folder: Path, name: str, text: str) -> str:
    """A copy of the shipped conf/ with the environment `name`; its path."""
    conf = shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    (conf / "env" / f"{name}.yml").write_text(text)
    return str(conf)
