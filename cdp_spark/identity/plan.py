"""What would other rules do to the people of a lake? The difference, told before anything is changed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.identity import Plan
from cdp_spark.config.models import Conf
from cdp_spark.governance.consent import consent_state
from cdp_spark.identity.matching.match import made, plan_of, possible
from cdp_spark.identity.people import resolved
from cdp_spark.identity.resolve import links_frame
from cdp_spark.identity.state import last_run, published, rules_hash
from cdp_spark.lake import Lake
from cdp_spark.storage import Storage

LARGEST = 10


class BeyondError(Exception):
    """A plan changes more than its thresholds allow."""

    exit_code = 5


class PlanError(Exception):
    """Rules changed and no plan within the thresholds stands for them."""

    exit_code = 5


def moves(before: DataFrame, after: DataFrame) -> DataFrame:
    """(old, new, keys): how many keys went from which person to which; both frames: (subject_key, person_id)."""
    old = before.select("subject_key", F.col("person_id").alias("old"))
    new = after.select("subject_key", F.col("person_id").alias("new"))
    return old.join(new, "subject_key", "full").groupBy("old", "new").agg(F.count(F.lit(1)).alias("keys"))


def people_changed(moved: DataFrame) -> dict[str, int]:
    """Counts of people: before, after, kept (id and records), merged (ended in another), split (lost records)."""
    both = moved.where("old IS NOT NULL AND new IS NOT NULL")
    ids = both.groupBy("old").agg(
        F.count(F.lit(1)).alias("parts"), F.bool_or(F.col("old") == F.col("new")).alias("lives")
    )
    into = both.groupBy("new").agg(F.count(F.lit(1)).alias("origins"))
    same = both.where("old = new").join(into, "new").join(ids, "old").where("parts = 1 AND origins = 1")
    ends = ids.agg(F.count_if(~F.col("lives")).alias("merged"), F.count_if(F.col("parts") > 1).alias("split")).first()
    sizes = moved.agg(F.count_distinct("old").alias("before"), F.count_distinct("new").alias("after")).first()
    return {"before": sizes["before"], "after": sizes["after"], "kept": same.count()} | ends.asDict()


def audiences_changed(moved: DataFrame, inside: DataFrame) -> dict[str, dict[str, int]]:
    """{audience: members, gained, lost}; inside: (audience, person_id) of who is in now.

    Of people, not of records: lost are members whose id ends; gained are ids that come to hold a record of a member.
    An estimate: conditions are not judged anew, as profiles and features of the new people are not there yet.
    """
    alive = moved.where("new IS NOT NULL").select(F.col("new").alias("person_id")).distinct()
    now = inside.join(moved, F.col("person_id") == F.col("old")).select("audience", F.col("new").alias("person_id"))
    now = now.where("person_id IS NOT NULL").distinct()
    counts = (("members", inside), ("lost", inside.join(alive, "person_id", "left_anti")),
              ("gained", now.join(inside, ["audience", "person_id"], "left_anti")))  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    for name, rows in counts:
        for row in rows.groupBy("audience").count().collect():
            found.setdefault(row["audience"], {"members": 0, "gained": 0, "lost": 0})[name] = row["count"]
    return dict(sorted(found.items()))


def consent_conflicts(moved: DataFrame, state: DataFrame) -> int:
    """People and purposes in which one who said yes becomes one with one who said no; silence is neither.

    state: (person_id, purpose, granted, consent_id) of the people before.
    """
    said = state.where("consent_id IS NOT NULL").select(F.col("person_id").alias("old"), "purpose", "granted")
    both = moved.where("new IS NOT NULL").join(said, "old").groupBy("new", "purpose")
    return (
        both.agg(F.bool_or("granted").alias("yes"), F.bool_or(~F.col("granted")).alias("no"))
        .where("yes AND no")
        .count()
    )


def beyond(found: dict, limits: Plan) -> list[str]:
    """The thresholds that a plan exceeds, in words; [] where it may be applied unseen."""
    told, people = [], found["people"]
    for kind in ("merged", "split"):
        share, most = people[kind] / max(people["before"], 1), getattr(limits, f"max_{kind}_share")
        if share > most:
            told.append(
                f"{people[kind]} of {people['before']} people {kind} ({share:.1%}; max_{kind}_share {most:.1%})"
            )
    if found["largest"] and found["largest"][0] > limits.max_cluster:
        told.append(f"a person of {found['largest'][0]} records (max_cluster {limits.max_cluster})")
    for name, one in found["audiences"].items():
        share = (one["gained"] + one["lost"]) / max(one["members"], 1)
        if share > limits.max_audience_share:
            told.append(f"audience {name}: {share:.1%} of members change (max_audience_share)")
    if found["consent_conflicts"] > limits.max_consent_conflicts:
        told.append(
            f"{found['consent_conflicts']} consent conflicts (max_consent_conflicts {limits.max_consent_conflicts})"
        )
    return told


def planned(lake: Lake, conf: Conf) -> dict:
    """The plan for `conf`'s rules on the records that the lake holds; left as JSON below _cdp/plans."""
    run_at, last, storage = datetime.now(UTC), last_run(lake), Storage(lake.spark)
    checkpoints = f"{lake.root}/_cdp/plan-checkpoints/{uuid4().hex}"  # a run may be at work in the folder of runs
    lake.spark.sparkContext.setCheckpointDir(checkpoints)
    try:
        told = _difference(lake, conf, last["as_of"] if last else run_at.date(), run_at)
    finally:
        storage.delete(checkpoints)
    told |= {"rules_hash_before": last["rules_hash"] if last else None, "planned_after": _name(last)}
    told["beyond"] = beyond(told, conf.identity.plan)
    storage.write(_place(lake, conf), json.dumps(told, indent=1))
    return told


