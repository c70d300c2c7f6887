"""Each source of conf/ on the generated retailer, or on its sample: it lands, keeps its contract, fills its columns."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from cdp_spark.config.load import load
from cdp_spark.config.source import Source
from cdp_spark.contracts import violations
from cdp_spark.demo.retailer import generate
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.silver.build import _told_otherwise, _wanted
from cdp_spark.silver.standardise import gone, new_rows, standardised
from cdp_spark.sources.land import bronze_rows, judged
from cdp_spark.sources.read import raw_rows
from cdp_spark.sources.unreadable import unreadable
from tests.conftest import ROOT
from tests.tables import table

NAMES = sorted(path.stem for path in (ROOT / "conf" / "sources").glob("*.yml"))


def with_samples(drops: Path, sources: dict[str, Source]) -> None:
    """Put tests/samples/<name>.* where a source that the generator does not make expects its drop."""
    for name, source in sources.items():
        place = drops / source.path.replace("{date}", "2026-01-30")
        if not place.parent.exists() and not source.jdbc:
            samples = sorted((ROOT / "tests" / "samples").glob(f"{name}.*"))
            assert samples, f"conf/sources/{name}.yml: put ten rows of it into tests/samples/{name}.{source.format}"
            place.parent.mkdir(parents=True)
            shutil.copy(samples[0], place.with_name(place.name.replace("*", name)))


@pytest.fixture(scope="module")
def landed(spark, tmp_path_factory) -> Job:
    folder = tmp_path_factory.mktemp("retailer")
    generate(folder, 150, 1, 3)
    conf = load(ROOT / "conf")
    with_samples(folder / "drops", conf.sources)
    lake = Lake(spark, str(folder / "lake"), conf.tables)
    moment = datetime(2026, 2, 1, tzinfo=UTC)
    job = Job(spark, lake, conf, str(ROOT / "conf"), "local", date(2026, 1, 30), moment, "run",
              str(folder / "drops"), str(folder / "out"))  # fmt: skip
    run_steps(job, between("ingest", "standardise"))
    return job


@pytest.mark.parametrize("name", NAMES)
def test_a_source_keeps_its_contract_and_fills_what_it_maps(landed, name):
    source = landed.conf.sources[name]
    contract = f"silver.{source.entity}"
    rows = landed.lake.read(contract).where(F.col("source") == name)
    assert violations(rows, landed.conf.tables[contract]) == {}
    filled = rows.agg(*(F.count(column).alias(column) for column in source.columns)).first()
    empty = [column for column in source.columns if filled[column] == 0]
    assert not empty, f"conf/sources/{name}.yml: no sample row fills {empty}"


@pytest.mark.parametrize("name", NAMES)
def test_every_identifier_of_a_source_is_seen(landed, name):
    source = landed.conf.sources[name]
    seen = landed.lake.read("silver.identifiers").where(F.col("source") == name).select("namespace").distinct()
    assert {row.namespace for row in seen.collect()} == set(source.identifiers)


def test_rows_of_every_source_reconcile(landed):
    rows = landed.lake.read("bronze._reconciliation").collect()
    assert {row.source for row in rows} == set(NAMES)
    for row in rows:
        assert row.status == "landed"
        assert row.rows_in == row.rows_out + row.quarantined + row.deduplicated + row.filtered


def test_a_field_may_be_called_as_a_column_of_ours(spark, conf):
    said = {
        "description": "a list", "entity": "customers", "format": "csv", "path": "x.csv", "mode": "snapshot",
        "fields": ["id", "Data", "reason", "Rule", "file", "raw"], "key": ["id"], "event_time": "to_timestamp(Data)",
        "where": "file = 'f'",
        "columns": {"first_name": "reason", "last_name": "Rule", "city": "file", "street": "raw", "birth_date": "Data"},
    }  # fmt: skip
    named = Source.model_validate(said)
    fields = {"id": "1", "Data": "1990-02-03", "reason": "Ann", "Rule": "Lee", "file": "f", "raw": "1 High St"}
    shape = "data map<string,string>, file string, raw string, rule string, reason string"
    raw = spark.createDataFrame([(fields, "a.csv", None, None, None)], shape)
    rows = judged(raw, named, date(2026, 1, 30), max_chars=100, tolerance=timedelta(0))
    assert rows.where("rule IS NULL AND file = 'a.csv' AND event_time = '1990-02-03'").count() == 1
    bronze = _wanted(bronze_rows(rows, "list", 1, F.lit(datetime(2026, 1, 30))), named)
    row = standardised(bronze, named, conf.tables["silver.customers"], conf.identity, "GB").first()
    assert [row[name] for name in ("first_name", "last_name", "city", "street")] == ["Ann", "Lee", "f", "1 High St"]
    with pytest.raises(ValueError, match="'ID' is named twice"):
        Source.model_validate(said | {"fields": ["id", "ID"]})


def source(mode: str) -> Source:
    return Source(description="", entity="customers", format="csv", path="x", mode=mode, fields=("id",), key=("id",),
                  event_time="id", columns={})  # fmt: skip


# the first of three days was missed, and landed after the second
EARLIER = """
    _record_id string | _hash string | _landing bigint | _ingest_date date | event_time timestamp
    a                 | one          | 2               | 2026-01-01        | 2026-01-01 00:00:00
    b                 | one          | 2               | 2026-01-01        | 2026-01-01 00:00:00
    b                 | two          | 1               | 2026-01-02        | 2026-01-02 00:00:00
