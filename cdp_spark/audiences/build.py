"""How do all audiences of a deployment come about in one run?"""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import DataFrame

from cdp_spark.audiences.candidates import candidates
from cdp_spark.audiences.members import funnel, judged
from cdp_spark.config.cross import model_names
from cdp_spark.governance.consent import consent_state, consented
from cdp_spark.job import Job

FUNNEL = "as_of date, audience string, outcome string, people bigint"


class Built(NamedTuple):
    """members: rows of `judged` who are in (None: no audience is declared); funnels: see activation.funnels."""

    members: DataFrame | None
    funnels: DataFrame


def permission(job: Job) -> DataFrame:
    """One row per person and purpose, as of this moment (`run_at`): permission is never a matter of yesterday."""
    lake = job.lake
    facts, identifiers, members = (
        lake.read(name) for name in ("silver.consents", "silver.identifiers", "identity.members")
    )
    return consent_state(facts, identifiers, members, job.conf.purposes, job.run_at)


def profiled(job: Job) -> DataFrame | None:
    """Who may be trained on and scored: the purpose `profiling`; None where the deployment declares no such purpose."""
    if "profiling" not in job.conf.purposes:
        return None
    people = job.lake.read("identity.members").where("valid_to IS NULL").select("person_id").distinct()
    return consented(people, permission(job), purpose="profiling")


def wide(job: Job, max_age_days: int) -> DataFrame:
    """`candidates` of this lake as of the run."""
    profiles, features, scores = (job.lake.read(name) for name in ("gold.profiles", "gold.features", "ml.scores"))
    return candidates(profiles, features, scores, job.as_of, max_age_days, model_names())


def build(job: Job) -> Built:
    """Everybody judged for every audience of the deployment; why an audience is empty is logged."""
    found, rows = None, []
    state = permission(job).persist() if job.conf.audiences else None
    for name, audience in job.conf.audiences.items():
        people = judged(wide(job, audience.scores_max_age_days), name, audience, state).persist()
        counts = {row["outcome"]: row["count"] for row in people.groupBy("outcome").count().collect()}
        steps = funnel(counts, audience.min_size)
        rows += [(job.as_of, name, outcome, count) for outcome, count in steps.items()]
        if steps["min_size"]:
            few = f"{steps['min_size']} people, fewer than min_size {audience.min_size}"
            job.warn(f"audience {name}: {few}: nobody is in")
        inside = people.where("outcome IN ('member', 'holdout')" if not steps["min_size"] else "false")
        found = inside if found is None else found.unionByName(inside)
        told = ", ".join(f"{count} {outcome}" for outcome, count in steps.items() if count)
        job.log(f"{name}: {told}")
    return Built(found, job.spark.createDataFrame(rows, FUNNEL))
