"""How do members reach a destination? An immutable folder per delivery, named by what it holds, and one pointer.

Order: intent row, data files, manifest, rows of what was sent, pointer, confirmation row. A reader follows
<prefix>/latest.json, which is put last and whole; whoever dies before leaves the former delivery in force.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation.content import content, digest, neutral, sent
from cdp_spark.activation.objects import Objects, objects
from cdp_spark.audiences.build import permission, wide
from cdp_spark.config.activation import Destination
from cdp_spark.config.leaving import identifying
from cdp_spark.governance.consent import consented
from cdp_spark.job import Job
from cdp_spark.storage import Storage

DELIVERY = (
    "destination string, delivery_id string, status string, date date, uri string, rows bigint, files int, "
    "manifest_sha256 string, run_id string, recorded_at timestamp"
)


class Delivery(NamedTuple):
    """One delivery to be made or made: `uri` is its folder, `rows` the frame of `content`."""

    destination: str
    spec: Destination
    delivery_id: str
    uri: str
    rows: DataFrame
    count: int


def deliver_all(job: Job) -> list[dict]:
    """Every destination of the deployment; `exports` of this run's date afterwards."""
    state = permission(job).persist() if job.conf.destinations else None
    for name, spec in job.conf.destinations.items():
        store = objects(f"{job.exports}/{spec.prefix}", job.conf.env.s3)
        deliver(job, name, spec, store, state)
    return exports(job.lake.read("activation.deliveries"), job.date)


def deliver(job: Job, name: str, spec: Destination, store: Objects, state: DataFrame) -> None:
    """Make the delivery of one destination, unless the very same was made or a newer day's is in force.

    Raises DeliveryError before any work where the place cannot be reached.
    """
    pointer = json.loads(store.get("latest.json") or b"{}")
    reconcile(job, name, pointer)
    if pointer.get("date", "") > str(job.date):
        job.warn(f"{name}: the delivery in force is of {pointer['date']}; nothing was delivered for {job.date}")
        return
    rows = content(members(job, spec, state), spec, job.conf.base.region).persist()
    found, count = digest(rows.drop("_person_id"), name, spec)
    delivery_id = f"{job.date:%Y%m%d}-{found[:16]}"
    uri = f"{job.exports}/{spec.prefix}/deliveries/{delivery_id}"
    if pointer.get("delivery_id") == delivery_id:
        job.log(f"{name}: delivery {delivery_id} is in force already")
    else:
        _make(job, Delivery(name, spec, delivery_id, uri, rows, count), store)
    rows.unpersist()


def members(job: Job, spec: Destination, state: DataFrame) -> DataFrame:
    """Who is in the destination's audiences now, is treated, and still says yes: one row per audience and person."""
    inside = job.lake.read("activation.members").where("left IS NULL AND arm = 'treatment'")
    found = None
    for audience in spec.audiences:
        rule = job.conf.audiences[audience]
        mine = consented(inside.where(F.col("audience") == audience), state, purpose=rule.purpose)
        rows = mine.drop("left", "arm").join(wide(job, rule.scores_max_age_days), "person_id")
        found = rows if found is None else found.unionByName(rows)
    return found


def _make(job: Job, delivery: Delivery, store: Objects) -> None:
    _record(job, delivery.destination, delivery.delivery_id, "intent", delivery.uri, delivery.count)
    known = f"deliveries/{delivery.delivery_id}/manifest.json"
    manifest = store.get(known)  # there: an earlier try came this far, or the same content was in force before
    if manifest is None:
        manifest = json.dumps(_write(job, delivery, store), indent=1).encode()
        store.put(known, manifest)
    names = [f for f, target in delivery.spec.fields.items() if identifying(job.conf, target)]
    job.lake.write("activation.sent", sent(delivery.rows, delivery.destination, delivery.delivery_id, names))
    told = json.loads(manifest)
    pointer = {
        "destination": delivery.destination,
        "delivery_id": delivery.delivery_id,
        "date": str(job.date),
        "manifest": known,
        "manifest_sha256": _sha256(manifest),
        "files": len(told["files"]),
        "rows": told["rows"],
    }
    store.put("latest.json", json.dumps(pointer, indent=1).encode())
    _confirm(job, delivery.destination, delivery.uri, pointer)
    job.log(f"{delivery.destination}: {told['rows']} rows in {len(told['files'])} files, {delivery.uri}")
    if not told["rows"]:
        job.warn(f"{delivery.destination}: nobody to deliver; the list of the destination is now empty")