"""
TODAY = """
    _record_id string | _hash string | _landing bigint | _ingest_date date | event_time timestamp
    a                 | one          | 3               | 2026-01-03        | 2026-01-01 00:00:00
    b                 | one          | 3               | 2026-01-03        | 2026-01-03 00:00:00
    c                 | one          | 3               | 2026-01-03        | 2026-01-03 00:00:00
"""


@pytest.mark.parametrize(("mode", "new"), [("append", {"c"}), ("snapshot", {"b", "c"}), ("cdc", {"b", "c"})])
def test_what_a_day_says_anew(spark, mode, new):
    found = new_rows(table(spark, TODAY), table(spark, EARLIER), source(mode)).collect()
    assert {row._record_id for row in found} == new


def test_other_contents_under_a_known_key_are_counted(spark):
    assert _told_otherwise(table(spark, TODAY), table(spark, EARLIER)) == 0
    other = table(spark, TODAY).withColumn("_hash", F.lit("three"))
    assert _told_otherwise(other, table(spark, EARLIER)) == 2  # c is new


def test_a_record_missing_from_a_snapshot_is_gone(spark):
    today = table(spark, TODAY).where("_record_id <> 'b'")
    found = gone(today, table(spark, EARLIER).where("_landing = 1"), 3).collect()
    assert [(row._record_id, row._landing) for row in found] == [("b", 3)]


def test_delta_and_cdc_sources_land(spark, tmp_path):
    """A change feed in a Delta table: an update and a delete, with the declared expression for deletes."""
    folder = shutil.copytree(ROOT / "tests" / "real" / "online_retail", tmp_path / "conf")
    for path in (folder / "sources").glob("*.yml"):
        path.unlink()
    (folder / "sources" / "people.yml").write_text(CDC)
    rows = [("1", "Ann", "I", "2026-01-01"), ("1", "Anne", "U", "2026-01-02"), ("2", "Bo", "I", "2026-01-01"),
            ("2", "Bo", "D", "2026-01-03")]  # fmt: skip
    frame = spark.createDataFrame(rows, "id string, first string, op string, at string")
    frame.write.format("delta").save(str(tmp_path / "drops" / "people"))
    conf = load(folder)
    lake = Lake(spark, str(tmp_path / "lake"), conf.tables)
    job = Job(spark, lake, conf, str(folder), "local", date(2026, 1, 30), datetime(2026, 2, 1, tzinfo=UTC), "run",
              str(tmp_path / "drops"), str(Path(tmp_path) / "out"))  # fmt: skip
    run_steps(job, between("ingest", "standardise"))
    from cdp_spark.gold.profiles import current

    left = current(lake.read("silver.customers")).collect()
    assert [(row.record_id, row.first_name) for row in left] == [("1", "Anne")]


CDC = """
description: A change feed
entity: customers
format: delta
path: people
mode: cdc
fields: [id, first, op, at]
key: [id]
event_time: to_timestamp(at)
deleted: op = 'D'
columns: {first_name: first, user_id: id}
identifiers: {user_id: id}
"""


def test_equal_values_in_a_file_without_a_header_are_no_names(spark, tmp_path):
    (tmp_path / "a.csv").write_text("GB,GB\n")
    plain = source("append").model_copy(
        update={"format": "csv", "options": {"header": False}, "fields": ("_c0", "_c1"), "required": (), "key": ()}
    )
    found = raw_rows(spark, "plain", plain, [str(tmp_path / "a.csv")])
    assert [row.data for row in found.rows.collect()] == [{"_c0": "GB", "_c1": "GB"}]


def test_parquet_columns_that_differ_in_capital_letters_are_told(spark, tmp_path):
    pq.write_table(pa.table({"id": ["1"], "ID": ["2"]}), tmp_path / "a.parquet")
    with pytest.raises(PySparkException) as error:
        raw_rows(spark, "two", source("append").model_copy(update={"format": "parquet"}), [str(tmp_path)])
    assert "but for capital letters" in unreadable(error.value)
