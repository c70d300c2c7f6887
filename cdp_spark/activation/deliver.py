"""How do members reach a destination? What it holds is compared with what it may hold now, and the change is sent.

Files: intent row, data files, manifest, rows of what was sent, pointer, confirmation row.
HTTP: intent row, rows of what is sent, removals, additions, rows that were refused, confirmation row.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation import files, http, ledger
from cdp_spark.activation.content import description
from cdp_spark.activation.deliveries import confirm, exports, newest, reconcile, record
from cdp_spark.activation.files import Delivery, Part
from cdp_spark.activation.objects import DeliveryError, Objects, objects
from cdp_spark.activation.plan import Plan, audience, plan, rule, withdrawn
from cdp_spark.audiences.build import lists_of, permission
from cdp_spark.config.activation import Destination
from cdp_spark.config.leaving import identifying
from cdp_spark.job import Job, side_by_side
from cdp_spark.storage import Storage, StorageError

REFUSED = "audience string, row_id string, person_id string, reason string"


def deliver_all(job: Job) -> list[dict]:
    """Every destination of the deployment; `exports` of this run's date afterwards.

    Raises DeliveryError for all destinations that failed, after the others had their turn.
    """
    _everywhere(job, adds=True)
    _warn_of_left_behind(job)
    return exports(job.lake.read("activation.deliveries"), job.date)


def _warn_of_left_behind(job: Job) -> None:
    """Tell of destinations that hold people and are in the deployment no more: who withdraws is not removed there."""
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    gone = deliveries.where(~F.col("destination").isin(*job.conf.destinations))
    posted = F.bool_or(F.col("uri").rlike("^https?://")).alias("posted")  # the protocol that conf tells no more
    for name, seen in sorted(map(tuple, gone.groupBy("destination").agg(posted).collect())):
        if not ledger.held(sent, deliveries, name, seen_before_confirmed=seen).isEmpty():
            job.warn(
                f"{name}: holds people and is no destination of conf any more: nobody who withdraws is removed there; "
                "bring its file back, with an audience of `where: 'false'`, for one run"
            )


def take_back(job: Job) -> None:
    """Remove from every destination who may no longer be addressed, and add nobody: where nothing can be delivered,
    because an earlier step failed or was stopped, a no still holds on the same day.

    Raises DeliveryError like `deliver_all`.
    """
    if job.lake.exists("activation.sent"):
        _everywhere(job, adds=False)


def _everywhere(job: Job, *, adds: bool) -> None:
    taken = [(spec, name) for spec in job.conf.destinations.values() for name in spec.audiences + spec.journeys]
    lists = lists_of(audience(job, *one) for one in taken)
    state = permission(job, [rule(job, *one).purpose for one in taken], lists).persist() if taken else None
    failed = list(filter(None, side_by_side(partial(_tried, state=state, adds=adds), job, job.conf.destinations)))
    if state is not None:
        state.unpersist()
    if failed:
        raise DeliveryError("; ".join(failed))


def _tried(job: Job, name: str, state: DataFrame, *, adds: bool) -> str | None:
    """Deliver to one destination; why that failed, where it did."""
    try:
        deliver(job, name, job.conf.destinations[name], state, adds=adds)
    except (DeliveryError, StorageError) as error:
        return f"{name}: {error}"
    return None


def deliver(job: Job, name: str, spec: Destination, state: DataFrame, *, adds: bool = True) -> None:
    """Make the delivery of one destination, unless the very same was made or a newer day's is in force.

    adds: without it only who may no longer be addressed is removed.
    Raises DeliveryError before any work where the place cannot be reached.
    """
    url = job.conf.env.endpoints[spec.http.endpoint] if spec.http else None
    store = None if url else objects(f"{job.exports}/{spec.prefix}", job.conf.env.s3)
    pointer = files.pointer(store) if store else None
    if pointer:
        reconcile(job, name, pointer)
    last = newest(job, name, pointer)
    ahead = pointer.get("date", "") if store else str(last["date"]) if last else ""
    if ahead > str(job.date):
        job.warn(f"{name}: the delivery in force is of {ahead}; nothing was delivered for {job.date}")
        return
    chain = files.chain(store, pointer) if adds and last and store and spec.keep_days else []
    about, lost = description(name, spec), store is not None and last is None
    if lost and not adds:
        return  # nothing is there that could be taken back
    anew = aged(chain, spec, job.date) or (not lost and _renamed(job, name, spec))
    if adds:
        found = plan(job, name, spec, state, lost=lost, anew=anew)
    else:
        found = withdrawn(job, name, spec, state, anew=anew, told=last and last["date"])
    if anew:
        last = None
    same = not adds or (last and last["date"] == job.date and last["about"] == about)
    if same and not (found.added or found.removed):
        job.log(f"{name}: delivery {last['delivery_id']} is in force already" if adds else f"{name}: nobody has to go")
    else:
        _make(job, _delivery(job, name, spec, found, last, url, about), found, store, about)
    for frame in (found.now, found.changes.adds, found.changes.gone, found.changes.removes):
        frame.unpersist()


def aged(chain: list[dict], spec: Destination, day: date) -> bool:
    """Whether a mirror's chain of differences begins so long ago that it starts anew, so that the old ones expire."""
    oldest = str(day - timedelta(days=spec.keep_days or 0))
    return spec.sync == "mirror" and bool(chain) and chain[-1]["date"] < oldest


