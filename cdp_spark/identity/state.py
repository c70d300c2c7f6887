"""Which tables of identity belong together? The row that each complete run leaves last, and what may build on it."""

from __future__ import annotations

import hashlib
import json

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.identity.incremental import Base
from cdp_spark.identity.matching.match import plan_of
from cdp_spark.identity.people import Resolved
from cdp_spark.job import Job
from cdp_spark.lake import Lake

ALGORITHM = 1  # raised where the same rules would give other people
NOT_RULES = {"engine", "local_max_edges", "incremental", "plan", "households", "matching"}  # how, not who
NOT_MATCHING = {"sample_records"}  # of use to the next training only, and that is `training`
BY_RESOLVE = "get_json_object(userMetadata, '$.step') = 'resolve'"
WITHIN = "within the thresholds"  # what the approval of a run begins with for which nobody had to speak
PINNED = ("edges", "components", "violations", "anchors", "members", "changes")


def rules_hash(conf: Conf) -> str:
    """SHA-256 of everything in a deployment that decides who is who on given rows and steward's links.

    Of matching too, while it is enabled: its bars and guards, and what is compared, which the mapped columns decide.
    """
    rules = conf.identity
    said = rules.model_dump(mode="json", exclude=NOT_RULES) | {"algorithm": ALGORITHM}
    if rules.matching.enabled:
        how = rules.matching.model_dump(mode="json", exclude=NOT_MATCHING)
        said["matching"] = how | {"model_id": plan_of(conf).model_id}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def last_run(lake: Lake) -> dict | None:
    """The newest row of identity.runs; None before the first complete run."""
    # versions of a table only grow, which clocks do not
    newest = (F.col("versions")["identity.members"].desc(), F.desc("recorded_at"))
    row = lake.read("identity.runs").orderBy(*newest).first()
    return row.asDict() if row else None


def base_of(lake: Lake, conf: Conf) -> Base | None:
    """What an incremental run may build on; None where a full run is due.

    That is so before the first run, after rules changed, and where components or violations are not those that the last
    complete run wrote: a crash between tables, an erasure, a restore or an OPTIMIZE came between.
    """
    last = last_run(lake)
    if last is None or last["rules_hash"] != rules_hash(conf):
        return None
    names = ("identity.components", "identity.violations")
    if any(lake.version(name) != last["versions"].get(name) for name in names):
        return None
    return Base(*(lake.read(name) for name in names))


def row_of_run(job: Job, found: Resolved, word: str | None, applied: bool) -> DataFrame:
    """One row: the versions that belong together, the rules' hash, what was recomputed, why changed rules may hold."""
    versions = {f"identity.{name}": job.lake.version(f"identity.{name}") for name in PINNED}
    moment = job.run_at.replace(tzinfo=None)
    row = (job.as_of, job.run_id, moment, rules_hash(job.conf), versions, found.work, word, applied)
    return job.spark.createDataFrame([row], job.lake.read("identity.runs").schema)


def published(lake: Lake, name: str) -> DataFrame:
    """A table of identity for readers outside a run: never that of a run that died between its tables.

    The newest version, unless a resolve that left no row in identity.runs wrote since the last one that did: then the
    version which that one pinned, and no row at all before the first complete run.
    """
    last = last_run(lake)
    if last is None:
        return lake.read(name).limit(0)
    pinned = last["versions"][name]
    later = lake.version(name) - pinned
    dead = later > 0 and not lake.commits(name, later).where(BY_RESOLVE).isEmpty()
    return lake.read(name, pinned if dead else None)
