"""What the design forbids, checked by reading the source: doors to the outside, direction of imports, completeness."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cdp_spark.config.cross import model_names
from cdp_spark.config.load import load
from cdp_spark.pipeline import STEPS, UPKEEP, between, upstream
from ml.spec import registered, shipped
from tests.conftest import ROOT

PACKAGES = ("cdp_spark", "ml", "jobs")
OWNERS = {
    "delta": {"cdp_spark/lake.py"},
    "mlflow": {"ml/tracking.py"},
    "graphframes": {"cdp_spark/identity/components.py"},
    "boto3": {"cdp_spark/activation/objects.py"},
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_the_outside_world_has_one_door(library, owners):
    users = {str(p.relative_to(ROOT)) for p in FILES if any(n.split(".")[0] == library for n in imported(p))}
    assert users == owners


@pytest.mark.parametrize(("package", "forbidden"), [("cdp_spark", {"ml", "jobs"}), ("ml", {"jobs"})])
def test_imports_point_one_way(package, forbidden):
    for path in (ROOT / package).rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & forbidden, path


def test_the_pipeline_needs_nothing_but_the_standard_library():
    assert imported(ROOT / "cdp_spark" / "pipeline.py") <= {"__future__", "typing"}
    assert (ROOT / "cdp_spark" / "__init__.py").read_text() == ""


def test_every_job_is_a_step_and_every_step_a_job():
    assert {p.stem for p in (ROOT / "jobs").glob("*.py")} - {"__init__"} == {step.name for step in (*STEPS, *UPKEEP)}


def test_jobs_hold_no_logic():
    for path in (ROOT / "jobs").glob("*.py"):
        assert "pyspark" not in path.read_text(), path


def test_every_written_table_has_a_contract_and_a_step():
    tables = set(load(ROOT / "conf").tables) - {"bronze._source"}
    assert {name for step in STEPS for name in step.writes if not name.endswith("*")} == tables


def test_steps_run_after_what_they_read():
    order = [step.name for step in STEPS]
    for step in STEPS:
        assert all(order.index(name) < order.index(step.name) for name in upstream(step))
        read = {name for name in step.reads if not name.endswith("*")}
        assert read <= {name for before in STEPS[: order.index(step.name)] for name in before.writes}


def test_readme_names_every_step_and_make_target():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for step in STEPS:
        assert f"| {step.name} |" in readme
    assert "make demo" in readme and "make test" in readme and "\ndemo:" in makefile and "\ntest:" in makefile


def test_models_are_found_in_their_folder():
    assert {"churn", "propensity"} <= set(model_names())
    assert set(model_names()) == set(shipped())
    every = {p.stem for p in (ROOT / "ml" / "models").glob("*.py") if not p.stem.startswith("_")}
    assert every == {name.split("_")[0] for name in registered(load(ROOT / "conf"))}


def test_between_refuses_what_is_no_range():
    assert [step.name for step in between("resolve", "profile")] == ["resolve", "profile"]
    with pytest.raises(ValueError, match="no step 'resolv'"):
        between("resolv")
    with pytest.raises(ValueError, match="comes after"):
        between("score", "ingest")
