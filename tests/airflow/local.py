"""A real Airflow on loopback, in a folder of its own: prepared, started, asked, killed, started again."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from tests.conftest import ROOT
from tests.lakes import BIN, environment

AIRFLOW = ROOT / ".venv-airflow" / "bin"


class Airflow:
    """Airflow in the folder `home` with the project's DAGs; `settings` are more environment variables."""

    def __init__(self, home: Path, port: int = 0, **settings: str):
        self.home, self.address = home, f"http://127.0.0.1:{port}"
        own = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[2]"}',
        }
        # last on PATH: `standalone` starts its parts by the name `airflow`; spark-submit and python are the project's
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}{os.pathsep}{AIRFLOW}"
        self.env = environment(**(own | {"PATH": path} | settings))

    def run(self, *command: str, timeout: int = 300) -> subprocess.CompletedProcess:
        """A program of Airflow's environment, to its end. Raises AssertionError with its output where it fails."""
        done = subprocess.run([str(AIRFLOW / command[0]), *command[1:]], env=self.env, cwd=ROOT, capture_output=True,
                              text=True, timeout=timeout)  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def prepare(self) -> None:
        """Its database, and the pool that the DAGs ask for."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.run("airflow", "db", "migrate")
        self.run("airflow", "pools", "set", "cdp", "2", "steps that run at the same time")

    def start(self, **more) -> subprocess.Popen:
        """Scheduler, DAG processor and API server, until the process is ended."""
        return subprocess.Popen([str(AIRFLOW / "airflow"), "standalone"], env=self.env, cwd=self.home, **more)

    def ask(self, path: str, method: str = "GET", **body) -> dict:
        """The answer of the API at /api/v2/`path`. Raises OSError where it does not answer."""
        with urllib.request.urlopen(f"{self.address}/auth/token", timeout=30) as got:
            token = json.loads(got.read())["access_token"]
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body else None
        asked = urllib.request.Request(f"{self.address}/api/v2/{path}", data, head, method=method)
        with urllib.request.urlopen(asked, timeout=30) as got:
            return json.loads(got.read())

    def well(self) -> bool:
        """Do the scheduler and the DAG processor tell of themselves, and are the project's DAGs known?"""
        parts = self.ask("monitor/health")
        healthy = all(parts[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))
        return healthy and self.ask("dags")["total_entries"] >= 3
