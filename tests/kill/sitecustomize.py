"""What goes wrong in the process it is loaded into: put this folder on PYTHONPATH.

CDP_TEST_KILL: "<table> before|during|after|heap": at that commit the process and its JVM are killed, or the JVM's heap
is filled; or of an object of a delivery "<end of its key> before|after" its put, or "<folder of a destination> data" as
soon as data appears there.  CDP_TEST_KILLED: a file that is made then; once there, nothing is killed.
CDP_TEST_WORKER: a process that is killed with all below it when the first round of components is done.
CDP_TEST_CLOCK: seconds that the clock is ahead.
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


def fill_heap() -> None:
    """Take memory of the driver's JVM until there is none left."""
    Path(os.environ["CDP_TEST_KILLED"]).touch()
    from pyspark import SparkContext

    gateway, held = SparkContext._gateway, []
    while True:
        held.append(gateway.new_array(gateway.jvm.long, 50_000_000))


def watch(folder: str, pattern: str = "*.parquet") -> None:
    """Die as soon as a file that was not there yet, of a commit or of a delivery, appears below `folder`."""
    known = set(Path(folder).rglob(pattern))
    while set(Path(folder).rglob(pattern)) <= known:
        time.sleep(0.002)  # nobody tells a watcher of files: it looks again and again
    die()


def patch_commits(table: str, moment: str) -> None:
    from cdp_spark.lake import Lake

    def killed(commit):
        def run(self, name, *rest, **more):
            if name == table and moment in ("before", "heap"):
                (fill_heap if moment == "heap" else die)()
            if name == table and moment == "during":
                threading.Thread(target=watch, args=(self.location(name),), daemon=True).start()
            commit(self, name, *rest, **more)
            if name == table:
                die()

        return run

    for commit in ("_save", "_add_missing", "optimize"):
        setattr(Lake, commit, killed(getattr(Lake, commit)))


def patch_components(pid: int) -> None:
    from cdp_spark.identity import components
    from tests.processes import tree

    replaced = components._replaced

    def killed(links, step):
        for one in tree(pid) if os.path.exists(f"/proc/{pid}/exe") else []:
            os.kill(one, signal.SIGKILL)
        return replaced(links, step)

    components._replaced = killed


def patch_clock(seconds: int) -> None:
    import datetime as dt
    from importlib import import_module

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + dt.timedelta(seconds=seconds)

    for name in ("job", "lock", "marks"):
        import_module(f"cdp_spark.{name}").datetime = Ahead


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


mine = not any("pyspark.daemon" in word or "pyspark.worker" in word for word in sys.orig_argv)
if mine and os.environ.get("CDP_TEST_KILL") and not Path(os.environ["CDP_TEST_KILLED"]).exists():
    what, moment = os.environ["CDP_TEST_KILL"].split()
    if moment == "data":
        threading.Thread(target=watch, args=(what, "*part-*"), daemon=True).start()
    else:
        (patch_put if what.endswith(".json") else patch_commits)(what, moment)
if mine and os.environ.get("CDP_TEST_WORKER"):
    patch_components(int(os.environ["CDP_TEST_WORKER"]))
if mine and os.environ.get("CDP_TEST_CLOCK"):
    patch_clock(int(os.environ["CDP_TEST_CLOCK"]))
