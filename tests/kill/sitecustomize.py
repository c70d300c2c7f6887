"""Kills the process it is loaded into, and its JVM, at one commit: put this folder on PYTHONPATH.

CDP_TEST_KILL: "<table> before|during|after", or of an object of a delivery "<end of its key> before|after" its put, or
"<folder of a destination> data" as soon as data appears there.
CDP_TEST_KILLED: a file that is made then; once there, nothing is killed.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path


def die() -> None:
    Path(os.environ["CDP_TEST_KILLED"]).touch()
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    jvm = gateway.jvm.java.lang.ProcessHandle.current().pid() if gateway else None
    for pid in (jvm, os.getpid()):
        if pid:
            os.kill(pid, signal.SIGKILL)


def data_files(folder: str) -> set:
    return set(Path(folder).rglob("*.parquet")) if os.path.isdir(folder) else set()


def watch(folder: str) -> None:
    """Die as soon as a data file of a commit that is not yet there appears."""
    known = data_files(folder)
    while data_files(folder) <= known:
        time.sleep(0.002)  # a watcher has nothing else to wait for
    die()


def watch_parts(folder: str) -> None:
    """Die as soon as a data file of a delivery that was not there yet appears below `folder`."""
    known = set(Path(folder).rglob("*part-*"))
    while set(Path(folder).rglob("*part-*")) <= known:
        time.sleep(0.002)
    die()


def patch(table: str, moment: str) -> None:
    from cdp_spark.lake import Lake

    commit = Lake._commit

    def killed(self, name, *rest):
        if name == table and moment == "before":
            die()
        if name == table and moment == "during":
            threading.Thread(target=watch, args=(self.location(name),), daemon=True).start()
        commit(self, name, *rest)
        if name == table:
            die()

    Lake._commit = killed


def patch_put(key: str, moment: str) -> None:
    from cdp_spark.activation.objects import Bucket, Folder

    for kind in (Bucket, Folder):
        put = kind.put

        def killed(self, name, body, put=put):
            if name.endswith(key) and moment == "before":
                die()
            put(self, name, body)
            if name.endswith(key):
                die()

        kind.put = killed


wanted = os.environ.get("CDP_TEST_KILL")
if (
    wanted
    and not Path(os.environ["CDP_TEST_KILLED"]).exists()
    and not any("pyspark.daemon" in a for a in sys.orig_argv)
):
    what, moment = wanted.split()
    if moment == "data":
        threading.Thread(target=watch_parts, args=(what,), daemon=True).start()
    else:
        (patch_put if what.endswith(".json") else patch)(what, moment)
