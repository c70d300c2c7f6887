"""Files as somebody else reads them: Delta tables, zstd, folders by value, bounded sizes, and old ones that expire."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.activation.files import Part, _save
from cdp_spark.config.activation import Audience, Destination
from jobs import audiences as audiences_job
from tests.forty import DAY, PEOPLE, RULE, on, with_destinations
from tests.reader import holds, manifests

LEAVES = {"may_leave": ["none", "pseudonym", "direct"]}
# RFC 4180 as another reader sees it: quotes, line breaks and blanks survive, formulas are neutralised.
NAMES = [("p01", "=1+1"), ("p02", 'say "hi", they\nsaid'), ("p03", " blank "), ("p04", "-12.5"), ("p05", "@cmd"),
         ("p06", "\u00a0\uff1d1+1")]  # fmt: skip
FIELDS = {name: {"column": name} for name in ("person_id", "audience", "tier")}


def reading(job, prefix: str):
    return lambda key: (Path(job.exports) / prefix / key).read_bytes()


@pytest.mark.slow
def test_text_delta_zstd_folders_and_bounds(job):
    conf = job.conf.model_copy(update={"audiences": {"vip": RULE, "the rest/+%": Audience(
        description="", owner="", purpose="marketing_email", where="tier IS NULL")}})  # fmt: skip
    job = type(job)(**{**vars(job), "conf": conf})
    both = {"audiences": ["vip", "the rest/+%"], "fields": FIELDS, "max_rows_per_file": 5}
    here = with_destinations(job, {
        "table": both | {"format": "delta", "compression": "zstd", "keep_days": 1},
        "text": LEAVES | {"fields": {n: {"column": n} for n in ("person_id", "first_name")}},
        "parts": both | {"format": "parquet", "compression": "zstd", "partition_by": ["audience"], "sync": "mirror"},
    })  # fmt: skip
    names = job.spark.createDataFrame(NAMES, "person_id string, name string")
    profiles = job.lake.read("gold.profiles").join(names, "person_id", "left")
    job.lake.write("gold.profiles", profiles.withColumn("first_name", F.coalesce("name", "first_name")).drop("name"))
    audiences_job.run(here)
    deliver_all(here)
    (told,) = manifests(reading(here, "text"))
    lines = reading(here, "text")(told["files"][0]["path"]).decode()
    got = {row["person_id"]: row["first_name"] for row in csv.DictReader(io.StringIO(lines, newline=""))}
    assert [got[person] for person, _ in NAMES] == ["'=1+1", 'say "hi", they\nsaid', " blank ", "-12.5", "'@cmd",
                                                    "'\u00a0\uff1d1+1"]  # fmt: skip
    wanted = {(p, "vip", "gold") for p in PEOPLE[1:29]} | {(p, "the rest/+%", None) for p in PEOPLE[30:]}
    (told,) = manifests(reading(here, "table"))
    root = Path(here.exports) / "table"
    folder = (root / told["files"][0]["path"]).parent
    rows = here.spark.read.format("delta").load(str(folder)).collect()
    assert {tuple(row) for row in rows} == wanted and len(rows) == told["rows"] == 38
    data = [file for file in told["files"] if file["path"].endswith(".parquet")]
    assert max(file["rows"] for file in data) <= 5 and len(data) < len(told["files"])  # and its log
    (told,) = manifests(reading(here, "parts"))
    found = holds(reading(here, "parts"), ("person_id",))
    folders = {file["path"].split("/")[3] for file in told["files"]}
    assert folders == {"audience=vip", "audience=the rest%2F+%25"} and told["partition_by"] == ["audience"]
    assert {(row["person_id"], row["tier"]) for row in found} == {(p, t) for p, _, t in wanted}
    assert max(file["rows"] for file in told["files"]) <= 5
    for prefix in ("table", "parts"):
        for file in (Path(here.exports) / prefix).rglob("*.parquet"):
            assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    later = on(here, DAY + timedelta(3))
    deliver_all(later)
    left = [path.name[:8] for path in (root / "deliveries").iterdir()]
    assert left == ["20260603"] and len(manifests(reading(later, "parts"))) == 2  # a mirror without keep_days keeps all


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_no_file_is_larger_than_it_may_be(spark, tmp_path, kind):
    """Rows of 20 to 2,020 letters that do not compress, some quoted, in files of at most a MiB and of 3,000 rows."""
    few, many = "sha2(cast(id as string), 512)", "repeat(sha2(cast(-id as string), 256), 1 + cast(id % 30 as int))"
    noise = F.expr(f"concat_ws('\"', {few}, {many})")
    made = spark.range(4000, numPartitions=3).select("id", noise.alias("text"))
    fields = {"id": {"column": "person_id"}, "text": {"column": "first_name"}}
    base = {"description": "", "protocol": "s3_files", "audiences": ["a"], "prefix": "x", "fields": fields}
    spec = Destination.model_validate(base | {"format": kind, "max_mb_per_file": 1, "max_rows_per_file": 3000})
    _save(Part("replace", made, 4000), spec, str(tmp_path / "out"))
    sizes = [file.stat().st_size for file in (tmp_path / "out").glob("part-*")]
    assert max(sizes) <= 2**20 and len(sizes) > 4 and sum(sizes) > 3 * 2**20
    assert spark.read.schema("id string, text string" if kind != "parquet" else made.schema).format(kind).options(
        header="true", escape='"').load(str(tmp_path / "out")).count() == 4000  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sync": "upsert", "keep_days": 3}, "needs every delivery"),
        ({"partition_by": ["tire"]}, "none of the fields"),
        ({"compression": "zstd"}, "zstd goes with parquet and delta"),
        ({"format": "delta", "sync": "mirror"}, "goes with sync full"),
        ({"audiences": []}, "one of them"),
        ({"partition_by": list(FIELDS)}, "nothing is left"),
        ({"fields": {"Id": {"column": "person_id"}, "id": {"column": "tier"}}}, "differ in more than case"),
        (
            {
                "protocol": "http",
                "sync": "mirror",
                "http": {"endpoint": "x"},
                "fields": {"row_id": {"column": "person_id"}},
            },
            "not be .*'row_id'",
        ),
    ],
)
def test_what_no_reader_could_use_is_refused(changes, told):
    base = {"description": "", "protocol": "s3_files", "audiences": ["a"], "prefix": "x", "fields": FIELDS}
    with pytest.raises(ValueError, match=told):
        Destination.model_validate(base | changes)
