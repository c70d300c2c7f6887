"""`make airflow`: a local Airflow with the DAGs, a pool and a Spark connection, until it is stopped with Ctrl-C."""

from __future__ import annotations

import os
import shutil
import sys

from cdp_spark import jars
from tests.airflow.local import Airflow
from tests.conftest import ROOT

HOME = ROOT / "build" / "airflow"


def main() -> int:
    conf = shutil.copytree(ROOT / "conf", HOME / "conf", dirs_exist_ok=True)
    places = f"lake: {HOME}/lake\ndrops: {HOME}/drops\nexports: {HOME}/exports\nshuffle_partitions: 4\n"
    (conf / "env" / "airflow.yml").write_text(f"master: null\njars: provided\n{places}")
    own = {"CDP_CONF": str(conf), "CDP_ENV": "airflow", "CDP_SUBMIT_JARS": ",".join(jars.paths(["core"]))}
    airflow = Airflow(HOME, int(os.environ.get("PORT", "8080")), **own)
    airflow.prepare()
    print(f"Airflow: {airflow.address} (everybody on this machine is admin; Ctrl-C ends it)", flush=True)
    print(f"drops go to {HOME}/drops: `cdp demo data --people 300 --out {HOME}` makes some", flush=True)
    process = airflow.start()
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait(60)  # the terminal has told it too


if __name__ == "__main__":
    sys.exit(main())
