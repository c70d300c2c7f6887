"""`make airflow`: a local Airflow with the DAGs, a pool and a Spark connection, until it is stopped with Ctrl-C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from cdp_spark import jars
from tests.conftest import ROOT
from tests.test_airflow import AIRFLOW, airflow_environment

HOME = ROOT / "build" / "airflow"
PORT = os.environ.get("PORT", "8080")


def main() -> int:
    HOME.mkdir(parents=True, exist_ok=True)
    conf = HOME / "conf"
    shutil.copytree(ROOT / "conf", conf, dirs_exist_ok=True)
    places = f"lake: {HOME}/lake\ndrops: {HOME}/drops\nexports: {HOME}/exports\nshuffle_partitions: 4\n"
    (conf / "env" / "airflow.yml").write_text(f"master: null\njars: provided\n{places}")
    own = airflow_environment(
        HOME,
        CDP_CONF=str(conf),
        CDP_ENV="airflow",
        CDP_RETRY_MINUTES="5",
        CDP_SUBMIT_JARS=",".join(jars.paths(["core"])),
        AIRFLOW__API__PORT=PORT,
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{PORT}/execution/",
    )
    command = str(AIRFLOW / "airflow")
    own["PATH"] = f"{own['PATH']}{os.pathsep}{AIRFLOW}"  # `standalone` starts its parts by the name `airflow`
    for words in (["db", "migrate"], ["pools", "set", "cdp", "2", "steps that run at the same time"]):
        subprocess.run([command, *words], env=own, check=True, stdout=subprocess.DEVNULL)
    print(f"Airflow: http://127.0.0.1:{PORT} (everybody on this machine is admin)", flush=True)
    print(f"drops go to {HOME}/drops: `cdp demo data --people 300 --out {HOME}` makes some", flush=True)
    return subprocess.run([command, "standalone"], env=own).returncode


if __name__ == "__main__":
    sys.exit(main())
