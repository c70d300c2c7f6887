"""What travels to a cluster whose machines have Spark and a bare Python? One archive: the package and what it needs."""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
OWN = ("cdp_spark", "ml", "jobs", "conf", "jars.lock")
ON_EVERY_MACHINE = ("pyspark",)  # a cluster has its own
# never imported by a task; with --deploy-mode cluster the driver runs on the cluster too and needs them (--all)
DRIVER_ONLY = ("mlflow", "splink", "boto3", "matplotlib", "openlineage-python", "sqlglot", "pg8000")
LEFT_OUT = {"__pycache__", "test", "tests", "include"}


def declared() -> list[str]:
    """The project's dependencies, from pyproject.toml in a checkout, else from the installed package."""
    path = ROOT / "pyproject.toml"
    if not path.exists():
        return distribution("cdp-spark").requires or []
    import tomllib

    return tomllib.loads(path.read_text())["project"]["dependencies"]


def closure(roots: Iterable[str], without: Iterable[str] = ()) -> set[str]:
    """Names of the installed distributions that `roots` need, themselves included, without those in `without`."""
    found, todo, without = set(), [Requirement(text) for text in roots], set(without)
    while todo:
        wanted = todo.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found | without or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # an optional one that is not installed here
        found.add(name)
        todo += [Requirement(text) for text in needs]
    return found


def files(names: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """(file, its path in the archive) of distributions: what lies in site-packages, without tests and headers."""
    for name in sorted(names):
        for entry in distribution(name).files or []:
            if entry.parts[0] != ".." and not LEFT_OUT & set(entry.parts) and entry.locate().is_file():
                yield Path(entry.locate()), str(entry)


def ship(out: Path, *, everything: bool = False) -> Path:
    """Write the archive to `out` (.tar.gz); its path. everything: what the driver alone needs comes too."""
    without = ON_EVERY_MACHINE if everything else (*ON_EVERY_MACHINE, *DRIVER_ONLY)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    with tarfile.open(part, "w:gz", compresslevel=1) as archive:
        for name in OWN:
            archive.add(ROOT / name, name, filter=lambda one: None if LEFT_OUT & set(Path(one.name).parts) else one)
        for path, inside in files(closure(declared(), without)):
            archive.add(path, inside, recursive=False)
    part.replace(out)
    return out


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cdp_spark.ship", description=__doc__)
    parser.add_argument("out", type=Path, help="the archive to write, such as build/cdp.tar.gz")
    parser.add_argument("--all", action="store_true", help="for a driver on the cluster (--deploy-mode cluster)")
    given = parser.parse_args(args)
    path = ship(given.out, everything=given.all)
    print(f"{path}: {path.stat().st_size / 2**20:.0f} MiB")
    print(f"spark-submit --archives {path}#cdp --conf spark.executorEnv.PYTHONPATH=./cdp ...")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
