"""What comes in broken: each case ends in a quarantine row with its reason or a message with the remedy."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from cdp_spark.config.load import load
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.sources.ingest import SourceError
from cdp_spark.sources.replay import replay
from tests.conftest import ROOT
from tests.drops import CRM, DAY1, DAY2, crm_row, event, order, put, put_orders

DAY = date(2026, 1, 30)
DAY3 = "2026-02-01"


def job_on(spark, folder, conf_dir=ROOT / "conf") -> Job:
    conf = load(conf_dir)
    lake = Lake(spark, str(folder / "lake"), conf.tables, run_id="run", step="ingest")
    moment = datetime(2026, 2, 1, tzinfo=UTC)
    return Job(
        spark, lake, conf, str(conf_dir), "local", DAY, moment, "run", str(folder / "drops"), str(folder / "out")
    )


@pytest.fixture(scope="module")
def landed(spark, tmp_path_factory):
    """A day on which every source is broken in its own way."""
    folder = tmp_path_factory.mktemp("bad")
    root = folder / "drops"
    comma = [CRM.replace(";", ","), crm_row("C1", "Zoë", "Müller", "1980-01-01").replace(";", ",")]
    put(root, "crm", DAY1, "crm.csv", comma, "latin-1")
    good = [event(n, f"k{n}") for n in range(10)]
    web = [
        *good,
        '{"event_id": "t1", "type": "page_view", "ts": "2026-01',
        "[1, 2]",
        event(20, "k20", note="x" * 1_000_000),
        event("21\u0007", "k21"),
        event(22, "k\u000122"),
        event(27, "k27") + event(28, "k28"),
        event(23, "k23", at="2027-01-01T00:00:00Z"),
        event(24, "k24", at="12.5"),
        event(25, "k25"),
        event(25, "k26"),
    ]
    put(root, "web", DAY1, "events.jsonl", web)
    put(root, "app", DAY1, "events.jsonl", [event(n, None).replace("ts", "time") for n in range(9)] + [event(9, None)])
    (root / "email" / DAY1).mkdir(parents=True)
    (root / "email" / DAY1 / "events.jsonl").write_bytes(b"")
    latin = b'{"ticket_id": "t1", "email": "a@example.com", "opened_at": "2026-01-05T10:00:00Z", "text": "sch\xf6n"}\n'
    (root / "support" / DAY1).mkdir(parents=True)
    (root / "support" / DAY1 / "tickets.jsonl").write_bytes(latin + latin.replace(b"\xf6", b"o").replace(b"t1", b"t2"))
    put_orders(root, DAY1, [order("o1", 1, "u1"), order("o2", 1, "u2") | {"currency": None}])
    put(root, "adspend", DAY1, "spend.csv", ["week,channel,geo,spend,Spend", "2026-01-05,tv,GB,1,2"])
    put(root, "enrichment", DAY1, "list.csv", ["email,phone", "ann@example.com,"], "utf-16")
    more = "card_no,first_name,shoe_size,updated_at,odd`name\n1234567890,Ann,38,2026-01-05 10:00:00,x"
    put(root, "loyalty", DAY1, "loyalty.csv", more.splitlines())
    job = job_on(spark, folder)
    run_steps(job, between("ingest", "standardise"))
    return job, folder


def rules(job: Job, source: str) -> dict[str, int]:
    rows = job.lake.read("bronze._quarantine").where(f"source = '{source}'").groupBy("rule").count().collect()
    return {row["rule"]: row["count"] for row in rows}


def told(job: Job, source: str) -> str:
    return " ".join(text for text in job.warnings if f"source {source}" in text)


def test_a_wrong_delimiter_stops_its_source_and_says_so(landed):
    job, _ = landed
    assert "is the delimiter ';' (options.sep) right?" in told(job, "crm")
    assert not job.lake.exists("bronze.crm")


def test_a_header_that_cannot_be_read_says_what_is_wrong_with_it(landed):
    assert "the header of spend.csv names 'spend' twice" in told(landed[0], "adspend")
    assert "the header is no UTF-8: is options.encoding right?" in told(landed[0], "enrichment")


def test_broken_rows_are_set_aside_with_their_rule(landed):
    job, _ = landed
    assert rules(job, "web") == {
        "malformed_json": 3,
        "field_too_long": 1,
        "event_id_control": 1,
        "anonymous_id_control": 1,
        "event_time_future": 1,
        "event_time": 1,
        "duplicate_key": 1,
    }
    long = job.lake.read("bronze._quarantine").where("rule = 'field_too_long'").first()
    assert len(long.raw) > 1_000_000  # nothing is cut off


def test_a_control_character_in_an_identifier_sets_its_row_aside(landed):
    values = {
        row.value for row in landed[0].lake.read("silver.identifiers").where("namespace = 'anonymous_id'").collect()
    }
    assert "k0" in values and not any("22" in value for value in values)


def test_mixed_encodings_are_seen(landed):
    assert rules(landed[0], "support") == {"encoding": 1}
    assert landed[0].lake.read("bronze.support").count() == 1


def test_a_source_that_is_mostly_bad_stops_and_keeps_its_rows(landed):
    job, _ = landed
    assert "9 of 10 rows are bad (most: event_time, 9)" in told(job, "app")
    assert rules(job, "app") == {"event_time": 9, "source_stopped": 1}  # the good row as well: a replay has them all
    assert not job.lake.exists("bronze.app")
    assert "cdp quarantine replay --conf " in told(job, "app") and "--source app --date 2026-01-30" in told(job, "app")
    row = job.lake.read("bronze._reconciliation").where("layer = 'bronze' AND source = 'app'").first()
    assert (row.rows_in, row.rows_out, row.quarantined, row.status) == (10, 0, 10, "failed")
    with pytest.raises(SourceError, match="9 of 10 rows are bad"):
        replay(job, "app")


def test_an_empty_file_and_a_missing_folder_are_told_apart(landed):
    job, _ = landed
    status = {
        row.source: row.status for row in job.lake.read("bronze._reconciliation").where("layer = 'bronze'").collect()
    }
    assert (status["email"], status["consents"], status["crm"]) == ("empty", "missing", "failed")
    assert "no file matches" in told(job, "consents")


def test_a_new_field_is_kept_and_reported(landed):
    job, _ = landed
    assert "new field(s) shoe_size" in told(job, "loyalty")
    extra = {"shoe_size": "38", "odd`name": "x"}
    assert json.loads(job.lake.read("silver.customers").first().extra) == extra


def test_a_row_that_breaks_the_silver_contract_is_set_aside_there(landed):
    rows = landed[0].lake.read("bronze._quarantine").where("table_name = 'silver.orders'").collect()
    assert [(row.rule, row.source) for row in rows] == [("currency required", "orders")]


def test_no_message_holds_a_value(landed):
    job, _ = landed
    reasons = {row.reason for row in job.lake.read("bronze._quarantine").select("reason").distinct().collect()}
    for text in (*reasons, *job.warnings):
        assert "example.com" not in text and "Müller" not in text and "k2" not in text


def test_replay_lands_what_is_good_now(landed, tmp_path):
    job, folder = landed
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    base = conf / "base.yml"
    base.write_text(base.read_text().replace("max_field_chars: 65536", "max_field_chars: 2000000"))
    shutil.rmtree(folder / "drops" / "web")  # the drop is gone: the quarantine is enough
    before = job.lake.read("bronze.web").count()
    account = replay(job_on(job.spark, folder, conf), "web")
    assert (account.rows_out, account.quarantined) == (before + 1, 8)
    assert "field_too_long" not in rules(job, "web")
    row = job.lake.read("bronze._reconciliation").where("layer = 'bronze' AND source = 'web'").first()
    assert row.rows_in == row.rows_out + row.quarantined + row.deduplicated == 20


def test_an_unknown_source_cannot_be_replayed(landed):
    with pytest.raises(SourceError, match="Known: adspend"):
        replay(landed[0], "webb")


MINI = """
description: People
entity: customers
format: {format}
path: {name}/{{date}}/*
mode: {mode}
fields: [id, mail, born]
key: [id]
columns: {{email: mail, birth_date: to_date(born)}}
identifiers: {{email: mail}}
"""


def mini(folder, **sources) -> str:
    """A deployment of small sources of people; name=(format, mode)."""
    conf = folder / "conf"
    (conf / "sources").mkdir(parents=True)
    (conf / "identity.yml").write_text("identifiers:\n  email: {normaliser: email, priority: 1}\n")
    for name, (kind, mode) in sources.items():
        (conf / "sources" / f"{name}.yml").write_text(MINI.format(name=name, format=kind, mode=mode))
    return conf


def test_files_that_cannot_be_read_stop_their_source_only(spark, tmp_path):
    drops = tmp_path / "drops"
    put(drops, "good", DAY1, "a.csv", ["id,mail,born", "1,a@example.com,29221", "2,b@@example,1980-02-03"])
    put(drops, "split", DAY1, "a.csv", ["id,mail,born", "1,a@example.com,1980-01-01"])
    put(drops, "split", DAY1, "b.csv", ["3,secret3@example.com,1980-01-01", "4,secret4@example.com,1980-01-01"])
    put(drops, "torn", DAY1, "a.parquet", ["this is no parquet"])
    kinds = {"good": ("csv", "append"), "split": ("csv", "append"), "torn": ("parquet", "append")}
    job = job_on(spark, tmp_path, mini(tmp_path, **kinds))
    run_steps(job, between("ingest", "standardise"))
    status = {(row.layer, row.source): row for row in job.lake.read("bronze._reconciliation").collect()}
    assert [status["bronze", name].status for name in sorted(kinds)] == ["landed", "failed", "failed"]
    assert "field 'id' is in no header of b.csv; is its header line there?" in told(job, "split")
    assert "FAILED_READ_FILE" in told(job, "torn") and "options and expressions in its YAML" in told(job, "torn")
    assert status["silver", "good"].message == "left empty: email 1, birth_date 1"
    assert not any("secret" in text for text in job.warnings)


def test_only_what_a_snapshot_lacks_is_deleted(spark, tmp_path):
    """Record 2 is set aside on the second day, record 3 is gone; on the third day a row cannot be read at all."""
    drops, lines = tmp_path / "drops", [f"{n},p{n}@example.com,1980-01-{n:02}" for n in range(1, 11)]
    put(drops, "crm", DAY1, "a.csv", ["id,mail,born", *lines])
    put(drops, "crm", DAY2, "a.csv", ["id,mail,born", lines[0], "2,p2\u0001@example.com,", *lines[3:]])
    put(drops, "crm", DAY3, "a.csv", ["id,mail,born", *lines[:2], "torn", *lines[5:]])
    conf = mini(tmp_path, crm=("csv", "snapshot"))
    for day in (DAY1, DAY2, DAY3):
        job = replace(job_on(spark, tmp_path, conf), date=date.fromisoformat(day))
        run_steps(job, between("ingest", "standardise"))
    gone = job.lake.read("silver.customers").where("deleted").select("record_id", "ingest_date").collect()
    assert [(row.record_id, str(row.ingest_date)) for row in gone] == [("3", DAY2)]
    assert "who is missing is not taken for deleted" in told(job, "crm")


def test_a_missing_drops_folder_stops_the_first_run(spark, tmp_path):
    with pytest.raises(Exception, match="is --drops .* right"):
        run_steps(job_on(spark, tmp_path), between("ingest", "ingest"))
