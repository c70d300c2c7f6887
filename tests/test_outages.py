"""What is left where a disk, a store, a worker, the memory or the clock fails? The next run mends it."""

from __future__ import annotations

import subprocess

import pytest

from cdp_spark import session
from cdp_spark.config.load import load
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from tests.cluster.standalone import KEYS, cluster, s3_server, upload
from tests.conftest import ROOT
from tests.faulty import LONG, OF_INGEST, fault, landed, plain, shop, tiny, told  # noqa: F401  fixtures
from tests.lakes import contents
from tests.outage import Line


@LONG
def test_a_full_disk(tiny, landed, fault, tmp_path):
    """A real one: a file system of some kilobytes, and room for the next run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        fault("ingest", "a full disk", "")
        pytest.skip("this user may not mount a file system of a given size")
    try:
        done = tiny.run(disk / "lake", "--to", "ingest")
        fault("ingest", "a full disk", done.returncode)
        told(done, 3, "a disk is full.*spark.local.dir")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        run_steps(tiny.job(disk / "lake"), between("ingest", "ingest"))
        assert contents(tiny.spark, disk / "lake", OF_INGEST) == landed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@LONG
@pytest.mark.parametrize("back_after", [None, 3], ids=["for long", "for a moment"])
def test_an_s3_store_that_goes_away_in_mid_write(tiny, landed, fault, back_after):
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
        fault(
            "ingest", f"S3 away in mid-write, {'for a moment' if back_after else 'until the next run'}", done.returncode
        )
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
def test_a_worker_lost_during_components(shop, plain, fault, tmp_path):
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
            fault("resolve", "a worker lost during components", done.returncode)
            assert here.workers[0].wait(30) == -9
        if done.returncode:
            told(done, 3, "a worker was lost")
    finally:
        identity.write_text(before)
    run_steps(shop.job(lake), between("resolve", "resolve"))
    assert contents(shop.spark, lake, set(plain[0]["resolve"])) == plain[1]["resolve"]


@LONG
def test_a_driver_out_of_memory(tiny, landed, fault, tmp_path):
    lake = tmp_path / "lake"
    done = tiny.run(lake, "--to", "ingest", wrong="bronze.web heap")
    fault("ingest", "a driver out of memory", done.returncode)
    told(done, 3, "memory.*driver_memory")
    run_steps(tiny.job(lake), between("ingest", "ingest"))
    assert contents(tiny.spark, lake, OF_INGEST) == landed


@LONG
def test_a_clock_an_hour_ahead_and_then_an_hour_behind(shop, plain, fault, tmp_path):
    lake = tmp_path / "lake"
    for ahead in ("3600", "-3600"):
        done = shop.run(lake, CDP_TEST_CLOCK=ahead)
        fault("all", f"a clock {'an hour ahead' if ahead == '3600' else 'then an hour behind'}", done.returncode)
        assert done.returncode == 0, done.stderr[-2000:]
    assert shop.published(lake) == 2
    assert not (lake / "_cdp" / "lock.json").exists()
    assert contents(shop.spark, lake) == plain[2]
