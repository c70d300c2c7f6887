"""`make real-identity [NAMES="febrl3 cora"]`: people found in the shared data sets, by the shared evaluator."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import time
from datetime import date
from pathlib import Path

import pandas as pd

from cdp_spark import job as jobs
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps

ROOT = Path(__file__).parents[3]
SHARED, OUT = ROOT.parent / "shared", ROOT / "build" / "real" / "identity"
# the data folder of those deployments that are not called like theirs
FOLDERS = {"census_surveys": "pseudopeople_noised", "census_taxes": "pseudopeople_noised"}
# (pairwise F1 at least, share of over-merged records at most), where a number is known to reach
WANTED = {
    "febrl3": (0.994, 0.0),
    "febrl4": (0.995, 0.0),
    "census_surveys": (0.904, 0.015),
    "census_taxes": (0.951, 0.02),
}


def evaluator():
    """The evaluator that lies beside the data, so that nobody judges his own work with his own ruler."""
    spec = importlib.util.spec_from_file_location("shared_evaluate", SHARED / "tools" / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate


def people(name: str) -> pd.DataFrame:
    """record_id, cluster_id of every record of a data set, found from its files alone."""
    shutil.rmtree(OUT / name, ignore_errors=True)
    drops = SHARED / "data" / "identity" / FOLDERS.get(name, name)
    conf, day, small = str(Path(__file__).parent / name), date(2026, 1, 31), {"spark.driver.memory": "3g"}
    job = jobs.start(conf, "local", day, lake=str(OUT / name), drops=str(drops), settings=small)
    run_steps(job, between("ingest", "resolve"))
    members = job.lake.read("identity.members").where("valid_to IS NULL")
    return members.selectExpr("record_id", "person_id AS cluster_id").toPandas()


def judged(name: str) -> bool:
    """Run and print one data set; True where it reaches what is wanted of it."""
    begin, found = time.monotonic(), people(name)
    truth = pd.read_csv(SHARED / "data" / "identity" / FOLDERS.get(name, name) / "truth.csv", dtype=str)
    truth = truth.loc[truth["record_id"].isin(set(found["record_id"])), ["record_id", "entity_id"]]
    got = evaluator()(found, truth)
    least, most = WANTED.get(name, (0.0, 1.0))
    good = got["pairwise_f1"] >= least and got["over_merged_share"] <= most
    shown = ("records", "pairwise_p", "pairwise_r", "pairwise_f1", "over_merged_share", "b3_f1", "largest_cluster")
    print(f"{name}: " + ", ".join(f"{key} {got[key]}" for key in shown), end="")
    print(
        f"; wanted F1 {least}, over-merged {most}: {'reached' if good else 'MISSED'} ({time.monotonic() - begin:.0f} s)"
    )
    return good


def main() -> int:
    known = sorted(path.parent.name for path in Path(__file__).parent.glob("*/identity.yml"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"data sets, all by default: {', '.join(known)}")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}. Known: {', '.join(known)}")
    if not SHARED.is_dir():
        print("shared data not found: ../shared/data/identity; nothing was run", file=sys.stderr)
        return 0
    return 0 if all([judged(name) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