def _write(job: Job, delivery: Delivery, store: Objects) -> dict:
    """Write the data files; the manifest: every file with rows, bytes and SHA-256, paths from the pointer's folder."""
    spec, folder = delivery.spec, f"{delivery.uri}/data"
    rows = delivery.rows.drop("_person_id")
    frame = neutral(rows) if spec.format == "csv" else rows
    parts = max(1, math.ceil(delivery.count / spec.max_rows_per_file))
    writer = frame.repartition(parts).write.mode("overwrite").options(**_options(spec))
    writer.option("maxRecordsPerFile", spec.max_rows_per_file).format(spec.format).save(folder)
    counted = _rows_by_file(job, spec, folder)
    files = []
    for path in Storage(job.spark).files(f"{folder}/part-*"):
        name = path.rsplit("/", 1)[-1]
        key = f"deliveries/{delivery.delivery_id}/data/{name}"
        size, sha256 = store.digest(key)
        files.append({"path": key, "rows": counted.get(name, 0), "bytes": size, "sha256": sha256})
    return {
        "destination": delivery.destination,
        "delivery_id": delivery.delivery_id,
        "date": str(job.date),
        "run_id": job.run_id,
        "sync": spec.sync,
        "format": spec.format,
        "compression": spec.compression,
        "normalisers": spec.normalisers,
        "columns": list(spec.fields),
        "rows": delivery.count,
        "files": files,
    }


def _options(spec: Destination) -> dict[str, str]:
    options = {"compression": spec.compression, "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false"}
    if spec.format == "csv":
        # RFC 4180: a quote is doubled; blanks are kept; a null is an empty field.
        options |= {"header": "true", "escape": '"', "ignoreLeadingWhiteSpace": "false", "emptyValue": ""}
        options |= {"ignoreTrailingWhiteSpace": "false"}
    return options


def _rows_by_file(job: Job, spec: Destination, folder: str) -> dict[str, int]:
    """Rows of each file as another reader counts them: the manifest tells what is there, not what was meant."""
    options = {"header": "true", "escape": '"', "multiLine": "true"} if spec.format == "csv" else {}
    schema = ", ".join(f"`{name}` string" for name in spec.fields)
    reader = job.spark.read.options(**options).format(spec.format)
    frame = (reader.schema(schema) if spec.format != "parquet" else reader).load(folder)
    name = F.element_at(F.split("_metadata.file_path", "/"), -1)
    return {r["name"]: r["count"] for r in frame.groupBy(name.alias("name")).count().collect()}


def reconcile(job: Job, name: str, pointer: dict) -> None:
    """Confirm the delivery that the pointer names, where a run died between pointer and confirmation."""
    told = job.lake.read("activation.deliveries").where(F.col("destination") == name)
    mine = told.where(F.col("delivery_id") == pointer.get("delivery_id", "")).collect()
    if {row["status"] for row in mine} == {"intent"}:
        job.log(f"{name}: confirming {pointer['delivery_id']}, which an earlier run put in force")
        _confirm(job, name, mine[0]["uri"], pointer)


def _confirm(job: Job, name: str, uri: str, pointer: dict) -> None:
    rest = (pointer["rows"], pointer["files"], pointer["manifest_sha256"], date.fromisoformat(pointer["date"]))
    _record(job, name, pointer["delivery_id"], "confirmed", uri, *rest)


def _record(job: Job, name, delivery_id, status, uri, rows, files=None, manifest=None, day: date | None = None) -> None:
    row = (name, delivery_id, status, day or job.date, uri, rows, files, manifest, job.run_id, job.run_at)
    job.lake.write("activation.deliveries", job.spark.createDataFrame([row], DELIVERY))


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def exports(deliveries: DataFrame, day: date) -> list[dict]:
    """[{"destination", "uri", "files", "rows"}]: the newest confirmed delivery of `day` to each destination."""
    rows = deliveries.where((F.col("date") == F.lit(day)) & (F.col("status") == "confirmed")).orderBy("recorded_at")
    newest = {row["destination"]: row for row in rows.collect()}
    return [{k: newest[name][k] for k in ("destination", "uri", "files", "rows")} for name in sorted(newest)]
