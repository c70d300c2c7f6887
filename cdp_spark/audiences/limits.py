"""Who has heard enough, bought lately, or must not be addressed at all? People to leave out, whatever the condition."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.activation import Audience, Cap, Purpose
from cdp_spark.gold.people import heirs, with_person

CONTACT = r"^[a-z]+_sent$"  # kinds of silver.interactions: email_sent, sms_sent, push_sent, ...


def contacts(
    interactions: DataFrame,
    sent: DataFrame,
    deliveries: DataFrame,
    members: DataFrame,
    channels: dict[str, str],
    day: date,
) -> DataFrame:
    """One row per current person, day and channel on which somebody was contacted before `day`.

    A contact is an interaction whose kind ends in _sent, or a row added at a destination that declares a channel
    (channels: destination -> channel), unless it takes the place of another of the same person, or is told again. Both
    on one day by one channel are one contact.
    """
    told = interactions.where(F.col("kind").rlike(CONTACT) & ~F.col("deleted"))
    told = told.select(
        "subject_key", F.to_date("event_time").alias("day"), F.coalesce("channel", "kind").alias("channel")
    )
    found = with_person(told, members).select("person_id", "day", "channel")
    if channels:
        of = F.create_map(*(F.lit(part) for pair in channels.items() for part in pair))
        dated = deliveries.where("status = 'confirmed'").select(
            "destination", "delivery_id", F.col("date").alias("day")
        )
        added = sent.where(F.col("destination").isin(*channels)).join(dated, ["destination", "delivery_id"])
        rows = _first(added, members).select(
            F.col("now").alias("person_id"), "day", of[F.col("destination")].alias("channel")
        )
        found = found.unionByName(rows.where("channel IS NOT NULL"))
    return found.where(F.col("day") < F.lit(day)).distinct()


def _first(sent: DataFrame, members: DataFrame) -> DataFrame:
    """Rows of activation.sent that add somebody who was not there, with the current person as `now`."""
    told = sent.where("op IN ('add', 'remove')")
    same = Window.partitionBy("destination", "audience", "row_id").orderBy("sequence")
    anew = told.withColumn("_again", F.lag("op").over(same) == "add").join(heirs(members), "person_id")
    mine = ["destination", "delivery_id", "audience", "now"]
    changed = anew.where("op = 'remove'").select(*mine)
    return anew.where("op = 'add' AND _again IS NOT TRUE").join(changed, mine, "left_anti")


def capped(contacts: DataFrame, caps: Iterable[Cap], day: date) -> DataFrame:
    """person_id of who had `contacts` contacts or more within the `days` days before `day`, for any of the caps."""
    counts = [F.count_if(F.col("day") >= F.lit(day - timedelta(days=cap.days))) >= cap.contacts for cap in caps]
    full = reduce(lambda a, b: a | b, counts)
    return contacts.groupBy("person_id").agg(full.alias("_full")).where("_full").select("person_id")


def bought(orders: DataFrame, members: DataFrame, as_of: date, days: int) -> DataFrame:
    """person_id of who paid for something within `days` days before `as_of`, as far as known then."""
    start, end = F.lit(as_of - timedelta(days=days)).cast("timestamp"), F.lit(as_of).cast("timestamp")
    rows = orders.where((F.col("status") == "paid") & (F.col("event_time") >= start) & (F.col("event_time") < end))
    return (
        with_person(rows.where((F.col("known_at") < end) & ~F.col("deleted")), members).select("person_id").distinct()
    )


def listing(name: str) -> str:
    """The name under which a suppression list is asked for beside the purposes: it may bear the name of one."""
    return f"list:{name}"


def suppression(lists: Iterable[str]) -> dict[str, Purpose]:
    """Lists as what `consent_state` is asked: who stands on one has refused under its name, all others have not."""
    about = {"description": "suppression list", "basis": "legitimate_interest"}
    return {listing(name): Purpose(**about, categories=(name,)) for name in lists}


def suppressed(state: DataFrame, lists: Iterable[str]) -> DataFrame:
    """person_id of who stands on one of the suppression `lists`, by a state that they were asked for."""
    on = F.col("purpose").isin([listing(name) for name in lists]) & ~F.col("granted")
    return state.where(on).select("person_id").distinct()


def order(audiences: dict[str, Audience]) -> list[str]:
    """Names in the order in which audiences are made: by priority, then by name, but each after those it excludes and
    after those of a smaller priority that it competes with. Where these two contradict each other the exclusion holds.

    `cdp check` refuses circles of exclusions.
    """
    found: list[str] = []
    left = sorted(audiences, key=lambda name: (audiences[name].priority, name))
    while left:
        open_to = [name for name in left if not set(audiences[name].exclude.audiences) & set(left)]
        ready = next((name for name in open_to if not _rivals_before(name, left, audiences)), open_to[0])
        found.append(ready)
        left.remove(ready)
    return found


def _rivals_before(name: str, ordered: list[str], audiences: dict[str, Audience]) -> list[str]:
    group = audiences[name].competes
    return [other for other in ordered[: ordered.index(name)] if group and audiences[other].competes == group]
