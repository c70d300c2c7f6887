"""What exactly goes to a destination? Its rows, normalised, neutralised, and each with an id of what it holds."""

from __future__ import annotations

import hashlib
import json
from functools import reduce
from importlib.metadata import version

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation.normalise import SETS
from cdp_spark.config.activation import TOGETHER, Destination

# What a spreadsheet runs as a formula, full-width signs too; a plain number or E.164 phone number is none.
FORMULA, NUMBER = (
    r"^[\s\u00a0\u3000\ufeff]*[=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20]",
    r"^[+-]?[0-9][0-9.]*([eE][+-]?[0-9]+)?$",
)
OWN = ("_audience", "_row_id", "_person_id", "_input_id")
LIBRARY = f"phonenumbers {version('phonenumbers')}"  # its numbering plans decide what a phone number becomes


def with_input_id(members: DataFrame, destination: Destination, region: str) -> DataFrame:
    """`members` with _input_id: the SHA-256 of all that their rows of `content` are made of.

    Who had a row of this id before has the very same row now: it need not be made, only known.
    """
    library = [LIBRARY] if any(target.normaliser == "phone" for target in destination.fields.values()) else []
    rules = json.dumps([destination.normalisers, region, *library, destination.sync, *destination.key,
                        {name: target.model_dump() for name, target in destination.fields.items()}])  # fmt: skip
    read = [F.expr(target.column).alias(name) for name, target in destination.fields.items()]
    text = F.to_json(F.struct(*read), {"ignoreNullFields": "false"})
    return members.withColumn("_input_id", F.sha2(F.concat(F.lit(rules), text), 256))


def content(members: DataFrame, destination: Destination, region: str) -> DataFrame:
    """One row per audience and different row to send: OWN and the destination's fields.

    members: rows of activation.members joined with all that fields may read. Fields that go together are all null
    where one is; a row whose fields are all null is left out, and where differences are sent one that no removal could
    name. _row_id is the SHA-256 of what is sent; of people with equal rows the smallest person_id is kept.
    """
    normalisers = SETS[destination.normalisers]
    fields = [
        normalisers[target.normaliser](F.expr(target.column), region).alias(name)
        for name, target in destination.fields.items()
    ]
    made = with_input_id(members, destination, region) if "_input_id" not in members.columns else members
    own = [F.col("audience").alias("_audience"), F.col("person_id").alias("_person_id"), "_input_id"]
    found = made.select(*own, *fields)
    group = TOGETHER.get(destination.normalisers, ())
    if names := [name for name, target in destination.fields.items() if target.normaliser in group]:
        whole = ~F.array_contains(F.array(*(F.col(f"`{n}`").isNull() for n in names)), True)
        found = found.withColumns({name: F.when(whole, F.col(f"`{name}`")) for name in names})
    columns = [F.col(f"`{name}`") for name in destination.fields]
    about = {name for name, target in destination.fields.items() if target.column in ("audience", "basis")}
    telling = [F.col(f"`{name}`").cast("string") for name in destination.fields if name not in about]
    if telling:  # a row that tells nothing of anybody reaches nobody
        found = found.where(F.coalesce(*telling).isNotNull())
    row = F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})
    named = found.withColumn("_row_id", F.sha2(row, 256))
    alone = named.groupBy("_audience", "_row_id").agg(
        F.min("_person_id").alias("_person_id"),
        F.min("_input_id").alias("_input_id"),
        *(F.first(f"`{name}`").alias(name) for name in destination.fields),  # equal in all rows of one id
    )
    # here, where the normalisers' long expressions are values: above they would be computed once more
    kept = alone if destination.sync == "full" else alone.where(_named(destination))
    return kept.select(*OWN, *columns)


def _named(destination: Destination) -> Column:
    """Whether all fields of one of the destination's units are there: what is not named cannot be taken back."""
    units = [[F.col(f"`{name}`").isNotNull() for name in unit] for unit in destination.units]
    whole = [reduce(lambda a, b: a & b, unit) for unit in units]
    return reduce(lambda a, b: a | b, whole, F.lit(False))


def neutral(frame: DataFrame) -> DataFrame:
    """All columns as text that no spreadsheet runs: a leading quote before what begins like a formula."""
    return frame.select(*(_neutral(F.col(f"`{name}`").cast("string")).alias(name) for name in frame.columns))


def _neutral(col: Column) -> Column:
    return F.when(col.rlike(FORMULA) & ~col.rlike(NUMBER), F.concat(F.lit("'"), col)).otherwise(col)


def digest(rows: DataFrame) -> tuple[str, int]:
    """A hash over the ids of all `rows` (_audience, _row_id) in whatever order they come, and how many they are."""
    # two hashes of an id that is a SHA-256 itself: sums of their halves tell sets of rows apart by some 128 bits, and
    # fit a long up to two thousand million rows
    hashes = [F.xxhash64("_audience", "_row_id", F.lit(seed)) for seed in (0, 1)]
    parts = [half for h in hashes for half in (F.shiftright(h, 32), h.bitwiseAND(F.lit(0xFFFFFFFF)))]
    found = rows.agg(F.count(F.lit(1)).alias("rows"), *(F.sum(p).alias(f"s{i}") for i, p in enumerate(parts))).first()
    text = "|".join(str(value) for value in found)
    return hashlib.sha256(text.encode()).hexdigest(), found["rows"]


def description(name: str, destination: Destination) -> str:
    """A hash of all that decides how rows are written: another description makes another delivery of the same rows."""
    about = destination.model_dump_json(exclude={"description", "keep_days", "channel"})
    return hashlib.sha256(f"{name}|{about}".encode()).hexdigest()
