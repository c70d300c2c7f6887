"""Airflow, every week: models are fitted anew where they are due, and tables are kept fast and small."""

from cdp_dag import DATE, GATES, chain, dag, task

from cdp_spark.pipeline import STEPS, UPKEEP

WEEKLY = [step for step in (*STEPS, *UPKEEP) if step.every == "week"]

with dag("cdp_weekly", "Train models and maintain tables", "0 12 * * 0", date=DATE, accept=GATES):
    tasks = {step.name: task(step, hold=step != WEEKLY[-1]) for step in WEEKLY}
    chain(WEEKLY, tasks)
    for before, after in zip(WEEKLY, WEEKLY[1:], strict=False):
        tasks[before.name] >> tasks[after.name]
