"""What is known of deliveries? Rows of activation.deliveries: intent, confirmed, expired."""

from __future__ import annotations

import json
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation.files import Delivery
from cdp_spark.job import Job

DELIVERY = (
    "destination string, delivery_id string, status string, sequence int, date date, uri string, rows bigint, "
    "files int, manifest_sha256 string, about string, naming string, run_id string, recorded_at timestamp"
)


def newest(job: Job, name: str, pointer: dict | None) -> dict | None:
    """The delivery that the destination follows now; None where there is none, or none that `pointer` names."""
    rows = job.lake.read("activation.deliveries").where((F.col("destination") == name) & F.expr("status = 'confirmed'"))
    if pointer is not None:
        rows = rows.where(F.col("delivery_id") == pointer.get("delivery_id", ""))
    found = rows.orderBy(F.desc("sequence")).first()
    return found.asDict() if found else None


def reconcile(job: Job, name: str, pointer: dict) -> None:
    """Confirm the delivery that the pointer names, where a run died between pointer and confirmation."""
    told = job.lake.read("activation.deliveries").where(F.col("destination") == name)
    mine = told.where(F.col("delivery_id") == pointer.get("delivery_id", "")).collect()
    if {row["status"] for row in mine} == {"intent"}:
        job.log(f"{name}: confirming {pointer['delivery_id']}, which an earlier run put in force")
        spec = job.conf.destinations[name]
        row = mine[0]
        delivery = Delivery(name, spec, row["delivery_id"], row["sequence"], row["uri"], (), None)
        confirm(job, delivery, pointer, row["about"])


def confirm(job: Job, delivery: Delivery, pointer: dict, about: str) -> None:
    known = {"rows": pointer["rows"], "files": pointer["files"], "manifest": pointer["manifest_sha256"]}
    record(job, delivery, "confirmed", date.fromisoformat(pointer["date"]), about=about, **known)


def record(job: Job, delivery: Delivery, status: str, day: date, *, about: str, rows: int | None = None,
            files: int | None = None, manifest: str | None = None) -> None:  # fmt: skip
    rows = delivery.count if rows is None else rows
    row = (delivery.destination, delivery.delivery_id, status, delivery.sequence, day, delivery.uri, rows, files,
           manifest, about, json.dumps(delivery.spec.units), job.run_id, job.run_at)  # fmt: skip
    job.lake.write("activation.deliveries", job.spark.createDataFrame([row], DELIVERY))


def exports(deliveries: DataFrame, day: date) -> list[dict]:
    """[{"destination", "uri", "files", "rows"}]: the newest confirmed delivery of `day` to each destination."""
    rows = deliveries.where((F.col("date") == F.lit(day)) & (F.col("status") == "confirmed")).orderBy("sequence")
    newest = {row["destination"]: row for row in rows.collect()}
    return [{k: newest[name][k] for k in ("destination", "uri", "files", "rows")} for name in sorted(newest)]
