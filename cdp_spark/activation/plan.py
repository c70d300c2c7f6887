"""What may a destination hold now, and what must change there? Everything is asked again here, permission first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation import ledger
from cdp_spark.activation.content import content, digest, with_input_id
from cdp_spark.audiences.build import wide
from cdp_spark.audiences.candidates import recommended
from cdp_spark.audiences.limits import suppressed
from cdp_spark.audiences.members import held_out
from cdp_spark.audiences.offers import best, ranked
from cdp_spark.config.activation import Audience, Destination
from cdp_spark.config.journeys import Journey
from cdp_spark.config.sql import columns_of
from cdp_spark.gold.people import heir
from cdp_spark.governance.consent import consented
from cdp_spark.job import Job


class Plan(NamedTuple):
    """What a destination may hold now, by consent of this moment, and what must change there. Made by `plan` only."""

    now: DataFrame
    changes: ledger.Changes
    rows: int
    removed: int
    added: int
    digest: str


def plan(job: Job, name: str, spec: Destination, state: DataFrame, *, lost: bool, anew: bool) -> Plan:
    """Everything is asked again here, permission first: nothing else may be sent.

    lost: the place holds nothing (any more).  anew: what is delivered replaces all that is there.
    """
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    before = ledger.held(sent, deliveries, name, seen_before_confirmed=spec.protocol == "http")
    if lost:
        before = before.limit(0)
    before = before.persist()
    first = before.isEmpty()
    if spec.journeys:
        people = _due(job, name, spec, state, ledger.valued(before, sent, name))
    else:
        people = members(job, spec, state)
    known = None if first or anew or spec.journeys or spec.sync == "full" else before
    now = _quietly(job, name, spec, may_hold(people, spec, job.conf.base.region, known), before).persist()
    if first:  # a first delivery: nothing to compare with
        kept = ledger.Changes(now, ledger.valued(before, sent, name), now.limit(0))
    else:
        quiet = _quiet(job, spec)
        kept = ledger.changes(now, before, sent, name, spec, _stay(job, spec, people, now, before, quiet, state))
    if anew:
        kept = kept._replace(adds=now, removes=now.limit(0))
    found = _planned(now, kept)
    before.unpersist()
    return found


def _planned(now: DataFrame, changes: ledger.Changes) -> Plan:
    """The plan with its counts; its frames stay in memory for whoever writes them."""
    kept = ledger.Changes(*(frame.persist() for frame in changes))
    whole, rows = digest(now)
    ended, removed = digest(kept.gone.select(F.col("audience").alias("_audience"), F.col("row_id").alias("_row_id")))
    begun, added = (whole, rows) if kept.adds is now else digest(kept.adds)
    return Plan(now, kept, rows, removed, added, f"{whole}|{begun}|{ended}")


def may_hold(people: DataFrame, spec: Destination, region: str, before: DataFrame | None) -> DataFrame:
    """What the destination may hold of `people`: rows of `content`. Of rows that are in `before` their ids alone: most
    people are as they were the day before, and to write their values anew is most of the work."""
    if before is None:
        return content(people, spec, region)
    known = ledger.known(with_input_id(people, spec, region), before)
    return ledger.with_known(content(known.where("_row_id IS NULL"), spec, region), known)


def _quiet(job: Job, spec: Destination) -> list[str]:
    return [one for one in spec.audiences + spec.journeys if is_quiet(job, spec, one)]


def _quietly(job: Job, name: str, spec: Destination, now: DataFrame, before: DataFrame) -> DataFrame:
    """`now` without who would be new at a quiet hour."""
    quiet = _quiet(job, spec)
    if not quiet:
        return now
    job.log(f"{name}: quiet hours of {', '.join(quiet)}: only who may no longer be addressed is removed")
    if spec.journeys:  # theirs are not among the actions that are due
        return now
    return ledger.unchanged(now, before, job.lake.read("identity.members"), quiet)


def withdrawn(
    job: Job, name: str, spec: Destination, state: DataFrame, *, anew: bool = False, told: date | None = None
) -> Plan:
    """What must leave a destination on a day on which nobody may be added: who may no longer be addressed.

    Only permission is asked, not who is a member today: what audiences were made of may be what went wrong. A whole
    list is told anew, of who was on it and may stay, as it was on the day `told` of the last delivery: features of this
    day may not be there.  anew: as in `plan`.
    """
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    before = ledger.held(sent, deliveries, name, seen_before_confirmed=spec.protocol == "http").persist()
    people = job.lake.read("identity.members")
    yes = reduce(DataFrame.unionByName, [_allowed(spec, job, one, state) for one in spec.audiences + spec.journeys])
    shape = content(actions(job, name, spec, state) if spec.journeys else members(job, spec, state), spec,
                    job.conf.base.region).limit(0)  # fmt: skip
    stays = before.join(ledger.staying(before, shape, people, yes), ledger.ROW, "left_semi").persist()
    gone = ledger.valued(before.join(stays, ledger.ROW, "left_anti"), sent, name).persist()
    if (spec.sync == "full" or anew) and not gone.isEmpty():
        then = replace(job, date=told or job.date)
        now = content(_known(then, spec, state, _as_before(job, spec, stays)), spec, job.conf.base.region).persist()
        found = ledger.changes(now, before, sent, name, spec)
        found = found._replace(adds=now, removes=now.limit(0)) if anew else found
    else:
        now = ledger.as_sent(ledger.valued(stays, sent, name), shape, spec).persist()
        found = ledger.Changes(shape, gone, ledger.removes(gone, now, spec))
    made = _planned(now, found)
    for frame in (before, stays) if made.changes.gone is gone else (before, stays, gone):
        frame.unpersist()
    return made


def _as_before(job: Job, spec: Destination, stays: DataFrame) -> dict[str, DataFrame]:
    """Who of each audience is on the list that is out (`stays`, rows of `held`), as rows of `members`."""
    on = stays.join(heir(job.lake.read("identity.members")), "person_id").select("audience", "now").distinct()
    known = job.lake.read("activation.members").drop("left", "arm", "purpose")
    rows = on.withColumnRenamed("now", "person_id").join(known, ["audience", "person_id"], "left")
    return {
        name: rows.where(F.col("audience") == name).withColumn("purpose", F.lit(rule(job, spec, name).purpose))
        for name in spec.audiences
    }


def _due(job: Job, name: str, spec: Destination, state: DataFrame, done: DataFrame) -> DataFrame:
    """The action that each person gets today. done: rows of `valued`; nothing, where the place lost what it held."""
    made = job.lake.read("activation.deliveries").where((F.col("destination") == name) & F.expr("status = 'confirmed'"))
    mine = made.where(F.col("date") == F.lit(job.date)).select("sequence").distinct()
    today = (
        done.where("sure")
        .join(mine, "sequence", "left_semi")
        .join(heir(job.lake.read("identity.members")), "person_id")
    )
    today = today.select(F.col("now").alias("person_id")).distinct()
    # quiet journeys first: what may not leave now must not take the turn of what may
    rows = actions(job, name, spec, state).where(~F.col("audience").isin(*_quiet(job, spec)))
    return ledger.due(rows, done, spec.units[0][0], today).drop("_as_of")


def _stay(
    job: Job, spec: Destination, people: DataFrame, now: DataFrame, before: DataFrame, quiet: list[str], state
) -> DataFrame | None:
    """Rows of `before` that stay though they are not in `now`; None where none does: a whole list replaces all.

    Who is in the audience is told by `people`: of equal rows `now` knows one person, of empty ones none.
    """
    keeping = {"upsert": spec.audiences + spec.journeys, "mirror": quiet}.get(spec.sync)
    if not keeping:
        return None
    yes = reduce(DataFrame.unionByName, [_allowed(spec, job, one, state) for one in keeping])
    inside = people.select(F.col("audience").alias("_audience"), F.col("person_id").alias("_person_id"))
    still = now.where(F.col("_audience").isin(*quiet)).select(*inside.columns)  # at quiet hours nobody is newer
    newer = inside.where(~F.col("_audience").isin(*quiet)).unionByName(still)
    if spec.journeys:  # an action does not take the place of another
        newer = newer.limit(0)
    return ledger.staying(before, newer, job.lake.read("identity.members"), yes)


def rule(job: Job, spec: Destination, name: str) -> Audience | Journey:
    return job.conf.journeys[name] if spec.journeys else job.conf.audiences[name]


def audience(job: Job, spec: Destination, name: str) -> Audience:
    """The audience of that name, or the one that the journey begins at."""
    return job.conf.audiences[job.conf.journeys[name].audience if spec.journeys else name]


def is_quiet(job: Job, spec: Destination, name: str) -> bool:
    hours = rule(job, spec, name).quiet_hours
    return hours is not None and hours.holds(job.run_at)


def _allowed(spec: Destination, job: Job, name: str, state: DataFrame) -> DataFrame:
    """audience, person_id of who may be addressed, member or not."""
    yes = consented(state.select("person_id").distinct(), state, purpose=rule(job, spec, name).purpose)
    yes = _reachable(job, spec, name, yes, state)
    return yes.select(F.lit(name).alias("audience"), "person_id")


def _reachable(job: Job, spec: Destination, name: str, people: DataFrame, state: DataFrame) -> DataFrame:
    """`people` without who is held out or on a suppression list of the audience, or of the one a journey begins at.

    A treated person who was merged into one that is held out is not reached any more, also by what upsert keeps.
    """
    begins = audience(job, spec, name)
    drawn = begins.experiment or (job.conf.journeys[name].audience if spec.journeys else name)
    if begins.holdout:
        people = people.where(~held_out(drawn, begins.holdout))
    lists = begins.exclude.suppression
    return people.join(suppressed(state, lists), "person_id", "left_anti") if lists else people


def members(job: Job, spec: Destination, state: DataFrame) -> DataFrame:
    """Who is in the destination's audiences now, is treated, and still says yes: one row per audience and person."""
    inside = job.lake.read("activation.members").where("left IS NULL AND arm = 'treatment'").drop("left", "arm")
    return _known(job, spec, state, {name: inside.where(F.col("audience") == name) for name in spec.audiences})


