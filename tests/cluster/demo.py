"""`make demo-cluster`: the demo by spark-submit on a standalone cluster with an S3 lake, and equal to the local run?"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cdp_spark import session
from cdp_spark.config.load import load
from cdp_spark.demo.retailer import generate
from cdp_spark.demo.show import START
from cdp_spark.pipeline import STEPS
from tests.cluster.standalone import KEYS, Cluster, cluster, deployment, s3_server, upload
from tests.conftest import ROOT
from tests.lakes import BIN, contents, environment

OUT = ROOT / "build" / "cluster"


def only_what_was_shipped(here: Cluster) -> None:
    """Raises SystemExit where a worker takes a package from anywhere but the archive."""
    done = here.submit(str(Path(__file__).with_name("probe.py")))
    line = next((text for text in done.stdout.splitlines() if text.startswith("PROBE ")), None)
    if done.returncode or line is None:
        raise SystemExit(f"the workers' Python does not start:\n{done.stderr[-3000:]}")
    for prefix, *places in json.loads(line[6:]):
        if Path(prefix) != here.python.parents[1] or any(
            "/cdp/" not in place or "work" not in place for place in places
        ):
            raise SystemExit(f"a worker has more than what was shipped: {prefix}, {places}")
    print("workers: a bare Python and the archive, nothing else", flush=True)


def local() -> dict[str, float]:
    """The same steps in one process on a local disk; seconds a step."""
    done = subprocess.run([str(BIN / "cdp"), "run", "--conf", str(ROOT / "conf"), "--lake", str(OUT / "local"),
                           "--drops", str(OUT / "drops"), "--date", str(START)], env=environment(),
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the local run failed:\n{done.stderr[-3000:]}")
    return {step["name"]: step["seconds"] for step in json.loads((OUT / "local" / "summary.json").read_text())["steps"]}


def on_cluster(here: Cluster, conf: str, endpoint: str, seconds: dict[str, float]) -> None:
    """Every step by a spark-submit of its own, as Airflow does it."""
    print(f"\n{'step':<12} {'local s':>8} {'submit s':>9}", flush=True)
    for step in STEPS:
        args = ["--conf", conf, "--env", "demo", "--date", str(START), "--run-id", "demo"]
        args += [] if step.name == "publish" else ["--hold"]
        begin = time.monotonic()
        done = here.submit(f"jobs/{step.name}.py", *args, **KEYS, MLFLOW_S3_ENDPOINT_URL=endpoint)
        if done.returncode:
            raise SystemExit(f"{step.name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        print(f"{step.name:<12} {seconds[step.name]:>8} {time.monotonic() - begin:>9.1f}", flush=True)


def differing(conf: str) -> tuple[int, list[str]]:
    """(tables, names of those whose content differs) of the cluster's lake and the local one."""
    env = load(conf, "demo").env
    spark = session.build(load(ROOT / "conf").env, s3=True, settings=session.s3_settings(env.s3))
    one, two = contents(spark, OUT / "local"), contents(spark, "s3a://cdp/lake")
    return len(one), sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=300)
    given = parser.parse_args()
    for name in ("drops", "truth", "local", "artifacts"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    (OUT / "mlflow.db").unlink(missing_ok=True)
    generate(OUT, given.people, 1, 7, START)
    seconds = local()
    with s3_server("cdp") as (endpoint, client), cluster(OUT) as here:
        upload(client, OUT / "drops", "cdp", "drops")
        conf = deployment(OUT, "demo", f"""master: null
jars: provided
shuffle_partitions: 4
lake: s3://cdp/lake
drops: s3://cdp/drops
exports: s3://cdp/exports
mlflow_uri: sqlite:///{OUT}/mlflow.db
s3: {{endpoint: "{endpoint}", path_style: true}}
""")  # fmt: skip
        only_what_was_shipped(here)
        on_cluster(here, conf, endpoint, seconds)
        os.environ.update(KEYS)
        tables, wrong = differing(conf)
    print(f"\n{tables} tables of the cluster's lake and of the local run: {', '.join(wrong) or 'equal'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
