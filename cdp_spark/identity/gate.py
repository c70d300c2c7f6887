"""May a run whose rules changed commit? By a plan that stands, by somebody's word, or within the thresholds."""

from __future__ import annotations

from typing import NamedTuple

from cdp_spark.identity.difference import beyond
from cdp_spark.identity.people import Resolved
from cdp_spark.identity.plan import PlanError, difference, read_plan, unfit
from cdp_spark.identity.state import WITHIN, last_run, published, rules_hash
from cdp_spark.job import Job

CHANGED = "the rules that decide who is who changed"
REMEDY = (
    "no person was changed. Look at the difference by `cdp identity plan`; then commit it by `cdp identity apply "
    "--force --author NAME --reason TEXT` (Airflow: the parameter accept=resolve), change the rules, or raise the "
    "thresholds under `plan:` in identity.yml"
)


class Word(NamedTuple):
    """What is known of a run before anything is computed; not `changed`: its rules are those of the last run.

    said: why changed rules may be committed; None where their difference is still to be judged, and where none changed
    since another day.  why: what they lack.
    applied: the run is that of `cdp identity apply`.
    """

    changed: bool = False
    said: str | None = None
    why: str = ""
    applied: bool = False


def word_for(job: Job) -> Word:
    """Raises PlanError where rules changed, `plan.required` is set and no plan stands for them."""
    last, plan = last_run(job.lake), read_plan(job.lake, job.conf)
    approved = (plan or {}).get("approved", {})
    applied = approved.get("run_id") == job.run_id
    if not applied and (last is None or last["rules_hash"] == rules_hash(job.conf)):
        # a run replaces the one before it of its day: who spoke for that one's rules spoke for these
        return Word(said=last["approval"] if last and last["as_of"] == job.as_of else None)
    why = unfit(plan, last)
    if why is None:
        by = f"by {approved['author']}: {approved['reason']}" if approved.get("author") else "as planned"
        return Word(True, by, applied=applied)
    if job.conf.identity.plan.required and not job.accepted:
        raise PlanError(
            f"{CHANGED} and {why}: run `cdp identity plan`, then change the rules, raise the thresholds under `plan:` "
            "and plan again, commit it all the same by `cdp identity apply --force`, or set `plan.required: false`"
        )
    return Word(True, why=why)


def approval(job: Job, word: Word, found: Resolved) -> str | None:
    """Why `found`, which is not written yet, may be committed, for identity.runs; None where rules are those before.

    Raises PlanError where what changed rules do to people is beyond `plan:` and nobody has spoken for it.
    """
    if not word.changed:
        return word.said
    said = word.said or _judged(job, word, found)
    job.warn(f"{CHANGED}, {said}: everybody is resolved anew")
    return said


def _judged(job: Job, word: Word, found: Resolved) -> str:
    last = last_run(job.lake)
    if last and job.as_of < last["as_of"] and not job.accepted:
        raise PlanError(
            f"{CHANGED} and people of {last['as_of']} are there already: what a day before them looks like by other "
            "rules says nothing of the days after. Look at the difference by `cdp identity plan`, then give `--accept "
            "resolve` (Airflow: the parameter accept=resolve)"
        )
    told = difference(job.lake, job.conf, published(job.lake, "identity.members"), found, job.run_at)
    over, people = "; ".join(beyond(told, job.conf.identity.plan)), told["people"]
    if over and not job.accepted:
        raise PlanError(f"{CHANGED} and this goes beyond the thresholds: {over}; {REMEDY}")
    counted = f"{word.why}; {people['merged']} of {people['before']} people merged, {people['split']} split"
    return f"accepted beyond the thresholds ({over}), though {counted}" if over else f"{WITHIN}, though {counted}"
