"""Airflow, every day: all daily steps of the pipeline, one spark-submit each, published last."""

from cdp_dag import DATE, GATES, PUBLISHED, SCHEDULE, chain, dag, give_back, task

from cdp_spark.pipeline import STEPS

DAILY = [step for step in STEPS if step.every == "day"]

with dag("cdp_daily", "Land a day and publish what follows from it", SCHEDULE, date=DATE, accept=GATES):
    tasks = {step.name: task(step, outlets=(PUBLISHED,) if step.name == "publish" else ()) for step in DAILY}
    chain(DAILY, tasks)
    give_back(tasks)
