"""A first deployment of one's own: one source and one identifier, nothing else, through every step."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from cdp_spark.config.load import load
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.pipeline import NAMES, between
from cdp_spark.runner import run_steps
from cdp_spark.summary import summary

SHOP = """
description: my shop
entity: customers
format: csv
path: shop/{date}/*.csv
mode: snapshot
fields: [id, name, mail, changed]
key: [id]
event_time: to_timestamp(changed)
columns: {first_name: name, email: mail}
identifiers: {email: mail}
"""
ROWS = """id,name,mail,changed
1,Ann,a@x.org,2026-01-01
2,Anna,A@x.org ,2026-01-02
3,Bo,b@x.org,2026-01-02 10:00:00
4,Cy,,31/01/2026
"""


@pytest.fixture
def job(spark, tmp_path) -> Job:
    conf, drop = tmp_path / "conf", tmp_path / "drops" / "shop" / "2026-01-31"
    (conf / "sources").mkdir(parents=True)
    drop.mkdir(parents=True)
    (conf / "sources" / "shop.yml").write_text(SHOP)
    (conf / "identity.yml").write_text("identifiers:\n  email: {normaliser: email, priority: 1}\n")
    (drop / "shop.csv").write_text(ROWS)
    loaded = load(conf)
    return Job(spark, Lake(spark, str(tmp_path / "lake"), loaded.tables, run_id="run"), loaded, str(conf), "local",
               date(2026, 1, 31), datetime(2026, 2, 1, tzinfo=UTC), "run", str(tmp_path / "drops"),
               str(tmp_path / "out"))  # fmt: skip


def test_one_source_and_one_identifier_are_a_deployment(job):
    found = summary(job, run_steps(job, between()))
    assert [step["name"] for step in found["steps"]] == list(NAMES)
    assert (found["identity"]["records"], found["identity"]["persons"]) == (3, 2)
    assert (found["models"], found["audiences"], found["exports"]) == ({}, {}, [])
    assert [(row.rule, row.source) for row in job.lake.read("bronze._quarantine").collect()] == [("event_time", "shop")]
    assert job.lake.read("governance.runs").first()["status"] == "published"