def _difference(lake: Lake, conf: Conf, as_of: date, run_at: datetime) -> dict:
    """What a plan says, but for its thresholds and the run that it follows."""
    identifiers, members = lake.read("silver.identifiers"), published(lake, "identity.members").localCheckpoint()
    links, known = links_frame(lake.spark, conf.links), published(lake, "identity.anchors")
    matches, before = _matches(lake, conf, as_of - timedelta(days=1)), lake.read("identity.matches").count()
    then = as_of + timedelta(days=1)  # the next run: what the last one said is what the plan starts from
    found = resolved(identifiers, matches, links, members, known, conf.identity, then)
    moved = moves(members.where("valid_to IS NULL"), found.now).localCheckpoint()
    inside = lake.read("activation.members").where("left IS NULL").select("audience", "person_id")
    sizes = moved.groupBy("new").agg(F.sum("keys").alias("n")).where("new IS NOT NULL").orderBy(F.desc("n"))
    told = {
        "rules_hash": rules_hash(conf),
        "planned_at": run_at.isoformat(),
        "people": people_changed(moved),
        "matches": {"before": before, "after": matches.count()},
        "largest": [row["n"] for row in sizes.limit(LARGEST).collect()],
        "audiences": audiences_changed(moved, inside),
        "consent_conflicts": _conflicts(lake, conf, moved, identifiers, members, run_at),
    }
    found.release()
    return told


def _matches(lake: Lake, conf: Conf, day: date) -> DataFrame:
    """The probabilistic links that `conf` would make on the lake's records: those in the lake are of other rules."""
    plan = plan_of(conf)
    if not possible(conf, plan):
        return lake.read("identity.matches").limit(0)
    done = made(lake, conf, plan, day, lambda _: None)
    done.found.keyed.unpersist()
    return done.links


def _conflicts(lake, conf: Conf, moved: DataFrame, identifiers: DataFrame, members: DataFrame, run_at) -> int:
    if not conf.purposes:
        return 0
    facts = lake.read("silver.consents")
    return consent_conflicts(moved, consent_state(facts, identifiers, members, conf.purposes, run_at))


def _place(lake: Lake, conf: Conf) -> str:
    return f"{lake.root}/_cdp/plans/{rules_hash(conf)}.json"


def _name(run: dict | None) -> str | None:
    """Names one complete run: a run that is repeated keeps its id, and gets another time."""
    return f"{run['run_id']} {run['recorded_at'].isoformat()}" if run else None


def refuse_unplanned(lake: Lake, conf: Conf) -> str | None:
    """A warning where rules changed since the last run; None where they did not.

    Raises PlanError where `plan.required` is set and no plan within the thresholds stands for the new rules.
    """
    last = last_run(lake)
    if last is None or last["rules_hash"] == rules_hash(conf):
        return None
    storage, uri = Storage(lake.spark), _place(lake, conf)
    why = _unfit(json.loads(storage.read(uri)) if storage.exists(uri) else None, last)
    if why is None:
        return "the rules that decide who is who changed, as planned: everybody is resolved anew"
    if conf.identity.plan.required:
        raise PlanError(
            f"the rules that decide who is who changed and {why}: run `cdp identity plan`, then change the "
            "rules, raise the thresholds under `plan:` and plan again, or set `plan.required: false`"
        )
    return f"the rules that decide who is who changed and {why}: everybody is resolved anew"


def _unfit(plan: dict | None, last: dict) -> str | None:
    """Why a plan does not stand for the rules; None where it does."""
    if plan is None:
        return "no plan stands for them"
    if plan["beyond"]:
        return "their plan is beyond the thresholds"
    if plan.get("planned_after") != _name(last):
        return "their plan is older than the people: `resolve` has run since"
    return None
