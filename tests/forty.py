"""Forty people in a lake, and what a reader of their deliveries does."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.activation import Audience, Destination
from cdp_spark.config.leaving import problems
from cdp_spark.job import Job

DAY = date(2026, 5, 31)
RULE = Audience(description="", owner="", purpose="marketing_email", where="tier = 'gold'")
PEOPLE = [f"p{i:02}" for i in range(40)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def people(spark, gold: int = 30):
    return spark.createDataFrame(
        [(p, "gold" if i < gold else None) for i, p in enumerate(PEOPLE)], "person_id string, tier string"
    )


def put(lake, name: str, frame, **more) -> None:
    """Write `frame` with the contract's other columns null, or with what a required one of its type may hold."""
    moment = F.lit("2026-05-01").cast("timestamp")
    fill = {"timestamp": moment, "date": F.lit("2026-05-01").cast("date"), "boolean": F.lit(False)}
    fill |= {
        "double": F.lit(0),
        "bigint": F.lit(0),
        "int": F.lit(0),
        "string": F.lit("crm"),
        "array<string>": F.array(F.lit("crm")),
    }
    for column, spec in lake.contract(name).columns.items():
        if column not in frame.columns:
            value = fill[spec.type] if spec.required else F.lit(None)
            frame = frame.withColumn(column, value.cast(spec.type))
    lake.write(name, frame, **more)


@pytest.fixture
def job(spark, conf, lake, tmp_path):
    """Forty people, thirty of them gold, a no from p00, a word of everybody but p29; two destinations."""
    keys = [(f"crm|{p}", p, f"{p}@x.org", f"c{p}", "withdrawn" if p == "p00" else "granted") for p in PEOPLE]
    names = ["subject_key", "person_id", "value", "record_id", "status"]
    base = spark.createDataFrame(keys, names).withColumn("namespace", F.lit("email"))
    put(lake, "identity.members", base.withColumn("valid_to", F.lit(None).cast("date")))
    put(lake, "silver.identifiers", base)
    about = {"purpose": F.lit("marketing_email"), "channel": F.lit("email")}
    said = base.where("person_id <> 'p29'").withColumns(about)
    put(lake, "silver.consents", said, on=date(2026, 5, 1))
    named = people(spark).withColumns({
        "email": F.when(F.col("person_id") != "p01", F.concat("person_id", F.lit("@x.org"))),
        "first_name": F.when(F.col("person_id") == "p02", '=cmd|"x",1').otherwise("Ada"),
        "phone": F.lit("+442079460958"),
    })  # fmt: skip
    put(lake, "gold.profiles", named)
    crm = {"person_id": {"column": "person_id"}, "email": {"column": "email", "normaliser": "email"},
           "first_name": {"column": "first_name"}, "phone": {"column": "phone"}}  # fmt: skip
    ads = {"email": {"column": "email", "normaliser": "email"}}
    destinations = {
        "crm": {"prefix": "crm", "fields": crm, "may_leave": ["none", "pseudonym", "direct"], "max_rows_per_file": 20},
        "ads": {"prefix": "ads/g", "fields": ads, "normalisers": "google_2026_11", "format": "json",
                "compression": "gzip"},
    }  # fmt: skip
    mine = conf.model_copy(update={"audiences": {"vip": RULE}, "destinations": {}})
    exports = str(tmp_path / "exports")
    at = datetime(2026, 6, 1, 5, tzinfo=UTC)
    return with_destinations(
        Job(spark, lake, mine, "conf", "local", DAY, at, "run", str(tmp_path), exports), destinations
    )


def with_destinations(job: Job, bodies: dict[str, dict], **env) -> Job:
    """The job with other destinations, each checked as a deployment's would be; `env` replaces parts of conf/env."""
    shared = {"description": "", "protocol": "s3_files", "audiences": ["vip"]}
    found = {name: Destination.model_validate(shared | {"prefix": name} | body) for name, body in bodies.items()}
    conf = job.conf.model_copy(update={"destinations": found, "env": job.conf.env.model_copy(update=env)})
    for name, spec in found.items():
        assert problems(conf, name, spec) == []
    return replace(job, conf=conf)


def on(job: Job, day: date) -> Job:
    """The run of another day, at five in the morning after it."""
    return replace(job, date=day, run_at=datetime(day.year, day.month, day.day, 5, tzinfo=UTC) + timedelta(days=1))


def says(job: Job, person: str, status: str, day: date) -> None:
    """A new word of one person about e-mails, landed on `day`, a few hours before the run."""
    word = job.lake.read("silver.consents").where(F.col("record_id") == f"c{person}").limit(1)
    moment = F.lit(f"{day}").cast("timestamp")
    word = word.withColumns({"status": F.lit(status), "record_id": F.lit(f"{day}-{person}"), "event_time": moment,
                             "ingest_date": F.lit(day)})  # fmt: skip
    job.lake.write("silver.consents", word, on=day)


def follow(get) -> tuple[dict, list[bytes]]:
    """What a reader gets who knows the pointer only: manifest and files, every one checked against its SHA-256."""
    pointer = json.loads(get("latest.json"))
    body = get(pointer["manifest"])
    assert hashlib.sha256(body).hexdigest() == pointer["manifest_sha256"]
    manifest, files = json.loads(body), []
    for told in manifest["files"]:
        files.append(get(told["path"]))
        assert (len(files[-1]), hashlib.sha256(files[-1]).hexdigest()) == (told["bytes"], told["sha256"])
    assert sum(told["rows"] for told in manifest["files"]) == manifest["rows"] == pointer["rows"]
    return manifest, files


def crm_rows(files: list[bytes]) -> dict[str, dict]:
    return {row["person_id"]: row for body in files for row in csv.DictReader(io.StringIO(body.decode(), newline=""))}
