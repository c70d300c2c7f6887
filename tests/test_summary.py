"""What the account of a run says of each layer: rows in and out, and why the others did not go on."""

from __future__ import annotations

from dataclasses import replace

from cdp_spark.summary import _reconciliation, print_summary
from tests.forty import DAY


def test_rows_that_did_not_go_on_are_told_by_reason(job, capsys):
    columns = job.lake.read("bronze._reconciliation").schema
    rows = [
        ("bronze", "web", DAY, 10, 7, 3, 0, 0, "landed", None),
        ("silver", "web", DAY, 7, 5, 0, 0, 2, "landed", None),
    ]
    job.lake.write("bronze._reconciliation", job.spark.createDataFrame(rows, columns), on=DAY)
    aside = [("bronze.web", "web", DAY, None, None, "{}", rule, "expected", f"h{n}")
             for n, rule in enumerate(["malformed", "malformed", "future_date"])]  # fmt: skip
    schema = job.lake.read("bronze._quarantine").schema
    job.lake.write("bronze._quarantine", job.spark.createDataFrame(aside, schema), on=DAY)
    web = job.conf.sources["web"].model_copy(update={"where": "event <> 'ping'"})
    conf = job.conf.model_copy(update={"sources": job.conf.sources | {"web": web}})
    found = _reconciliation(replace(job, conf=conf))
    assert [row["reasons"] for row in found] == [{"future_date": 1, "malformed": 2}, {"not: event <> 'ping'": 2}]
    print_summary({"steps": [], "identity": {"records": 0, "persons": 0}, "models": {}, "audiences": {}, "exports": [],
                   "warnings": [], "reconciliation": found})  # fmt: skip
    assert "2  malformed" in capsys.readouterr().out
