"""Do tables keep their rows when their contract changes, and their content when they are compacted?"""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.contract import Table
from cdp_spark.contracts import ContractError, quarantine_rows
from cdp_spark.lake import QUARANTINE, Lake
from jobs import maintain
from tests.forty import put
from tests.lakes import contents, job_on
from tests.tables import table

DAY = date(2026, 1, 30)
COLUMNS = {"on": {"type": "date", "required": True}, "id": {"type": "string"}, "n": {"type": "int"}}


def lake_with(spark, root, columns: dict, mode: str = "by_date") -> Lake:
    contract = Table(grain="a row", mode=mode, key=("id",), date="on", cluster=("id",), columns=columns)
    return Lake(spark, str(root / "lake"), {"gold.things": contract})


@pytest.fixture
def old(spark, tmp_path):
    lake = lake_with(spark, tmp_path, COLUMNS)
    lake.write("gold.things", table(spark, "on date | id string | n int\n2026-01-30 | a | 1\n2026-01-30 | b |"), on=DAY)
    return tmp_path


def test_columns_are_added_widened_and_renamed_and_older_rows_stay(spark, old):
    columns = {"on": COLUMNS["on"], "name": {"type": "string", "was": ["id"]}, "n": {"type": "bigint"},
               "extra": {"type": "double"}}  # fmt: skip
    contract = Table(grain="a row", mode="by_date", key=("name",), date="on", columns=columns)
    lake = Lake(spark, str(old / "lake"), {"gold.things": contract})
    before = [(row.name, row.n, row.extra) for row in lake.read("gold.things").orderBy("name").collect()]
    assert before == [("a", 1, None), ("b", None, None)]  # readable before it is altered
    new = table(spark, "on date | name string | n bigint | extra double\n2026-01-31 | c | 5000000000 | 0.5")
    lake.write("gold.things", new, on=date(2026, 1, 31))
    rows = [(row.name, row.n, row.extra) for row in lake.read("gold.things").orderBy("name").collect()]
    assert rows == [("a", 1, None), ("b", None, None), ("c", 5_000_000_000, 0.5)]
    again = table(spark, "on date | name string | n bigint | extra double\n2026-01-30 | a | 2 | 1.5")
    lake.write("gold.things", again, on=DAY)
    assert sorted(row.name for row in lake.read("gold.things").collect()) == ["a", "c"]


def test_a_ledger_gets_its_new_column(spark, tmp_path):
    columns = {"id": {"type": "string"}, "on": {"type": "date"}}
    lake_with(spark, tmp_path, columns, "ledger").write(
        "gold.things", table(spark, "id string | on date\na | 2026-01-30")
    )
    lake = lake_with(spark, tmp_path, columns | {"n": {"type": "int"}}, "ledger")
    lake.write("gold.things", table(spark, "id string | on date | n int\na | 2026-01-30 | 7\nb | 2026-01-30 | 8"))
    assert sorted((row.id, row.n) for row in lake.read("gold.things").collect()) == [("a", None), ("b", 8)]


def test_a_type_that_the_rows_cannot_give_is_refused_with_the_remedy(spark, old):
    lake = lake_with(spark, old, COLUMNS | {"n": {"type": "date"}})
    with pytest.raises(ContractError, match="column n is int in the table and date in its contract.*another name"):
        lake.read("gold.things")
    with pytest.raises(ContractError, match="column n is int"):
        lake.write("gold.things", table(spark, "on date | id string | n date\n2026-01-30 | a | 2026-01-01"), on=DAY)


@pytest.mark.slow
def test_compacting_and_vacuuming_keep_content_and_recent_versions(spark, old):
    lake = lake_with(spark, old, COLUMNS)
    lake.write(
        "gold.things", table(spark, "on date | id string | n int\n2026-01-30 | a | 3\n2026-01-30 | c | 4"), on=DAY
    )
    before, version = lake.read("gold.things").orderBy("id").collect(), lake.version("gold.things")
    lake.optimize("gold.things", since=DAY)
    lake.vacuum("gold.things", days=7)
    assert lake.read("gold.things").orderBy("id").collect() == before
    assert lake.read("gold.things", version).orderBy("id").collect() == before


def test_days_that_are_over_are_forgotten(spark, old):
    lake = lake_with(spark, old, COLUMNS)
    lake.write("gold.things", table(spark, "on date | id string | n int\n2026-01-31 | c | 4"), on=date(2026, 1, 31))
    lake.forget("gold.things", before=date(2026, 1, 31))
    assert [row.id for row in lake.read("gold.things").collect()] == ["c"]


def operations(job, name: str) -> list[str]:
    return [row.operation for row in job.lake._table(name).history().collect()]


@pytest.mark.slow
def test_the_step_maintain_keeps_what_tables_say_and_forgets_old_bad_rows_and_training_sets(
    spark, tmp_path, monkeypatch
):
    job = job_on(spark, tmp_path / "lake", "", DAY)
    for number in range(3):
        row = table(spark, f"destination string | delivery_id string | status string\ncrm | d{number} | confirmed")
        put(job.lake, "activation.deliveries", row)
    bad = table(spark, "raw string | rule string\n{} | event_time")
    for days in (1, job.conf.base.quarantine_days + 1):
        on = DAY - timedelta(days=days)
        rows = quarantine_rows(bad, "bronze.crm", "event_time", "a time", on)
        job.lake.quarantine("bronze.crm", rows, on, rows=1)
    for name, days in {"champions": 500, "gone": 500, "new": 1}.items():
        columns = "snapshot_id string | model string | person_id string | part string | label int"
        row = table(spark, f"{columns}\n{name} | churn | p | train | 1")
        day = F.lit(DAY - timedelta(days=days))
        given = {"trained_on": day, "snapshot_on": day, "features": F.create_map(F.lit("x"), F.lit(1.0))}
        put(job.lake, "ml.examples", row.withColumns(given))
    monkeypatch.setattr(maintain, "training_sets_in_use", lambda job: {"champions"})
    before = contents(spark, tmp_path / "lake")
    maintain.run(job)
    kept = {row["snapshot_id"] for row in job.lake.read("ml.examples").collect()}
    assert kept == {"champions", "new"}
    after = contents(spark, tmp_path / "lake")
    assert (before.pop(QUARANTINE)[0], after.pop(QUARANTINE)[0]) == (2, 1)
    before.pop("ml.examples"), after.pop("ml.examples")
    assert after == before and "activation.deliveries" in after
    assert "OPTIMIZE" in operations(job, "activation.deliveries")
    assert "VACUUM END" in operations(job, "activation.deliveries")
