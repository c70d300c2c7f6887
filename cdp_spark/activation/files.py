"""How does a delivery become files that somebody else can check? Data, manifest, pointer last.

A delivery is an immutable folder, named by what it holds. A reader follows <prefix>/latest.json, which is put last and
whole: whoever dies before leaves the former delivery in force. The manifest's files are applied in their order; a
manifest that names a previous one holds differences to it, one that names none replaces all that went before.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date, timedelta
from typing import NamedTuple
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation.content import OWN, neutral
from cdp_spark.activation.objects import Objects
from cdp_spark.config.activation import Destination
from cdp_spark.job import Job
from cdp_spark.storage import Storage

POINTER = "latest.json"


class Part(NamedTuple):
    """Rows (of `content`) of one operation: replace, remove or upsert."""

    operation: str
    rows: DataFrame
    count: int


class Delivery(NamedTuple):
    """One delivery to be made: `uri` is its folder or address, `previous` the manifest that it is a difference to."""

    destination: str
    spec: Destination
    delivery_id: str
    sequence: int
    uri: str
    parts: tuple[Part, ...]
    previous: dict | None

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


def pointer(store: Objects) -> dict:
    """What is in force at the destination; {} where nothing is."""
    return json.loads(store.get(POINTER) or b"{}")


def manifest(job: Job, delivery: Delivery, store: Objects) -> tuple[str, dict, str]:
    """Key, content and SHA-256 of the delivery's manifest; its data files are written where it is not there yet."""
    key = f"deliveries/{delivery.delivery_id}/manifest.json"
    body = store.get(key)
    if body is None:
        body = json.dumps(_write(job, delivery, store), indent=1).encode()
        store.put(key, body)
    return key, json.loads(body), hashlib.sha256(body).hexdigest()


def put_in_force(job: Job, delivery: Delivery, store: Objects, key: str, told: dict, sha256: str) -> dict:
    """Put the pointer; from now on readers see the delivery. The pointer's content."""
    found = {
        "destination": delivery.destination,
        "delivery_id": delivery.delivery_id,
        "date": str(job.date),
        "manifest": key,
        "manifest_sha256": sha256,
        "files": len(told["files"]),
        "rows": told["rows"],
    }
    store.put(POINTER, json.dumps(found, indent=1).encode())
    return found


def chain(store: Objects, pointer: dict) -> list[dict]:
    """Manifests from the one in force back to the one that replaced all before, or to the last that is still there."""
    told, found = pointer, []
    while told and (body := store.get(told["manifest"])):
        found.append(json.loads(body))
        told = found[-1]["previous"]
    return found


def _write(job: Job, delivery: Delivery, store: Objects) -> dict:
    """Write the data files; the manifest: every file with rows, bytes and SHA-256, paths from the pointer's folder."""
    spec = delivery.spec
    files = []
    for part in delivery.parts:
        if part.count or part.operation == "replace":
            files += _files(job, delivery, part, store)
    return {
        "destination": delivery.destination,
        "delivery_id": delivery.delivery_id,
        "date": str(job.date),
        "run_id": job.run_id,
        "sync": spec.sync,
        "previous": delivery.previous,
        "format": spec.format,
        "compression": spec.compression,
        "normalisers": spec.normalisers,
        "columns": list(spec.fields),
        "partition_by": list(spec.partition_by),
        "rows": delivery.count,
        "files": files,
    }


def _files(job: Job, delivery: Delivery, part: Part, store: Objects) -> list[dict]:
    spec, folder = delivery.spec, f"{delivery.uri}/{part.operation}"
    storage = Storage(job.spark)
    storage.delete(folder)  # what a run that died left of it
    with storage.telling(folder):
        _save(part, spec, folder)
        counted = _rows_by_file(job, spec, folder)
    found = []
    below = "*/" * len(spec.partition_by)
    paths = storage.files(f"{folder}/{below}part-*") + storage.files(f"{folder}/_delta_log/*.json")
    for path in paths:
        name = path.split(f"/{delivery.delivery_id}/{part.operation}/", 1)[1]
        key = f"deliveries/{delivery.delivery_id}/{part.operation}/{name}"
        size, sha256 = store.digest(key)
        told = {"path": key, "operation": part.operation, "rows": counted.get(name, 0)}
        found.append(told | {"bytes": size, "sha256": sha256})
    return found


def _save(part: Part, spec: Destination, folder: str) -> None:
    rows = part.rows.drop(*OWN)
    frame = neutral(rows) if spec.format == "csv" else rows
    most = _rows_a_file(frame, spec)
    number = max(1, math.ceil(part.count / most))
    if spec.partition_by:
        shaped = frame.repartition(number, *(F.col(f"`{name}`") for name in spec.partition_by))
    else:
        shaped = frame.repartition(number) if number > 1 or part.count < most else frame.coalesce(1)
    writer = shaped.write.mode("overwrite").options(**_options(spec)).partitionBy(*spec.partition_by)
    writer.option("maxRecordsPerFile", most).format(spec.format).save(folder)


def _rows_a_file(frame: DataFrame, spec: Destination) -> int:
    """Rows that a file may hold. Of bytes the widest row as JSON decides, which is no shorter than it is in any format;
    64 KiB are left for what a file holds besides rows."""
    if spec.max_mb_per_file is None:
        return spec.max_rows_per_file
    text = F.to_json(F.struct(*(F.col(f"`{name}`") for name in frame.columns)), {"ignoreNullFields": "false"})
    widest = frame.agg(F.max(F.octet_length(text)).alias("bytes")).first()["bytes"] or 1
    room = spec.max_mb_per_file * 2**20 - 2**16
    return max(1, min(spec.max_rows_per_file, room // (widest + 2)))


def _options(spec: Destination) -> dict[str, str]:
    options = {"compression": spec.compression, "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false"}
    if spec.format == "csv":
        # RFC 4180: lines end with CRLF; a quote is doubled; blanks are kept; a null is an empty field.
        options |= {"header": "true", "escape": '"', "ignoreLeadingWhiteSpace": "false", "emptyValue": ""}
        options |= {"ignoreTrailingWhiteSpace": "false", "lineSep": "\r\n"}
    return options


def _rows_by_file(job: Job, spec: Destination, folder: str) -> dict[str, int]:
    """Rows of each file as another reader counts them: the manifest tells what is there, not what was meant."""
    options = {"header": "true", "escape": '"', "multiLine": "true"} if spec.format == "csv" else {}
    schema = ", ".join(f"`{name}` string" for name in spec.fields)
    reader = job.spark.read.options(**options).format(spec.format)
    frame = (reader.schema(schema) if spec.format in ("csv", "json") else reader).load(folder)
    depth = len(spec.partition_by) + 1
    name = F.array_join(F.slice(F.split("_metadata.file_path", "/"), -depth, depth), "/")
    return {unquote(r["name"]): r["count"] for r in frame.groupBy(name.alias("name")).count().collect()}


def expired(deliveries: DataFrame, name: str, day: date, keep_days: int, needed: list[str]) -> list[dict]:
    """Deliveries of `name` to be deleted: older than `keep_days` days before `day`, and not `needed` by a reader."""
    mine = deliveries.where(F.col("destination") == name)
    gone = mine.where("status = 'expired'").select("delivery_id")
    old = mine.where((F.col("status") == "intent") & (F.col("date") < F.lit(day - timedelta(days=keep_days))))
    rows = old.where(~F.col("delivery_id").isin(needed)).join(gone, "delivery_id", "left_anti")
    return [row.asDict() for row in rows.orderBy("sequence").collect()]
