"""What does a destination hold by what was really sent, and what must be removed and added now?

activation.sent is never rewritten: a row says that a delivery added, removed or had refused one row. What is held
follows from the last word on each row. So a removal names the values that were sent, whatever became since of the
person, the e-mail address, the normaliser set or the rules.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.activation import NORMALISERS, Destination
from cdp_spark.gold.people import heirs

ROW = ["audience", "row_id"]
REFUSALS = ("refused", "kept")  # an addition that was not taken; a removal that was not, so that the row is still there


class Changes(NamedTuple):
    """adds: rows of `content` to be sent.  gone: rows of `valued` that end.  removes: what of `gone` is to be sent, in
    the shape of `content` with the naming fields alone; a value that another row still holds is not removed."""

    adds: DataFrame
    gone: DataFrame
    removes: DataFrame


def held(sent: DataFrame, deliveries: DataFrame, name: str, *, seen_before_confirmed: bool) -> DataFrame:
    """Rows that destination `name` may hold: audience, row_id, person_id, input_id, sure, sequence, op (last word).

    A file delivery that is not confirmed was never seen by anybody. With `seen_before_confirmed` (HTTP) its rows may
    have arrived: they are held but not `sure`, so they are removed where they must go, and sent again where they stay.
    So is a row that was refused: another try of its delivery may have been taken.
    """
    done = deliveries.where((F.col("destination") == name) & (F.col("status") == "confirmed"))
    known = done.select("delivery_id", F.lit(True).alias("_done")).distinct()
    rows = sent.where(F.col("destination") == name).join(F.broadcast(known), "delivery_id", "left")
    rows = rows.withColumn("_done", F.coalesce("_done", F.lit(False)))
    if not seen_before_confirmed:
        rows = rows.where("_done")
    order = F.struct("sequence", F.col("op").isin(*REFUSALS))
    told = F.struct("op", "person_id", "input_id", "sequence", "_done")
    last = rows.groupBy(*ROW).agg(F.max_by(told, order).alias("_"))
    found = last.where(~(F.col("_._done") & (F.col("_.op") == "remove")))
    sure = F.col("_._done") & (F.col("_.op") == "add")
    return found.select(*ROW, "_.person_id", "_.input_id", sure.alias("sure"), "_.sequence", "_.op")


def valued(rows: DataFrame, sent: DataFrame, name: str) -> DataFrame:
    """`rows` of `held` with their values as they left. Apart from `held`: few of many rows need theirs."""
    same = [*ROW, "sequence", "op"]
    known = sent.where(F.col("destination") == name).select(*same, "values")
    asked = rows.withColumn("op", F.when(F.col("op") == "refused", "add").otherwise(F.col("op")))
    return asked.join(known, same)


def forgotten(before: DataFrame, deliveries: DataFrame, name: str, destination: Destination) -> list[str]:
    """Fields that rows of `before` were named by when they left, and that name nothing at the destination any more:
    no removal of today would tell them."""
    made = deliveries.where((F.col("destination") == name) & F.col("naming").isNotNull()).select("sequence", "naming")
    units = {frozenset(unit) for unit in destination.units}
    past = {row["naming"]: json.loads(row["naming"]) for row in made.select("naming").distinct().collect()}
    gone = {text: [unit for unit in told if frozenset(unit) not in units] for text, told in past.items()}
    if not any(gone.values()):  # as on nearly every day
        return []
    odd = made.where(F.col("naming").isin([text for text, lost in gone.items() if lost])).distinct()
    still = before.join(F.broadcast(odd), "sequence").select("naming").distinct().collect()
    return sorted({"+".join(unit) for row in still for unit in gone[row["naming"]]})


def known(members: DataFrame, before: DataFrame) -> DataFrame:
    """`members` (with _input_id) and _row_id of the row that is surely held of the very same input; null where none."""
    rows = before.where("sure AND input_id IS NOT NULL").groupBy("audience", F.col("input_id").alias("_input_id"))
    return members.join(rows.agg(F.min("row_id").alias("_row_id")), ["audience", "_input_id"], "left")


def with_known(made: DataFrame, known: DataFrame) -> DataFrame:
    """Rows of `content` (`made`), and of those of `known` that are held already their OWN columns; fields are null."""
    rows = known.where("_row_id IS NOT NULL").groupBy(F.col("audience").alias("_audience"), "_row_id")
    held = rows.agg(F.min("person_id").alias("_person_id"), F.min("_input_id").alias("_input_id"))
    new = made.join(held, ["_audience", "_row_id"], "left_anti")
    return new.unionByName(held, allowMissingColumns=True)


def changes(
    now: DataFrame, before: DataFrame, sent: DataFrame, name: str, destination: Destination,
    staying: DataFrame | None = None,
) -> Changes:  # fmt: skip
    """What turns `before` (rows of `held`, from `sent` and `name`) into `now` (rows of `with_known`).

    staying: audience and row_id of rows that are kept though they are not in `now` (sync upsert).
    """
    named = now.select(F.col("_audience").alias("audience"), F.col("_row_id").alias("row_id"))
    sure = before.where("sure").select(F.col("audience").alias("_audience"), F.col("row_id").alias("_row_id"))
    gone = before.join(named, ROW, "left_anti")
    if staying is not None:
        gone = gone.join(staying.select(*ROW), ROW, "left_anti")
    gone = valued(gone, sent, name)
    adds = now.join(sure, ["_audience", "_row_id"], "left_anti")
    return Changes(adds, gone, removes(gone, now, destination, sent.where(F.col("destination") == name), staying))


def unchanged(now: DataFrame, before: DataFrame, members: DataFrame, audiences: list[str]) -> DataFrame:
    """`now` without who is new in `audiences`: of those only people of whom a row is surely held, under whatever id."""
    sure = before.where("sure")
    people = sure.join(heirs(members), "person_id")
    rows = sure.select(F.col("audience").alias("_audience"), F.col("row_id").alias("_row_id"))
    mine = now.where(F.col("_audience").isin(*audiences))
    same = mine.join(rows, ["_audience", "_row_id"], "left_semi")
    known = people.select(F.col("audience").alias("_audience"), F.col("now").alias("_person_id")).distinct()
    others = mine.join(rows, ["_audience", "_row_id"], "left_anti").join(
        known, ["_audience", "_person_id"], "left_semi"
    )
    return same.unionByName(others).unionByName(now.where(~F.col("_audience").isin(*audiences)))


def due(actions: DataFrame, done: DataFrame, field: str, today: DataFrame) -> DataFrame:
    """Of each person the first of `actions` that has not left yet, unless one left today: one action a day.

    actions: person_id, action_id, _as_of, ...  done: rows of `valued`: what is sure has left.  today: person_id.
    """
    gone = done.where("sure").select(F.col("values")[field].alias("action_id"))
    rows = actions.join(gone, "action_id", "left_anti").join(today, "person_id", "left_anti")
    first = Window.partitionBy("person_id").orderBy("_as_of", "action_id")
    return rows.withColumn("_n", F.row_number().over(first)).where("_n = 1").drop("_n")


def removes(
    gone: DataFrame, now: DataFrame, destination: Destination, sent: DataFrame | None = None,
    staying: DataFrame | None = None,
) -> DataFrame:  # fmt: skip
    """Rows to remove in the shape of `content`: the fields that name a row, as they were sent; all others null.

    sent: what left for the destination, which tells the values of those rows of `now` whose fields are not there, and
    of `staying`, see `changes`.
    """
    units, unit = destination.units, ["audience", "_unit", "_key"]
    if not units:
        return now.limit(0)

    def keys(field) -> Column:
        each = [F.struct(F.lit(i).alias("_unit"), _together(field, unit).alias("_key")) for i, unit in enumerate(units)]
        return F.inline(F.array(*each))

    old = gone.select(*ROW, "person_id", "values", keys(lambda f: F.col("values")[f])).where("_key IS NOT NULL")
    new = now.select(F.col("_audience").alias("audience"), keys(lambda f: F.col(f"`{f}`").cast("string")))
    left = old.join(new.where("_key IS NOT NULL"), unit, "left_anti")
    if sent is not None:  # first to the few values that end, then to the rows that are still there
        there = sent.where("op = 'add'").select(*ROW, keys(lambda f: F.col("values")[f]))
        there = there.join(left.select(*unit).distinct(), unit, "left_semi")
        ids = now.select(F.col("_audience").alias("audience"), F.col("_row_id").alias("row_id"))
        ids = ids if staying is None else ids.unionByName(staying.select(*ROW))
        left = left.join(there.join(ids, ROW, "left_semi"), unit, "left_anti")
    rows = left.groupBy(*ROW).agg(
        F.first("person_id").alias("person_id"),
        F.first("values").alias("values"),
        F.collect_set("_unit").alias("_units"),
    )  # fmt: skip
    kinds = dict(now.dtypes)
    fields = [_removed(name, destination).cast(kinds[name]).alias(name) for name in destination.fields]
    own = [F.col(c).alias(f"_{c}") for c in (*ROW, "person_id")]
    return rows.select(*own, *fields)


def as_sent(rows: DataFrame, shape: DataFrame, destination: Destination) -> DataFrame:
    """Rows of `valued` in the shape of `content`, with the naming fields as they were sent; all others null."""
    naming = {name for unit in destination.units for name in unit}
    kinds = dict(shape.dtypes)
    fields = [
        (F.col("values")[name] if name in naming else F.lit(None)).cast(kinds[name]).alias(name)
        for name in destination.fields
    ]
    return rows.select(*(F.col(c).alias(f"_{c}") for c in (*ROW, "person_id")), *fields)


def _together(field, unit: tuple[str, ...]) -> Column:
    """The values of a unit as one text; null where one is missing."""
    whole = F.concat_ws("\x1f", *(field(name) for name in unit))
    missing = F.array_contains(F.array(*(field(name).isNull() for name in unit)), True)
    return F.when(~missing, whole)


def _removed(name: str, destination: Destination) -> Column:
    if destination.fields[name].column == "audience":
        return F.col("audience")
    mine = [i for i, unit in enumerate(destination.units) if name in unit]
    wanted = F.arrays_overlap("_units", F.array(*(F.lit(i) for i in mine))) if mine else F.lit(False)
    return F.when(wanted, F.col("values")[name])


def staying(before: DataFrame, now: DataFrame, members: DataFrame, yes: DataFrame) -> DataFrame:
    """Rows of `held` that sync upsert keeps: audience, row_id.

    Kept is a row whose person, or everybody that person's records belong to now, still may be addressed (`yes`:
    audience, person_id) and has no row in `now`: what was sent of them before is then their newest row.
    """
    present = now.select(F.col("_audience").alias("audience"), F.col("_person_id").alias("_now"))
    may = yes.select("audience", F.col("person_id").alias("_now"), F.lit(True).alias("_may"))
    rows = before.join(heirs(members).withColumnRenamed("now", "_now"), "person_id").join(
        may.distinct(), ["audience", "_now"], "left"
    )
    rows = rows.join(present.distinct().withColumn("_new", F.lit(True)), ["audience", "_now"], "left")
    fit = F.bool_and(F.col("_may").isNotNull() & F.col("_new").isNull())
    return rows.groupBy(*ROW).agg(fit.alias("_fit")).where("_fit").select(*ROW)


def entries(found: Changes, destination: Destination, identifying: list[str], about: dict) -> DataFrame:
    """Rows of activation.sent of one delivery. about: destination, delivery_id, sequence, sent_at."""
    added = found.adds.select(
        *_own("_"), F.col("_input_id").alias("input_id"), _values(destination, identifying).alias("values"),
        F.lit("add").alias("op"),
    )  # fmt: skip
    none = F.lit(None).cast("string").alias("input_id")
    ended = found.gone.select(*_own(""), none, "values", F.lit("remove").alias("op"))
    return _entries(added.unionByName(ended), destination, about).withColumn("reason", F.lit(None).cast("string"))


def refusals(adds: DataFrame, ends: DataFrame, found: Changes, destination: Destination, about: dict) -> DataFrame:
    """Rows of activation.sent for what the receiver did not take. adds, ends: audience, row_id, person_id, reason."""
    nothing = F.create_map().cast("map<string,string>")
    refused = adds.withColumns({"op": F.lit("refused"), "values": nothing})
    kept = ends.join(found.gone.select(*ROW, "values"), ROW).withColumn("op", F.lit("kept"))
    return _entries(refused.unionByName(kept), destination, about).withColumn("input_id", F.lit(None).cast("string"))


def _own(mark: str) -> list[Column]:
    return [F.col(f"{mark}{name}").alias(name) for name in (*ROW, "person_id")]


def _entries(rows: DataFrame, destination: Destination, about: dict) -> DataFrame:
    given = about | {"normalisers": destination.normalisers}
    return rows.withColumns({name: F.lit(value) for name, value in given.items()})


def _values(destination: Destination, identifying: list[str]) -> Column:
    """field -> what left, if that names the row or is a hash; else its SHA-256: no plain personal data is kept."""
    naming = {name for unit in destination.units for name in unit}
    hashes = NORMALISERS[destination.normalisers]

    def value(name: str) -> Column:
        text = F.col(f"`{name}`").cast("string")
        as_left = hashes[destination.fields[name].normaliser] or name in naming
        return text if as_left else F.sha2(text, 256)

    names = [name for name in destination.fields if name in naming or name in identifying]
    if not names:
        return F.create_map().cast("map<string,string>")
    pairs = F.create_map(*(part for name in names for part in (F.lit(name), value(name))))
    return F.map_filter(pairs, lambda _, text: text.isNotNull())
