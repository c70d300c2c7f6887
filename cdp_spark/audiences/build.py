"""How do all audiences of a deployment come about in one run?"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.audiences.candidates import candidates, newest
from cdp_spark.audiences.limits import bought, capped, contacts, order, suppressed, suppression
from cdp_spark.audiences.members import INSIDE, funnel, judged
from cdp_spark.config.activation import Audience
from cdp_spark.config.cross import WEEKLY, model_names
from cdp_spark.governance.consent import consent_state, consented
from cdp_spark.job import Job

FUNNEL = "as_of date, audience string, outcome string, people bigint"


class Built(NamedTuple):
    """members: rows of `judged` who are in (None: no audience is declared); outcomes: everybody's audience, person_id,
    outcome; funnels: see activation.funnels."""

    members: DataFrame | None
    outcomes: DataFrame | None
    funnels: DataFrame


def permission(job: Job, asked: Iterable[str], lists: Iterable[str] = ()) -> DataFrame:
    """One row per person and purpose of `asked`, as of this moment (`run_at`): permission is no matter of yesterday.

    lists: suppression lists that `suppressed` will ask about; a row per person and list.
    """
    facts, identifiers, members = (
        job.lake.read(name) for name in ("silver.consents", "silver.identifiers", "identity.members")
    )
    purposes = {name: job.conf.purposes[name] for name in sorted(set(asked))} | suppression(sorted(set(lists)))
    return consent_state(facts, identifiers, members, purposes, job.run_at)


def lists_of(audiences: Iterable[Audience]) -> set[str]:
    return {name for audience in audiences for name in audience.exclude.suppression}


def profiled(job: Job) -> DataFrame | None:
    """Who may be trained on and scored: the purpose `profiling`; None where the deployment declares no such purpose."""
    if "profiling" not in job.conf.purposes:
        return None
    people = job.lake.read("identity.members").where("valid_to IS NULL").select("person_id").distinct()
    return consented(people, permission(job, ["profiling"]), purpose="profiling")


def wide(job: Job, max_age_days: int) -> DataFrame:
    """`candidates` of this lake as of the run."""
    profiles, features, scores = (job.lake.read(name) for name in ("gold.profiles", "gold.features", "ml.scores"))
    found = candidates(profiles, features, scores, job.as_of, max_age_days, model_names())
    for name, columns in WEEKLY.items():
        if job.lake.exists(name):
            found = found.join(newest(job.lake.read(name), job.as_of, columns), "person_id", "left")
        else:
            kinds = job.lake.contract(name).columns
            found = found.withColumns({one: F.lit(None).cast(kinds[one].type) for one in columns})
    return found


def build(job: Job) -> Built:
    """Everybody judged for every audience of the deployment; why an audience is empty is logged."""
    inside: dict[str, DataFrame] = {}
    everybody, rows = [], []
    asked, lists = [audience.purpose for audience in job.conf.audiences.values()], lists_of(job.conf.audiences.values())
    state = permission(job, asked, lists).persist() if asked else None
    _warn_of_empty(job, lists)
    said = contacted(job).persist() if any(one.caps for one in job.conf.audiences.values()) else None
    for name in order(job.conf.audiences):
        audience = job.conf.audiences[name]
        out = _left_out(job, name, said, inside, state)
        people = judged(wide(job, audience.scores_max_age_days), name, audience, state, out).persist()
        counts = {row["outcome"]: row["count"] for row in people.groupBy("outcome").count().collect()}
        steps = funnel(counts, audience.min_size)
        rows += [(job.as_of, name, outcome, count) for outcome, count in steps.items()]
        if steps["min_size"]:
            few = f"{steps['min_size']} people, fewer than min_size {audience.min_size}"
            job.warn(f"audience {name}: {few}: nobody is in")
        inside[name] = people.where(F.col("outcome").isin(*INSIDE) if not steps["min_size"] else "false")
        if said is not None:
            said = _with_today(job, name, said, inside[name].where("outcome = 'member'"))
        everybody.append(people.select("audience", "person_id", "outcome"))
        told = ", ".join(f"{count} {outcome}" for outcome, count in steps.items() if count)
        job.log(f"{name}: {told}")
    if not inside:
        return Built(None, None, job.spark.createDataFrame(rows, FUNNEL))
    members = reduce(DataFrame.unionByName, inside.values())
    return Built(members, reduce(DataFrame.unionByName, everybody), job.spark.createDataFrame(rows, FUNNEL))


def contacted(job: Job) -> DataFrame:
    """Contacts of everybody before this day, see `contacts`."""
    names = ("silver.interactions", "activation.sent", "activation.deliveries", "identity.members")
    channels = {name: spec.channel for name, spec in job.conf.destinations.items() if spec.channel}
    # Before this day: a second run of the day must not count what the first one sent.
    return contacts(*(job.lake.read(name) for name in names), channels, job.date)


def with_new(job: Job, said: DataFrame) -> DataFrame:
    """`said` with who entered any audience in this run, once its members are written, see `_with_today`."""
    rows = job.lake.read("activation.members").where(F.expr("left IS NULL AND arm = 'treatment'"))
    for name in job.conf.audiences:
        said = _with_today(job, name, said, rows.where(F.col("audience") == name).select("person_id"))
    return said


def _with_today(job: Job, name: str, said: DataFrame, inside: DataFrame) -> DataFrame:
    """`said` with who is new among those treated in an audience (`inside`), and so is contacted today where a
    destination with a channel takes it."""
    channels = sorted({d.channel for d in job.conf.destinations.values() if d.channel and name in d.audiences})
    if not channels:
        return said
    known = job.lake.read("activation.members").where(F.expr("left IS NULL AND arm = 'treatment'"))
    known = known.where((F.col("audience") == name) & (F.col("since") < F.lit(job.as_of)))
    new = inside.join(known, "person_id", "left_anti")
    each = F.explode(F.array(*map(F.lit, channels))).alias("channel")
    return said.unionByName(new.select("person_id", F.lit(job.date).alias("day"), each)).distinct()


def _warn_of_empty(job: Job, lists: set[str]) -> None:
    """Tell of suppression lists that nobody ever stood on: a name written otherwise shuts nobody out."""
    rows = job.lake.read("silver.consents").where(F.col("purpose").isin(*lists)).select("purpose").distinct()
    for name in sorted(lists - {row["purpose"] for row in rows.collect()}) if lists else ():
        job.warn(f"suppression list {name}: nobody stands on it; is that its name, and is its source landed?")


def _left_out(
    job: Job, name: str, said: DataFrame | None, inside: dict[str, DataFrame], state: DataFrame
) -> dict[str, DataFrame]:
    """People to leave out of an audience, by outcome of `judged`. inside: members of the audiences built before."""
    audience, lake = job.conf.audiences[name], job.lake
    members = lake.read("identity.members")
    found = {"cap": capped(said, audience.caps, job.date)} if audience.caps else {}
    rule, excluded = audience.exclude, [inside[other].select("person_id") for other in audience.exclude.audiences]
    if rule.bought_days:
        excluded.append(bought(lake.read("silver.orders"), members, job.as_of, rule.bought_days))
    if rule.suppression:
        excluded.append(suppressed(state, rule.suppression))
    if excluded:
        found["exclusion"] = reduce(DataFrame.unionByName, excluded)
    rivals = [rows for other, rows in inside.items() if audience.competes == job.conf.audiences[other].competes]
    if audience.competes and rivals:
        found["priority"] = reduce(DataFrame.unionByName, (rows.select("person_id") for rows in rivals))
    return found
