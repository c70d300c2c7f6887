"""Do the container files name only what exists, and hold no secret? No engine is needed to tell."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points
from pathlib import Path
from zipfile import ZipFile

import pyspark
import pytest
import yaml

from cdp_spark.config.load import load
from tests.conftest import ROOT

DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yml").read_text())
FILES = ("Dockerfile", "Dockerfile.airflow")
CONFIG = list(ROOT.glob(".venv-airflow/lib/python3*/site-packages/airflow/config_templates/config.yml"))


def test_everything_copied_exists():
    for name in FILES:
        for line in re.findall(r"^COPY (.+)$", (DOCKER / name).read_text(), re.M):
            for path in line.split()[:-1]:
                assert (ROOT / path).exists(), (name, path)


def test_images_are_pinned_checked_and_not_root():
    for name in FILES:
        text = (DOCKER / name).read_text()
        assert re.findall(r"^USER (.+)$", text, re.M)[-1] == "cdp"
        assert text.count("--require-hashes") == len(re.findall(r"pip install", text)) > 0
    images = [service["image"] for service in COMPOSE["services"].values()]
    assert all(image in ("cdp-spark", "cdp-airflow") or re.search(r":.*\d", image) for image in images)


def test_built_images_and_volumes_lead_to_files():
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DOCKER / source).is_file()


def test_services_wait_only_for_services_that_can_tell_they_are_well():
    services = COMPOSE["services"]
    for service in services.values():
        waits = service.get("depends_on", {})
        for name in waits:
            assert name in services
            if isinstance(waits, dict) and waits[name]["condition"] == "service_healthy":
                assert "healthcheck" in services[name]


def test_the_environment_of_compose_is_sound_and_names_its_services():
    env = load(ROOT / "conf", "compose").env
    addresses = (env.s3.endpoint, env.mlflow_uri)
    assert all(re.match(r"http://([a-z]+):\d+$", a)[1] in COMPOSE["services"] for a in addresses)
    assert env.mlflow_uri.rsplit(":", 1)[1] in COMPOSE["services"]["mlflow"]["command"]
    assert "CDP_ENV=compose" in (DOCKER / "Dockerfile.airflow").read_text()
    conn = json.loads(COMPOSE["services"]["airflow"]["environment"]["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert (
        conn["host"] == "spark://spark-master" and str(conn["port"]) in COMPOSE["services"]["spark-master"]["command"]
    )


def test_airflow_finds_itself_by_name_and_spark_before_its_own():
    """`airflow standalone` starts its parts by the name `airflow`."""
    text = (DOCKER / "Dockerfile.airflow").read_text()
    program = re.search(r'CMD \["(.+)/airflow", "standalone"\]', text)[1]
    assert re.search(r'^ENV PATH="?(.+?)"?$', text, re.M)[1].split(":") == ["${PATH}", program]


def test_mlflow_answers_by_the_name_that_the_environment_calls_it():
    command = COMPOSE["services"]["mlflow"]["command"]
    allowed = command[command.index("--allowed-hosts") + 1].split(",")
    host = load(ROOT / "conf", "compose").env.mlflow_uri.removeprefix("http://")
    assert host in allowed and "*" not in allowed


def test_whoever_keeps_or_loads_models_knows_the_store():
    store = load(ROOT / "conf", "compose").env.s3.endpoint
    for name in ("mlflow", "airflow", "spark-worker"):
        assert COMPOSE["services"][name]["environment"]["MLFLOW_S3_ENDPOINT_URL"] == store, name


def test_settings_of_dags_are_those_that_dags_read():
    known = set(re.findall(r"CDP_[A-Z_]+", (ROOT / "dags" / "cdp_dag.py").read_text())) | {"CDP_JARS"}
    used = set(re.findall(r"CDP_[A-Z_]+", "".join((DOCKER / name).read_text() for name in (*FILES, "compose.yml"))))
    assert used <= known


def test_commands_exist():
    scripts = {point.name for point in entry_points(group="console_scripts")}
    assert COMPOSE["services"]["mlflow"]["command"][0] in scripts
    for module in re.findall(r"python -m (cdp_spark[.a-z]+)", "".join((DOCKER / name).read_text() for name in FILES)):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_spark_has_the_programs_and_classes_that_are_started():
    home = Path(pyspark.__file__).parent
    held = {name for jar in home.glob("jars/spark-core_*.jar") for name in ZipFile(jar).namelist()}
    for name in ("spark-master", "spark-worker"):
        program, java = COMPOSE["services"][name]["command"][:2]
        assert (home / "bin" / program).is_file() and f"{java.replace('.', '/')}.class" in held
    args = {
        word for text in map(str, COMPOSE["services"].values()) for word in re.findall(r"spark://[a-z-]+:(\d+)", text)
    }
    assert args == {COMPOSE["services"]["spark-master"]["command"][-1]}


def test_ports_are_those_that_are_listened_at():
    airflow, mlflow = COMPOSE["services"]["airflow"], COMPOSE["services"]["mlflow"]
    inner = airflow["ports"][0].rsplit(":", 1)[1]
    assert f"127.0.0.1:{inner}/api/v2/monitor/health" in airflow["healthcheck"]["test"][-1]
    assert all(port.startswith("127.0.0.1:") for one in COMPOSE["services"].values() for port in one.get("ports", []))
    assert mlflow["command"][mlflow["command"].index("--port") + 1] in load(ROOT / "conf", "compose").env.mlflow_uri


@pytest.mark.skipif(not CONFIG, reason="no Airflow here: make airflow-env")
def test_airflow_knows_the_settings_that_are_given_to_it():
    known = yaml.safe_load(CONFIG[0].read_text())
    text = "".join((DOCKER / name).read_text() for name in (*FILES, "compose.yml"))
    named = re.findall(r"AIRFLOW__([A-Z]+)__([A-Z_]+)", text) + [("API", "PORT")]
    assert len(named) > 3
    assert all(option.lower() in known[section.lower()]["options"] for section, option in named)
    assert str(known["api"]["options"]["port"]["default"]) in COMPOSE["services"]["airflow"]["ports"][0]


def test_no_secret_is_written_down():
    text = (DOCKER / "compose.yml").read_text()
    for key, value in re.findall(r"^\s+(\w*(?:PASSWORD|SECRET|KEY)\w*): (.+)$", text, re.M):
        assert value.startswith("${"), key
    assert not re.search(r"://\w+:[^$@]+@", text)
