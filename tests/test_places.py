"""The same job where users run it: spark-submit in a process of its own, and a lake and drops on S3."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from cdp_spark import jars
from cdp_spark.ship import DRIVER_ONLY, ON_EVERY_MACHINE, closure, declared, files
from tests.cluster.standalone import s3_server, upload
from tests.conftest import ROOT
from tests.drops import DAY1, write
from tests.lakes import BIN, environment

DAY = ["--date", DAY1]


def run(command: list[str], **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, env=environment(**more), cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_spark_submit_runs_a_step(tmp_path):
    drops = write(tmp_path / "drops")
    places = ["--lake", str(tmp_path / "lake"), "--drops", str(drops)]
    submit = [str(BIN / "spark-submit"), "--master", "local[2]", "--jars", ",".join(jars.paths(["core"]))]
    done = run([*submit, "jobs/ingest.py", "--conf", "conf", "--env", "local", *places, *DAY])
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "lake" / "bronze" / "crm" / "_delta_log").is_dir()
    assert "example.com" not in done.stdout + done.stderr


@pytest.fixture
def s3():
    """(endpoint, client) of a real S3 server on loopback that this test starts and stops."""
    with s3_server("shop") as found:
        yield found


def test_a_lake_and_drops_on_s3(s3, tmp_path):
    endpoint, client = s3
    upload(client, write(tmp_path / "drops"), "shop", "drops")
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    s3_block = f"s3: {{endpoint: '{endpoint}', path_style: true, access_key_env: KEY, secret_key_env: SECRET}}"
    places = "lake: s3://shop/lake\ndrops: s3://shop/drops\nmlflow_uri: sqlite:///unused.db\n"
    (conf / "env" / "s3.yml").write_text(f"master: local[2]\ndriver_memory: 2g\n{places}{s3_block}\n")
    command = [str(BIN / "cdp"), "run", "--conf", str(conf), "--env", "s3", *DAY, "--to", "ingest"]
    done = run(command, KEY="k", SECRET="not-to-be-shown")
    assert done.returncode == 0, done.stderr[-2000:]
    keys = {found["Key"] for found in client.list_objects_v2(Bucket="shop", Prefix="lake/")["Contents"]}
    assert "lake/summary.json" in keys and any(key.startswith("lake/bronze/web/_delta_log/") for key in keys)
    assert not any("lock.json" in key for key in keys)
    summary = json.loads(client.get_object(Bucket="shop", Key="lake/summary.json")["Body"].read())
    assert summary["steps"][0]["rows"]["bronze.web"] == 5
    assert "not-to-be-shown" not in done.stdout + done.stderr


def test_an_s3_that_does_not_answer_is_told(tmp_path):
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    keys = "access_key_env: KEY, secret_key_env: SECRET, attempts: 1, timeout_seconds: 2"
    s3_block = f"s3: {{endpoint: 'http://127.0.0.1:9', path_style: true, {keys}}}"
    (conf / "env" / "s3.yml").write_text(
        f"master: local[1]\ndriver_memory: 1g\nmlflow_uri: sqlite:///unused.db\n{s3_block}\n"
    )
    command = [str(BIN / "cdp"), "run", "--conf", str(conf), "--env", "s3", *DAY, "--lake", "s3a://shop/lake"]
    done = run([*command, "--drops", str(tmp_path)], KEY="k", SECRET="not-to-be-shown")
    assert done.returncode == 3
    assert "http://127.0.0.1:9" in done.stderr and "s3.endpoint" in done.stderr and "Traceback" not in done.stderr
    assert "not-to-be-shown" not in done.stderr


def test_what_travels_to_workers_is_what_their_tasks_import_and_no_spark():
    names = closure(declared(), (*ON_EVERY_MACHINE, *DRIVER_ONLY))
    assert {"numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "joblib", "pydantic-core", "phonenumbers"} <= names
    assert not names & {"pyspark", "mlflow", "duckdb", "pytest", "moto"}
    inside = {place for _, place in files({"joblib", "six"})}
    assert {"joblib/__init__.py", "six.py"} <= inside
    assert not any({"test", "tests"} & set(place.split("/")) for place in inside)


def test_a_cluster_that_has_maven_central_takes_the_official_graphframes(capsys):
    assert jars.main(["packages", "core"]) == 0
    assert "io.graphframes:graphframes-spark4_2.13:0.9.2" in capsys.readouterr().out
