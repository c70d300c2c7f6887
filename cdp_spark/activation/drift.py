"""Does a destination hold what the ledger says? Compares a list from the receiver with what was sent."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation import ledger
from cdp_spark.activation.objects import DeliveryError
from cdp_spark.config.activation import Destination
from cdp_spark.job import Job
from cdp_spark.storage import Storage

NOTHING = {"held": 0, "missing": 0, "unexpected": 0}


def drift(before: DataFrame, receiver: DataFrame, destination: Destination) -> dict[str, dict[str, dict[str, int]]]:
    """{audience: {naming field(s): {"held", "missing", "unexpected"}}}: values of the ledger that the receiver lacks,
    and others. Also of audiences that the destination took before, or that only the receiver knows.

    before: rows of `ledger.valued`.  receiver: what it says it holds, in the destination's fields, as text.
    """
    names = destination.audiences + destination.journeys
    told = telling(destination)
    of = F.col(f"`{told}`").cast("string") if told else F.lit(names[0])
    found: dict[str, dict] = {name: {} for name in names}
    for unit in destination.units:
        ours = _values(before.where("sure"), F.col("audience"), [F.col("values")[name] for name in unit])
        theirs = _values(receiver, of, [F.col(f"`{name}`").cast("string") for name in unit])
        both = ours.withColumn("_o", F.lit(1)).join(theirs.withColumn("_t", F.lit(1)), ["audience", "v"], "full")
        rows = both.groupBy("audience").agg(
            F.count("_o").alias("held"),
            F.count_if(F.col("_t").isNull()).alias("missing"),
            F.count_if(F.col("_o").isNull()).alias("unexpected"),
        )
        counted = {row["audience"]: {k: row[k] for k in NOTHING} for row in rows.collect()}
        for name in sorted({*found, *counted}, key=lambda one: (one not in names, one)):
            found.setdefault(name, {})["+".join(unit)] = counted.get(name, NOTHING)
    return found


def telling(destination: Destination) -> str | None:
    """The field in which a row of the destination says whose audience it is of."""
    return next((name for name, target in destination.fields.items() if target.column == "audience"), None)


def _values(rows: DataFrame, audience: Column, columns: list[Column]) -> DataFrame:
    whole = reduce(lambda a, b: a & b, (c.isNotNull() for c in columns))
    named = F.coalesce(audience, F.lit("(no audience)")).alias("audience")
    return rows.where(whole).select(named, F.concat_ws("\x1f", *columns).alias("v")).distinct()


def reconciled(job: Job, name: str, file: str) -> dict[str, dict[str, dict[str, int]]]:
    """`drift` of a destination against a CSV, JSON lines or Parquet file. Raises DeliveryError where it cannot be."""
    spec = job.conf.destinations[name]
    kind = file.rsplit(".", 1)[-1].replace("jsonl", "json")
    if kind not in ("csv", "json", "parquet"):
        raise DeliveryError(f"{file}: expected .csv, .jsonl, .json or .parquet with the destination's fields")
    if not Storage(job.spark).exists(file):
        raise DeliveryError(f"{file}: no such file; give --receiver a list that the receiver made")
    reader = job.spark.read.format(kind).options(**({"header": "true", "escape": '"'} if kind == "csv" else {}))
    receiver = reader.load(file)
    wanted = [f for unit in spec.units for f in unit] + [f for f in [telling(spec)] if f]
    if missing := [f for f in wanted if f not in receiver.columns]:
        raise DeliveryError(f"{file}: lacks the columns {missing}, by which {name} is compared")
    sent, deliveries = job.lake.read("activation.sent"), job.lake.read("activation.deliveries")
    before = ledger.held(sent, deliveries, name, seen_before_confirmed=spec.protocol == "http")
    return drift(ledger.valued(before, sent, name), receiver, spec)
