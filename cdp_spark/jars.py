"""Which JARs does a session load, and are they the locked ones? Fetches once, verifies, works offline after."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LOCK = next((p for p in (Path(__file__).parents[1] / "jars.lock", Path(__file__).with_name("jars.lock")) if p.exists()),
            Path(__file__).parents[1] / "jars.lock")  # fmt: skip
GRAPHFRAMES = "org.apache.sedona:sedona-spark-shaded-4.0_2.13"
OFFICIAL = "io.graphframes:graphframes-spark4_2.13:0.9.2"  # the same classes, where Maven Central is at hand
# Spark ships these itself: a second version on the class path is what breaks a session
SHIPPED_BY_SPARK = (
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "com.fasterxml.*:*",
    "org.apache.logging.log4j:*",
    "org.apache.parquet:*",
    "org.slf4j:*",
    "org.xerial.snappy:*",
    "com.github.luben:*",
    "org.roaringbitmap:*",
    "org.locationtech.jts:*",
)


class Jar(NamedTuple):
    """One locked JAR."""

    group: str
    coordinate: str
    sha256: str

    @property
    def file(self) -> str:
        return "_".join(self.coordinate.split(":", 1)).replace(":", "-") + ".jar"


class JarError(Exception):
    """A JAR is missing or is not the one that was locked."""


def locked(lock: Path = LOCK) -> list[Jar]:
    """The lock's lines. Raises JarError that names a line which is not `group coordinate sha256`."""
    found = []
    for number, line in enumerate(lock.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3 or not re.fullmatch(r"[0-9a-f]{64}", parts[2]):
            raise JarError(f"{lock.name}, line {number}: expected 'group coordinate sha256'")
        found.append(Jar(*parts))
    return found


def cache() -> Path:
    return Path(os.environ.get("CDP_JARS") or Path.home() / ".cache" / "cdp-spark" / "jars")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def good(jar: Jar, folder: Path) -> bool:
    """Is the cached file the locked one? Hashed once; after that its size and time stand for the hash."""
    path, stamp = folder / jar.file, folder / f"{jar.file}.ok"
    if not path.exists():
        return False
    mark = f"{jar.sha256} {path.stat().st_size} {path.stat().st_mtime_ns}"
    if stamp.exists() and stamp.read_text() == mark:
        return True
    if digest(path) != jar.sha256:
        return False
    _put(stamp, mark)
    return True


def _put(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(path)


def paths(groups: Iterable[str]) -> list[str]:
    """Local, verified paths of the JARs in `groups`. Raises JarError where one is missing or was changed."""
    groups, folder = list(groups), cache()
    wanted = [jar for jar in locked() if jar.group in groups]
    if missing := [jar.coordinate for jar in wanted if not good(jar, folder)]:
        raise JarError(
            f"{len(missing)} JARs are missing from the cache or differ from jars.lock, first {missing[0]}; "
            f"run `python -m cdp_spark.jars fetch {' '.join(groups)}` once (it needs the network)"
        )
    return [str(folder / jar.file) for jar in wanted]


def packages(groups: Iterable[str], graphframes: str | None = None) -> list[str]:
    """Coordinates for spark-submit's --packages; `graphframes` takes the place of the shaded build."""
    groups = list(groups)
    found = [jar.coordinate for jar in locked() if jar.group in groups]
    if graphframes:
        found = [graphframes if name.startswith(GRAPHFRAMES) else name for name in found]
    return found


def fetch(groups: Iterable[str]) -> None:
    """Bring what is missing through Spark's own resolver and verify each. Raises JarError on a wrong hash."""
    groups, folder = list(groups), cache()
    folder.mkdir(parents=True, exist_ok=True)
    todo = [jar for jar in locked() if jar.group in groups and not good(jar, folder)]
    if not todo:
        print(f"JARs of {', '.join(groups)}: all there", flush=True)
        return
    print(f"JARs of {', '.join(groups)}: fetching {len(todo)} (once; some are large)", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as ivy:
        _resolve(todo, Path(ivy))
        for jar in todo:
            _keep(jar, Path(ivy) / "jars" / jar.file, folder)


def _resolve(todo: list[Jar], ivy: Path) -> None:
    script = ivy / "nothing.py"
    script.write_text("")
    command = ["spark-submit", "--master", "local[1]", "--conf", f"spark.jars.ivy={ivy}"]
    command += ["--packages", ",".join(jar.coordinate for jar in todo)]
    command += ["--exclude-packages", ",".join(SHIPPED_BY_SPARK), str(script)]
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise JarError("Spark's resolver could not fetch the JARs:\n" + (done.stdout + done.stderr)[-2000:])


def _keep(jar: Jar, path: Path, folder: Path) -> None:
    if not path.exists():
        raise JarError(f"{jar.coordinate}: the resolver did not bring it")
    if (found := digest(path)) != jar.sha256:
        raise JarError(f"{jar.coordinate}: SHA-256 {found} is not the locked {jar.sha256}; it was thrown away")
    part = folder / f"{jar.file}.{os.getpid()}.part"
    shutil.move(path, part)
    part.replace(folder / jar.file)
    good(jar, folder)
    print(f"  {jar.coordinate}", flush=True)


def main(args: list[str]) -> int:
    groups = {jar.group for jar in locked()}
    if not args or args[0] not in ("fetch", "paths", "packages") or not set(args[1:]) <= groups:
        print(f"usage: python -m cdp_spark.jars fetch|paths|packages [{'|'.join(sorted(groups))} ...]", file=sys.stderr)
        return 2
    try:
        if args[0] == "paths":
            print(",".join(paths(args[1:] or ["core"])))  # what spark-submit's --jars takes
        elif args[0] == "packages":
            print(",".join(packages(args[1:] or ["core"], OFFICIAL)))  # what its --packages takes on a cluster
        else:
            fetch(args[1:] or ["core"])
    except JarError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
