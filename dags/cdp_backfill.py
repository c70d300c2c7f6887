"""Airflow, by hand: a range of days, one after another in one process, as `cdp run --from-date --to-date` does."""

from datetime import timedelta

from airflow.sdk import Param
from cdp_dag import GATES, PUBLISHED, dag, deployment, submit

FIRST = Param(type="string", format="date", description="first day; every day after it must be in the range too")
LAST = Param(type="string", format="date", description="last day")
HOURS = 24
RANGE = [
    "--from-date",
    "{{ params.from_date }}",
    "--to-date",
    "{{ params.to_date }}",
    "--accept",
    "{{ params.accept }}",
]

with dag(
    "cdp_backfill",
    "Make a range of days anew, in their order",
    None,
    hours=HOURS + 1,
    from_date=FIRST,
    to_date=LAST,
    accept=GATES,
):
    submit(
        "backfill",
        "cdp_spark/cli.py",
        ["run", *deployment(), *RANGE],
        "A past range, a replay after a fix, or a missed week: every step, day by day.",
        outlets=[PUBLISHED],
        execution_timeout=timedelta(hours=HOURS),
    )
