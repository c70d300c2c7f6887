"""Airflow, every week: models are fitted anew where they are due, and tables are kept fast and small."""

from airflow.providers.standard.operators.empty import EmptyOperator
from cdp_dag import DATE, GATES, NEWEST, chain, dag, give_back, task

from cdp_spark.pipeline import STEPS, UPKEEP

LEARNING = [step for step in STEPS if step.every == "week"]

# One at a time, though none waits for another's success: all of them note what they fitted in ml.trainings.
with dag("cdp_weekly", "Train models and maintain tables", "0 12 * * 0", at_once=1, date=DATE, accept=GATES):
    tasks = {step.name: task(step, NEWEST) for step in LEARNING}
    chain(LEARNING, tasks)
    # files are joined when nobody writes any more, also after a failure
    upkeep = {step.name: task(step, NEWEST, trigger_rule="all_done") for step in UPKEEP}
    done = EmptyOperator(task_id="done", doc_md="Fails with any step: Airflow judges a DAG run by its last tasks.")
    list(tasks.values()) >> done
    for last in upkeep.values():
        list(tasks.values()) >> last >> done
    give_back(tasks | upkeep)
