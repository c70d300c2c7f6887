"""Day 1, day 1 again, day 2, and both rebuilt at once: the same people, nothing lost, nothing counted twice."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from cdp_spark.config.load import load
from cdp_spark.governance.lineage import events
from cdp_spark.job import Job
from cdp_spark.lake import Lake
from cdp_spark.marks import born
from cdp_spark.pipeline import between
from cdp_spark.runner import RunError, lock, run_steps
from tests.conftest import ROOT
from tests.drops import write
from tests.lakes import contents

ONE, TWO = date(2026, 1, 30), date(2026, 1, 31)


@pytest.fixture(scope="module")
def drops(tmp_path_factory):
    return str(write(tmp_path_factory.mktemp("drops")))


def job_on(spark, root, drops, day) -> Job:
    conf = load(ROOT / "conf")
    lake = Lake(spark, str(root), conf.tables, run_id=f"run-{day}")
    return Job(spark, lake, conf, str(ROOT / "conf"), "local", day, datetime(2026, 2, 1, tzinfo=UTC), f"run-{day}",
               drops, f"{root}/_exports")  # fmt: skip


@pytest.fixture(scope="module")
def lived(spark, drops, tmp_path_factory):
    """(job of day 2, all tables after day 1, after day 1 again)."""
    root = tmp_path_factory.mktemp("lived") / "lake"
    first = job_on(spark, root, drops, ONE)
    run_steps(first, between())
    once = contents(spark, root)
    daily = [step for step in between() if step.every == "day"]
    run_steps(first, daily)
    again = contents(spark, root)
    second = job_on(spark, root, drops, TWO)
    run_steps(second, daily)
    return second, once, again


def people(job: Job) -> dict[str, str]:
    rows = job.lake.read("identity.members").where("valid_to IS NULL").collect()
    return {row.subject_key: row.person_id for row in rows}


def test_a_rerun_changes_no_table(lived):
    _, once, again = lived
    assert again == once
    assert {"bronze.web", "silver.events", "identity.members", "gold.kpis", "activation.sent"} <= set(once)


def test_the_right_people_are_found(lived):
    who = people(lived[0])
    assert who["crm|C1"] == who["web|user_id:u1"] == who["web|anonymous_id:k1"] == who["orders|user_id:u1"]
    assert who["crm|C2"] == who["web|user_id:u2"] != who["crm|C1"]
    assert who["crm|C3"] == who["crm|C4"] == who["web|anonymous_id:k2"] == who["orders|email:ann@example.com"]
    told = lived[0].lake.read("identity.changes").where("change = 'merged'").collect()
    assert [row.person_id for row in told] == [who["crm|C3"]] or [row.person_id for row in told] == [who["crm|C4"]]


def test_both_days_at_once_give_the_same_people(spark, drops, lived, tmp_path):
    one, two = (job_on(spark, tmp_path / "lake", drops, day) for day in (ONE, TWO))
    for job in (one, two):
        run_steps(job, between(last="standardise"))
    run_steps(two, between("resolve", "profile"))
    assert people(two) == people(lived[0])


def test_rows_reconcile_and_bad_rows_are_kept_with_their_reason(lived):
    rows = lived[0].lake.read("bronze._reconciliation").where("status = 'landed'").collect()
    assert rows
    for row in rows:
        assert row.rows_in == row.rows_out + row.quarantined + row.deduplicated + row.filtered, row.source
    bad = lived[0].lake.read("bronze._quarantine").where(f"ingest_date = '{ONE}'").collect()
    assert sorted((row.source, row.rule) for row in bad) == [
        ("crm", "event_time"),
        ("crm", "malformed_csv"),
        ("orders", "order_id_missing"),
        ("web", "event_time_future"),
        ("web", "field_too_long"),
        ("web", "malformed_json"),
    ]
    assert all(row.raw for row in bad)
    assert not any("example.com" in row.reason for row in bad)


def test_late_and_repeated_rows(lived):
    events = {row.record_id: row for row in lived[0].lake.read("silver.events").collect()}
    assert events["e9"].ingest_date == TWO and events["e9"].event_time < datetime(2026, 1, 29)
    assert events["e1"].ingest_date == ONE  # sent again on day 2: not taken twice
    assert events["e3"].event_time == datetime(2026, 1, 7, 9)  # +01:00
    assert events["e4"].is_bot and not events["e9"].is_bot


def test_profiles_take_the_newest_of_the_best_source(lived):
    rows = {row.first_name: row for row in lived[0].lake.read("gold.profiles").collect()}
    zoe = rows["Zoë"]
    assert (zoe.email, zoe.phone, zoe.postcode, zoe.user_id) == ("zoe@example.com", "+447400123456", "YO17HH", "u1")
    assert zoe.identifiers["anonymous_id"] == ["k1"]
    assert "Anne" in rows and "Ann" not in rows  # C4 changed last


def test_numbers_to_report(lived):
    kpis = lived[0].lake.read("gold.kpis").where("as_of = '2026-02-01' AND dimension = 'total'").collect()
    found = {(row.metric, str(row.day)): row.value for row in kpis}
    assert found[("revenue", "2026-01-10")] == 45.0
    assert found[("revenue", "2026-01-31")] == -20.0
    assert found[("orders", "2026-01-10")] == 2


def test_the_published_run_pins_versions(lived):
    row = lived[0].lake.read("governance.runs").where(f"date = '{TWO}'").first()
    assert row.versions["identity.members"] == lived[0].lake.version("identity.members")
    assert row.status == "partial" and any("loyalty" in text for text in row.warnings)
    audit = lived[0].lake.read("governance.audit").where("table_name = 'gold.profiles'")
    assert {row.step for row in audit.collect()} == {"profile"}


def test_every_step_of_a_published_run_tells_what_it_cost_and_what_it_made_of_what(lived):
    """The audit is what lineage events and metrics are made of."""
    job = lived[0]
    audit = [row.asDict() for row in job.lake.read("governance.audit").where(f"run_id = 'run-{TWO}'").collect()]
    cost = ("seconds", "task_seconds", "shuffle_bytes", "spill_bytes")
    assert [row["step"] for row in audit if any(row[key] is None for key in cost)] == []
    told = {event.job.name: event for event in events(audit, "shop", job.lake.root)}
    assert {"ingest", "standardise", "resolve", "profile", "features", "kpis", "audiences"} <= set(told)
    made = {one.name: one.facets["version"].datasetVersion for event in told.values() for one in event.outputs}
    taken = {one.name: one.facets["version"].datasetVersion for one in told["profile"].inputs}
    assert taken["identity.members"] == made["identity.members"] == str(job.lake.version("identity.members"))


def test_a_snapshot_that_shrinks_stops_its_source_alone(spark, drops, tmp_path):
    root = write(tmp_path / "drops")
    small = (root / "crm" / "2026-01-31" / "crm.csv").read_text("latin-1").splitlines()[:2]
    (root / "crm" / "2026-01-31" / "crm.csv").write_text("\n".join(small), "latin-1")
    one, two = (job_on(spark, tmp_path / "lake", str(root), day) for day in (ONE, TWO))
    for job in (one, two):
        run_steps(job, between("ingest", "ingest"))
    assert any("crm" in text and "from 4 to 1 rows" in text for text in two.warnings)
    assert two.lake.read("bronze.crm").count() == 4
    assert two.lake.read("bronze.web").where(f"_ingest_date = '{TWO}'").count() == 2


def test_a_second_run_waits_its_turn(spark, drops, tmp_path):
    job = job_on(spark, tmp_path / "lake", drops, ONE)
    other = Job(**{**job.__dict__, "run_id": "other"})
    with lock(job):
        import json
        import os

        from cdp_spark.storage import Storage

        storage, uri = Storage(spark), f"{job.lake.root}/_cdp/lock.json"
        another = {"pid": os.getppid(), "born": born(os.getppid()), "since": datetime.now(UTC).isoformat()}
        held = json.loads(storage.read(uri)) | another
        storage.write(uri, json.dumps(held))
        with pytest.raises(RunError, match=job.run_id), lock(other):
            pass
