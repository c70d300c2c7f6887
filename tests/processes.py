"""Real processes that a test starts, waits for and ends: each with all that it has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def tree(root: int) -> list[int]:
    """The process `root` and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found


def kill(process: subprocess.Popen, how: int = signal.SIGKILL) -> None:
    """End `process` and all below it, and wait for it."""
    for pid in tree(process.pid):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue
    process.wait(60)


def until(asked: Callable[[], Any], process: subprocess.Popen, tries: int = 600, pause: float = 0.2) -> Any:
    """The first answer of `asked` that is true, asked while `process` runs. Raises RuntimeError without one."""
    for _ in range(tries):
        try:
            if answer := asked():
                return answer
        except OSError:
            pass
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    raise RuntimeError(f"{process.args} did not come to it in {tries * pause:.0f} s")