def actions(job: Job, name: str, spec: Destination, state: DataFrame) -> DataFrame:
    """Actions of the destination's journeys that may still be delivered, to people who still say yes."""
    rows = job.lake.read("activation.actions").where((F.col("to") == name) & (F.col("as_of") <= F.lit(job.as_of)))
    rows = rows.join(heir(job.lake.read("identity.members")), "person_id").withColumn("person_id", F.col("now"))
    found = {}
    for journey in spec.journeys:
        oldest = job.as_of - timedelta(days=job.conf.journeys[journey].deliver_within_days)
        mine = rows.where((F.col("journey") == journey) & (F.col("as_of") > F.lit(oldest)))
        found[journey] = mine.withColumnsRenamed({"journey": "audience", "as_of": "_as_of"}).drop("to", "now")
    return _known(job, spec, state, found)


def _read(spec: Destination) -> set[str]:
    """Columns that the destination's fields read, in small letters."""
    return {name.lower() for target in spec.fields.values() for name in columns_of(target.column)}


def _about(job: Job, spec: Destination, max_age_days: int) -> DataFrame:
    """`wide`, or the profiles alone where the fields read nothing else."""
    profiles, own = job.lake.read("gold.profiles"), job.lake.contract("activation.members").columns
    enough = _read(spec) <= {"basis", *own, *(name.lower() for name in profiles.columns)}
    return profiles if enough and not spec.journeys else wide(job, max_age_days)


def _known(job: Job, spec: Destination, state: DataFrame, found: dict[str, DataFrame]) -> DataFrame:
    """Rows of people who say yes to the purpose of their audience or journey, with all that fields may read."""
    rows = []
    for name, people in found.items():
        asked = rule(job, spec, name)
        mine = _reachable(job, spec, name, consented(people, state, purpose=asked.purpose), state)
        mine = mine.withColumn("basis", F.lit(job.conf.purposes[asked.purpose].basis))
        about = _about(job, spec, asked.scores_max_age_days)
        if job.conf.offers and "next_offer" in _read(spec):
            about = about.withColumn("next_offer", best(ranked(job.conf.offers), tuple(job.conf.offers))["offer"])
        if "recommendations" in _read(spec):
            products = recommended(job.lake.read("ml.recommendations"), job.as_of)
            about = about.join(products, "person_id", "left")
        rows.append(mine.join(about, "person_id"))
    return reduce(DataFrame.unionByName, rows)
