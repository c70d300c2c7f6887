"""`make real`: the same steps on real shops, from bronze to an exported audience, against numbers counted elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import date
from pathlib import Path

from pyspark.sql import functions as F

from cdp_spark import job as jobs
from cdp_spark.job import Job
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.summary import print_summary, summary

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "ml"
OUT = ROOT / "build" / "real"
# counted from the files by whoever keeps the data folder (its README): what must come out whatever the code does
DAYS = {"completejourney": date(2018, 1, 1), "online_retail": date(2011, 12, 9)}
EXPECTED = {
    "completejourney": {"bronze transactions in": 1_469_307, "filtered": 8_869, "people": 2_469},
    "online_retail": {
        "bronze invoices in": 541_909,
        "deduplicated": 5_268,
        "clean lines": 392_692,
        "clean orders": 18_532,
        "clean customers": 4_338,
        "clean revenue": 8_887_208.89,
    },
}


def measured(name: str, job: Job) -> dict:
    """The numbers of EXPECTED as the lake has them."""
    rows = {(r["layer"], r["source"]): r for r in job.lake.read("bronze._reconciliation").collect()}
    if name == "completejourney":
        people = job.lake.read("identity.members").where("valid_to IS NULL").agg(F.count_distinct("person_id"))
        return {
            "bronze transactions in": rows["bronze", "transactions"]["rows_in"],
            "filtered": rows["silver", "transactions"]["filtered"],
            "people": people.first()[0],
        }
    clean = job.lake.read("silver.orders").where("status = 'paid' AND user_id IS NOT NULL")
    found = clean.agg(
        F.count("*").alias("lines"),
        F.count_distinct("order_id").alias("orders"),
        F.count_distinct("user_id").alias("customers"),
        F.round(F.sum("amount"), 2).alias("revenue"),
    ).first()
    return {
        "bronze invoices in": rows["bronze", "invoices"]["rows_in"],
        "deduplicated": rows["bronze", "invoices"]["deduplicated"],
    } | {f"clean {key}": found[key] for key in ("lines", "orders", "customers", "revenue")}


def run(name: str) -> bool:
    """Run one shop; True where every number is as counted."""
    shutil.rmtree(OUT / name, ignore_errors=True)
    begin = time.monotonic()
    job = jobs.start(str(Path(__file__).parent / name), "local", DAYS[name], lake=str(OUT / name / "lake"),
                     drops=str(SHARED / name), exports=str(OUT / name / "exports"))  # fmt: skip
    steps = run_steps(job, between())
    print_summary(summary(job, steps))
    found, good = measured(name, job), True
    print(f"\n{name}: {time.monotonic() - begin:.0f} s")
    for key, wanted in EXPECTED[name].items():
        verdict = "as counted" if found[key] == wanted else f"EXPECTED {wanted:,}"
        good = good and found[key] == wanted
        print(f"  {key:<24} {found[key]:>14,}  {verdict}")
    return good


def main() -> int:
    if not SHARED.is_dir():
        print("shared data not found: ../shared/data/ml; nothing was run", file=sys.stderr)
        return 0
    return 0 if all([run(name) for name in DAYS]) else 1


if __name__ == "__main__":
    sys.exit(main())