def _renamed(job: Job, name: str, spec: Destination) -> bool:
    """Whether rows are held under fields that name nothing any more, so that a mirror's whole list must replace them.

    Raises DeliveryError where no list replaces what is there (http, upsert): nobody could be taken back.
    """
    if spec.sync == "full":
        return False
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    before = ledger.held(sent, deliveries, name, seen_before_confirmed=spec.protocol == "http")
    lost = ledger.forgotten(before, deliveries, name, spec)
    if lost and (spec.http or spec.sync == "upsert"):
        raise DeliveryError(
            f"holds rows that were named by {', '.join(lost)}, which names nothing any more: they could never be "
            "removed. Keep these fields (and `key`) as they were, or first empty the list under them: for one run an "
            "audience of `where: 'false'` and sync mirror"
        )
    if lost:
        job.log(f"{name}: rows were named by {', '.join(lost)}: the whole list replaces all that is there")
    return bool(lost)


def _delivery(job: Job, name: str, spec: Destination, found: Plan, last: dict | None, url, about: str) -> Delivery:
    text = f"{about}|{last['delivery_id'] if last else ''}|{found.digest}"
    delivery_id = f"{job.date:%Y%m%d}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    known = job.lake.read("activation.deliveries").where(F.col("destination") == name)
    own = F.max(F.when(F.col("delivery_id") == delivery_id, F.col("sequence")))
    mine = known.agg(F.max("sequence").alias("all"), own.alias("own")).first()
    sequence = mine["own"] or (mine["all"] or 0) + 1
    if spec.sync == "full":
        parts = [Part("replace", found.now, found.rows)]
    else:
        removes = Part("remove", found.changes.removes, found.changes.removes.count())
        parts = [removes, Part("upsert", found.changes.adds, found.added)]
    previous = None
    if last and spec.sync != "full" and not url:
        key = f"deliveries/{last['delivery_id']}/manifest.json"
        previous = {"delivery_id": last["delivery_id"], "manifest": key, "manifest_sha256": last["manifest_sha256"]}
    uri = url or f"{job.exports}/{spec.prefix}/deliveries/{delivery_id}"
    return Delivery(name, spec, delivery_id, sequence, uri, tuple(parts), previous)


