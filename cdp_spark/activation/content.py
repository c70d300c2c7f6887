"""What exactly goes to a destination? Its rows, normalised, neutralised, and a digest that names them."""

from __future__ import annotations

import hashlib

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.activation.normalise import HEX64, SETS
from cdp_spark.config.activation import TOGETHER, Destination

# What a spreadsheet runs as a formula; a plain number or E.164 phone number is none.
FORMULA, NUMBER = r"^[\s]*[=+\-@\t\r\n|%]", r"^[+-]?[0-9][0-9.]*([eE][+-]?[0-9]+)?$"


def content(members: DataFrame, destination: Destination, region: str) -> DataFrame:
    """One row per member with something to send: _person_id and the destination's fields.

    members: rows of activation.members joined with all that fields may read. Fields that go together are all null
    where one is; a row whose fields are all null is left out.
    """
    normalisers = SETS[destination.normalisers]
    fields = [
        normalisers[target.normaliser](F.expr(target.column), region).alias(name)
        for name, target in destination.fields.items()
    ]
    found = members.select(F.col("person_id").alias("_person_id"), *fields)
    group = TOGETHER.get(destination.normalisers, ())
    if names := [name for name, target in destination.fields.items() if target.normaliser in group]:
        whole = ~F.array_contains(F.array(*(F.col(f"`{n}`").isNull() for n in names)), True)
        found = found.withColumns({name: F.when(whole, F.col(f"`{name}`")) for name in names})
    something = F.coalesce(*(F.col(f"`{name}`").cast("string") for name in destination.fields)).isNotNull()
    return found.where(something).distinct()


def neutral(frame: DataFrame) -> DataFrame:
    """All columns as text that no spreadsheet runs: a leading quote before what begins like a formula."""
    return frame.select(*(_neutral(F.col(f"`{name}`").cast("string")).alias(name) for name in frame.columns))


def _neutral(col: Column) -> Column:
    return F.when(col.rlike(FORMULA) & ~col.rlike(NUMBER), F.concat(F.lit("'"), col)).otherwise(col)


def digest(rows: DataFrame, name: str, destination: Destination) -> tuple[str, int]:
    """A hash of the destination's description and all `rows` in whatever order they come, and how many they are."""
    row = F.sha2(F.to_json(F.struct(*rows.columns), {"ignoreNullFields": "false"}), 256)
    parts = [F.conv(F.substring(row, start, 15), 16, 10).cast("decimal(38,0)") for start in (1, 16, 31)]
    sums = rows.agg(F.count(F.lit(1)).alias("rows"), *(F.sum(part).alias(f"s{i}") for i, part in enumerate(parts)))
    found = sums.first()
    about = destination.model_dump_json(exclude={"description"})
    text = f"{name}|{about}|{found['rows']}|{found['s0']}|{found['s1']}|{found['s2']}"
    return hashlib.sha256(text.encode()).hexdigest(), found["rows"]


def sent(rows: DataFrame, name: str, delivery_id: str, identifying: list[str]) -> DataFrame:
    """Rows of activation.sent: what identifies somebody and left, as it left if that was a hash, else its SHA-256."""
    if not identifying:
        identifying = ["_person_id"]
    texts = F.array(
        *(
            F.struct(F.lit(f).alias("field"), F.col(f"`{f}`").cast("string").alias("text")) for f in identifying
        )
    )  # fmt: skip
    pairs = rows.select(F.col("_person_id").alias("person_id"), F.inline(texts)).where("text IS NOT NULL")
    value = F.when(F.col("text").rlike(HEX64), F.col("text")).otherwise(F.sha2("text", 256))
    return pairs.select(
        F.lit(name).alias("destination"),
        F.lit(delivery_id).alias("delivery_id"),
        "person_id",
        "field",
        value.alias("value_hash"),
    ).distinct()
