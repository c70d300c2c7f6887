"""How does a plan become the people of a lake? One run with its rules on the records that it was made of."""

from __future__ import annotations

import json
from dataclasses import replace

from cdp_spark.identity.plan import PlanError, inputs, name_of, place_of, read_plan, unfit
from cdp_spark.identity.state import last_run
from cdp_spark.job import Job
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.storage import Storage


def apply(job: Job, author: str = "", reason: str = "", *, force: bool = False) -> tuple[Job, list[dict]]:
    """Run `match`, `resolve` and `health` by the rules of the job's deployment; the job on its day, their account.

    The people hold from the day after the last run's on, so that the ledger tells what became of those before; a run
    of that day replaces them. Raises PlanError where no plan stands for the rules; a plan that is old or beyond its
    thresholds is applied where `force` is given, by `author` for `reason`.
    """
    last, plan = last_run(job.lake), read_plan(job.lake, job.conf)
    if last is None or plan is None:
        raise PlanError("no plan stands for these rules: run `cdp identity plan --conf ...` with the same deployment")
    if force and not (author.strip() and reason.strip()):
        raise PlanError("--force needs --author and --reason: they are kept in identity.runs")
    if (why := _doubt(job, plan, last)) and not force:
        raise PlanError(
            f"the plan is not applied: {why}. Plan anew, or give --force --author NAME --reason TEXT to commit it "
            "all the same"
        )
    job = replace(job, date=last["as_of"])  # the midnight that ended its day begins the next one
    word = {"after": name_of(last), "run_id": job.run_id, "author": author.strip(), "reason": reason.strip()}
    word["at"] = job.run_at.isoformat()
    Storage(job.spark).write(place_of(job.lake, job.conf), json.dumps(plan | {"approved": word}, indent=1))
    # with `health`, as `cdp identity explain` is what is asked next
    return job, run_steps(job, [*between("match", "resolve"), *between("health", "health")])


def _doubt(job: Job, plan: dict, last: dict) -> str | None:
    """Why a plan may not be applied unseen: beyond, older than the people, or than what it was made of."""
    if why := unfit(plan | {"approved": {}}, last):
        told = f": {'; '.join(plan['beyond'])}" if plan["beyond"] else ""
        return why + told
    now = inputs(job.lake, job.conf)
    if changed := sorted(name for name, value in now.items() if plan.get("inputs", {}).get(name) != value):
        return f"it is older than what it was made of ({', '.join(changed)})"
    return None