def _make(job: Job, delivery: Delivery, found: Plan, store: Objects | None, about: str) -> None:
    record(job, delivery, "intent", job.date, about=about)
    names = [f for f, target in delivery.spec.fields.items() if identifying(job.conf, target)]
    given = {
        "destination": delivery.destination,
        "delivery_id": delivery.delivery_id,
        "sequence": delivery.sequence,
        "sent_at": job.run_at,
    }
    rows = ledger.entries(found.changes, delivery.spec, names, given)
    if store is None:
        _post(job, delivery, found, rows, given, about)
        return
    told = files.manifest(job, delivery, store)
    job.lake.write("activation.sent", rows)
    pointer = files.put_in_force(job, delivery, store, *told)
    confirm(job, delivery, pointer, about)
    job.log(f"{delivery.destination}: {_told(delivery)} in {pointer['files']} files, {delivery.uri}")
    if delivery.spec.sync == "full" and not pointer["rows"]:
        job.warn(f"{delivery.destination}: nobody to deliver; the list of the destination is now empty")
    _expire(job, delivery, store, pointer)


def _post(job: Job, delivery: Delivery, found: Plan, rows: DataFrame, given: dict, about: str) -> None:
    """Send by HTTP. The ledger has the rows before the receiver can have them; who dies in between sends again."""
    follows = _follows(job, delivery)
    job.lake.write("activation.sent", rows)
    refused, failure = _sent(delivery, follows)
    if count := sum(map(len, refused.values())):
        upsert, remove = (job.spark.createDataFrame(refused[op], REFUSED) for op in ("upsert", "remove"))
        job.lake.write("activation.sent", ledger.refusals(upsert, remove, found.changes, delivery.spec, given))
        job.warn(f"{delivery.destination}: {count} rows were refused; the next run offers them again")
    if failure:
        raise failure
    record(job, delivery, "confirmed", job.date, files=0, about=about)
    job.log(f"{delivery.destination}: {_told(delivery)} posted to {http.place(delivery.uri)}")


def _follows(job: Job, delivery: Delivery) -> str:
    """What names the state that a delivery begins at: the last one confirmed, and the last try since that removed rows.

    A later try of the same state sends the same batches under the same keys; rows that came back are told anew.
    """
    last = newest(job, delivery.destination, None)
    sent = job.lake.read("activation.sent").where(
        (F.col("destination") == delivery.destination) & F.expr("op = 'remove'")
    )
    since = F.col("sequence").between(F.lit(last["sequence"] + 1 if last else 0), F.lit(delivery.sequence - 1))
    ended = sent.where(since).agg(F.max("sequence").alias("last")).first()["last"]
    begun = last["delivery_id"] if last else delivery.destination
    return begun if ended is None else f"{begun}-{ended}"


def _sent(delivery: Delivery, follows: str) -> tuple[dict[str, list], DeliveryError | None]:
    """({operation: rows that were refused}, what ended it half-way): a failure does not make the refusals unsaid."""
    refused: dict[str, list] = {"remove": [], "upsert": []}
    for part in delivery.parts:
        ordered = (row.asDict() for row in part.rows.orderBy("_audience", "_row_id").toLocalIterator())
        try:
            refused[part.operation] = http.send(ordered, part.operation, follows, delivery.uri, delivery.spec.http)
        except DeliveryError as error:
            refused[part.operation] = list(error.refused)
            return refused, error
    return refused, None


def _told(delivery: Delivery) -> str:
    return ", ".join(f"{part.count} rows to {part.operation}" for part in delivery.parts)


def _expire(job: Job, delivery: Delivery, store: Objects, pointer: dict) -> None:
    """Delete deliveries that are older than the destination keeps them, and that no reader of this one needs."""
    spec = delivery.spec
    if spec.keep_days is None:
        return
    known, needed = job.lake.read("activation.deliveries"), [delivery.delivery_id]
    if spec.sync == "mirror":
        needed = [manifest["delivery_id"] for manifest in files.chain(store, pointer)]
    for row in files.expired(known, delivery.destination, job.date, spec.keep_days, needed):
        Storage(job.spark).delete(row["uri"])
        old = delivery._replace(delivery_id=row["delivery_id"], sequence=row["sequence"], uri=row["uri"], parts=())
        record(job, old, "expired", row["date"], about=row["about"])
        job.log(f"{delivery.destination}: delivery {row['delivery_id']} is older than {spec.keep_days} days: deleted")
