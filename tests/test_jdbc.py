"""Rows of a database since the last watermark: nothing lost, nothing twice, the same range in a rerun."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import date, datetime
from types import SimpleNamespace

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from cdp_spark.config.load import ConfError, load
from cdp_spark.config.source import Jdbc
from cdp_spark.sources import ingest, jdbc
from cdp_spark.sources.read import SourceError
from ml.tracking import Registry
from tests.conftest import ROOT
from tests.lakes import BIN, environment, job_on
from tests.postgres import MISSING, execute, postgres

needs_postgres = pytest.mark.skipif(MISSING, reason="no PostgreSQL programs here (initdb, pg_ctl)")
DAYS = ("2026-01-29", "2026-01-30", "2026-01-31")
SOURCE = """
description: Order lines in the shop's database
entity: orders
format: jdbc
jdbc: {url_env: SHOP_URL, user_env: SHOP_USER, table: %s, watermark: updated_at, overlap: 1 hour%s}
fields: [id, user_id, email, amount, status, updated_at]
required: [id]
key: [id, status]
subjects: [user_id, email]
event_time: to_timestamp(updated_at)
columns: {order_id: id, user_id: user_id, email: email, amount: cast(amount as double), status: status,
          quantity: "1.0", currency: "'EUR'"}
identifiers: {user_id: user_id, email: email}
"""


def deployment(tmp_path) -> str:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "sources" / "shop.yml").write_text(SOURCE % ("sales", ", partition: id, partitions: 3"))
    (conf / "sources" / "shop_log.yml").write_text(SOURCE % ("sales_log", ""))
    return str(conf)


def insert(table: str, number: int, at: str, amount: float = 10.0, status: str = "paid") -> str:
    row = f"({number}, 'u{number}', 'u{number}@example.com', {amount}, '{status}', '{at}')"
    return f"INSERT INTO {table} VALUES {row}"


@needs_postgres
@pytest.mark.slow
def test_each_day_brings_what_is_new_and_a_rerun_brings_the_same(spark, tmp_path):
    conf = deployment(tmp_path)
    (tmp_path / "drops").mkdir()
    places = ["--conf", conf, "--lake", str(tmp_path / "lake"), "--drops", str(tmp_path / "drops"), "--to", "ingest"]
    columns = "(id bigint, user_id text, email text, amount numeric, status text, updated_at timestamptz)"
    with postgres() as port:
        execute(
            port,
            f"CREATE TABLE sales {columns}",
            f"CREATE TABLE sales_log {columns}",
            insert("sales", 1, "2026-01-29 10:00:00+00"),
            insert("sales", 2, "2026-01-29 22:30:00-01:00"),  # 23:30 UTC
            insert("sales", 3, "2026-01-30 00:10:00+01:00"),  # 23:10 UTC on the 29th: within the overlap of the 30th
            insert("sales", 4, "2026-01-30 12:00:00+00"),
            insert("sales", 5, "2026-02-01 00:00:00+00"),  # belongs to a day that is not run
            "INSERT INTO sales VALUES (6, 'u6', 'u6@example.com', 1, 'paid', NULL)",
            insert("sales_log", 1, "2026-01-29 08:00:00+00", status="open"),
            insert("sales_log", 1, "2026-01-30 09:00:00+00", status="paid"),
            insert("sales_log", 1, "2026-01-31 09:00:00+00", -10, status="refunded"),
        )
        more = {"SHOP_URL": f"jdbc:postgresql://127.0.0.1:{port}/postgres", "SHOP_USER": "cdp"}
        done = subprocess.run([BIN / "cdp", "run", *places, "--from-date", DAYS[0], "--to-date", DAYS[2]], cwd=ROOT,
                              env=environment(**more), capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    lake = job_on(spark, tmp_path / "lake", "", DAYS[0]).lake
    landed = [
        {(str(r._ingest_date), r.data["id"], r.data["status"]) for r in lake.read(f"bronze.{name}").collect()}
        for name in ("shop", "shop_log")
    ]
    first, second, third = DAYS
    assert landed[0] == {(first, "1", "paid"), (first, "2", "paid"), (first, "3", "paid"), (second, "2", "paid"),
                         (second, "3", "paid"), (second, "4", "paid"), (third, "4", "paid")}  # fmt: skip
    # the newest row before is within the overlap: it comes again, and standardise knows it by its content
    assert landed[1] == {(first, "1", "open"), (second, "1", "open"), (second, "1", "paid"), (third, "1", "paid"),
                         (third, "1", "refunded")}  # fmt: skip
    assert "example.com" not in done.stdout + done.stderr
    assert done.stderr.count("source shop: 1 rows of sales have no updated_at") == 3  # a day
    assert "sales_log have no" not in done.stderr


def test_the_range_starts_an_overlap_before_the_last_watermark_of_the_days_before(spark):
    spec = Jdbc(url_env="U", table="t", watermark="changed", overlap="2 hours")
    rows = [(date(2026, 1, 29), "2026-01-29 10:00:00"), (date(2026, 1, 30), "2026-01-30 11:30:00.25")]
    bronze = spark.createDataFrame(
        [(day, {"changed": at}) for day, at in rows], "_ingest_date date, data map<string,string>"
    )
    last = [jdbc.last_watermark(bronze, spec, date(2026, 1, day)) for day in (29, 30, 31)]
    assert last == [None, datetime(2026, 1, 29, 10), datetime(2026, 1, 30, 11, 30, 0, 250_000)]
    assert jdbc.between(spec, None, date(2026, 1, 29)) == "changed < TIMESTAMP WITH TIME ZONE '2026-01-30 00:00:00+00'"
    assert ">= TIMESTAMP WITH TIME ZONE '2026-01-30 09:30:00.250000+00'" in jdbc.between(
        spec, last[2], date(2026, 1, 31)
    )


def test_a_look_at_what_is_new_does_not_search_the_whole_table(monkeypatch):
    """How many rows have no watermark takes a scan of the table: a run asks it once, `cdp watch` not again."""
    asked, told = [], []
    lake = SimpleNamespace(read=lambda name: None)
    run = SimpleNamespace(spark=None, lake=lake, date=date(2026, 1, 29), only=None, warn=told.append)
    monkeypatch.setattr(ingest, "jdbc_rows", lambda *_: None)
    monkeypatch.setattr(ingest, "_land_rows", lambda *_: "landed")
    monkeypatch.setattr(ingest, "without_watermark", lambda *_: asked.append("scan") or "1 row has none")
    source = SimpleNamespace(jdbc=True)
    look = SimpleNamespace(**vars(run) | {"only": ("shop",)})
    assert [ingest.land(job, "shop", source, 1) for job in (run, look, look)] == ["landed"] * 3
    assert (asked, told) == (["scan"], ["1 row has none"])


def test_a_database_that_does_not_answer_is_told_without_its_login(spark, tmp_path, monkeypatch):
    source = load(deployment(tmp_path)).sources["shop_log"]
    monkeypatch.setenv("SHOP_URL", "jdbc:postgresql://127.0.0.1:9/x?password=hidden")
    bronze = spark.createDataFrame([], "_ingest_date date, data map<string,string>")
    with pytest.raises(SourceError, match="SHOP_URL") as told:
        jdbc.jdbc_rows(spark, "shop_log", source, bronze, date(2026, 1, 29))
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("format: jdbc", "format: csv"), "format jdbc goes with"),
        (("watermark: updated_at", "watermark: changed"), "is not in `fields`"),
        ((", partition: id", ""), "needs `partition`"),
    ],
)
def test_a_wrong_source_dies_before_spark(tmp_path, wrong, told):
    conf = deployment(tmp_path)
    path = tmp_path / "conf" / "sources" / "shop.yml"
    path.write_text(path.read_text().replace(*wrong))
    with pytest.raises(ConfError, match=told):
        load(conf)


@needs_postgres
@pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="the schema of MLflow: make test-postgres")
def test_postgresql_keeps_the_models_that_mlflow_knows(tmp_path):
    """A model kept and promoted by one process is what another finds and loads. (Airflow's: tests/test_airflow.py.)"""
    fitted = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    with postgres() as port:
        execute(port, "CREATE DATABASE mlflow")
        place = f"postgresql+pg8000://cdp@127.0.0.1:{port}/mlflow"
        models = Registry(place, str(tmp_path / "artifacts"), "shop")
        assert models.champion("churn") is None
        version = models.log("churn", fitted, ["orders"], {"seed": 1}, {"roc_auc": 1.0})
        models.passed("churn", version)
        models.promote("churn", version)
        again = Registry(place, str(tmp_path / "artifacts"), "shop")
        loaded, names = again.load("churn", again.champion("churn"))
    assert names == ["orders"]
    rows = pd.DataFrame({"orders": [0.0, 3.0]})
    assert loaded.predict_proba(rows).tolist() == fitted.predict_proba(rows.to_numpy()).tolist()
