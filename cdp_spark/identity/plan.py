"""What would other rules do to the people of a lake? Told before anything is changed, and what a run may do then."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.governance.consent import consent_state
from cdp_spark.identity.difference import audiences_changed, beyond, consent_conflicts, moves, people_changed
from cdp_spark.identity.matching.match import made, plan_of, possible
from cdp_spark.identity.pairs import links_frame
from cdp_spark.identity.people import Resolved, resolved
from cdp_spark.identity.state import last_run, published, rules_hash
from cdp_spark.lake import Lake
from cdp_spark.storage import Storage

LARGEST = 10
INPUTS = ("silver.identifiers", "silver.customers", "silver.consents")  # what a plan was made of


class BeyondError(Exception):
    """A plan changes more than its thresholds allow."""

    exit_code = 5


class PlanError(Exception):
    """Rules changed and no plan within the thresholds stands for them."""

    exit_code = 5


def planned(lake: Lake, conf: Conf) -> dict:
    """The plan for `conf`'s rules on the records that the lake holds; left as JSON below _cdp/plans."""
    run_at, last, storage = datetime.now(UTC), last_run(lake), Storage(lake.spark)
    checkpoints = f"{lake.root}/_cdp/plan-checkpoints/{uuid4().hex}"  # a run may be at work in the folder of runs
    lake.spark.sparkContext.setCheckpointDir(checkpoints)
    before = inputs(lake, conf)
    try:
        told = _planned(lake, conf, last["as_of"] if last else run_at.date(), run_at)
    finally:
        storage.delete(checkpoints)
    told |= {"rules_hash_before": last["rules_hash"] if last else None, "planned_after": name_of(last)}
    told["inputs"] = before
    told["beyond"] = beyond(told, conf.identity.plan)
    storage.write(place_of(lake, conf), json.dumps(told, indent=1))
    return told


def _planned(lake: Lake, conf: Conf, as_of: date, run_at: datetime) -> dict:
    """What a plan says, but for its thresholds and the run that it follows."""
    identifiers, members = lake.read("silver.identifiers"), published(lake, "identity.members").localCheckpoint()
    links, known = links_frame(lake.spark, conf.links), published(lake, "identity.anchors")
    matches, before = _matches(lake, conf, as_of - timedelta(days=1)), lake.read("identity.matches")
    then = as_of + timedelta(days=1)  # the next run: what the last one said is what the plan starts from
    found = resolved(identifiers, matches, links, members, known, conf.identity, then)
    told = {"rules_hash": rules_hash(conf), "planned_at": run_at.isoformat()}
    told |= {"matches": {"before": _linking(before), "after": _linking(matches)}}
    told |= difference(lake, conf, members, found, run_at)
    found.release()
    return told


def difference(lake: Lake, conf: Conf, members: DataFrame, found: Resolved, run_at: datetime) -> dict:
    """People, largest, audiences and consent_conflicts: what `found` does to the people of `members`."""
    moved = moves(members.where("valid_to IS NULL"), found.now).localCheckpoint()
    inside = lake.read("activation.members").where("left IS NULL").select("audience", "person_id")
    sizes = moved.groupBy("new").agg(F.sum("keys").alias("n")).where("new IS NOT NULL").orderBy(F.desc("n"))
    return {
        "people": people_changed(moved),
        "largest": [row["n"] for row in sizes.limit(LARGEST).collect()],
        "audiences": audiences_changed(moved, inside),
        "consent_conflicts": _conflicts(lake, conf, moved, members, run_at),
    }


def _matches(lake: Lake, conf: Conf, day: date) -> DataFrame:
    """The probabilistic links that `conf` would make on the lake's records: those in the lake are of other rules."""
    plan = plan_of(conf)
    if not possible(conf, plan):
        return lake.read("identity.matches").limit(0)
    done = made(lake, conf, plan, day, lambda _: None)
    done.found.keyed.unpersist()
    return done.links


def _linking(matches: DataFrame) -> int:
    return matches.where("refused IS NULL").count()


def _conflicts(lake: Lake, conf: Conf, moved: DataFrame, members: DataFrame, run_at: datetime) -> int:
    if not conf.purposes:
        return 0
    facts, identifiers = lake.read("silver.consents"), lake.read("silver.identifiers")
    return consent_conflicts(moved, consent_state(facts, identifiers, members, conf.purposes, run_at))


def place_of(lake: Lake, conf: Conf) -> str:
    return f"{lake.root}/_cdp/plans/{rules_hash(conf)}.json"


def read_plan(lake: Lake, conf: Conf) -> dict | None:
    """The newest plan for `conf`'s rules; None where none was made."""
    storage, uri = Storage(lake.spark), place_of(lake, conf)
    return json.loads(storage.read(uri)) if storage.exists(uri) else None


def name_of(run: dict | None) -> str | None:
    """Names one complete run: a run that is repeated keeps its id, and gets another time."""
    return f"{run['run_id']} {run['recorded_at'].isoformat()}" if run else None


def inputs(lake: Lake, conf: Conf) -> dict[str, int | str | None]:
    """What a plan is made of besides rules: versions of the tables it reads, and a steward's rows."""
    said = json.dumps([link.model_dump(mode="json") for link in conf.links], sort_keys=True)
    versions = {name: lake.version(name) if lake.exists(name) else None for name in INPUTS}
    return versions | {"links": hashlib.sha256(said.encode()).hexdigest()}


def unfit(plan: dict | None, last: dict | None) -> str | None:
    """Why a plan does not stand for the rules; None where it does, also by somebody's word (`approved`)."""
    if plan is None:
        return "no plan stands for them"
    if last and plan.get("approved", {}).get("after") == name_of(last):
        return None
    if plan["beyond"]:
        return "their plan is beyond the thresholds"
    if plan.get("planned_after") != name_of(last):
        return "their plan is older than the people: `resolve` has run since"
    return None
