"""A real PostgreSQL on loopback that a test starts and stops, never as root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
BIN = PROGRAMS[0] if PROGRAMS else Path(shutil.which("initdb") or "/none/initdb").parent
MISSING = not (BIN / "initdb").exists()
AS = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []


@contextmanager
def postgres() -> Iterator[int]:
    """The port of a new, empty server whose user `cdp` needs no password; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if AS:
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "check": True, "cwd": folder}
    subprocess.run([*AS, str(BIN / "initdb"), "-D", str(data), "-U", "cdp", "-A", "trust", "-E", "UTF8"], **quiet)
    server = [*AS, str(BIN / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    try:
        subprocess.run([*server, "-o", settings, "start"], **quiet)
        yield port
    finally:
        subprocess.run([*server, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)


def execute(port: int, *statements: str, database: str = "postgres") -> None:
    import pg8000.native

    connection = pg8000.native.Connection("cdp", host="127.0.0.1", port=port, database=database)
    for statement in statements:
        connection.run(statement)
    connection.close()
