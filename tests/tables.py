"""Frames written as text, so that a test reads as a table of cases."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def _cell(text: str) -> str | None:
    text = text.strip()
    if not text:
        return None
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def table(spark: SparkSession, text: str) -> DataFrame:
    """`name type | name type` over rows of cells; quotes keep blanks, an empty cell is null."""
    head, *lines = [line for line in text.strip("\n").splitlines() if line.strip()]
    columns = [part.split() for part in head.split("|")]
    rows = [tuple(_cell(cell) for cell in line.split("|")) for line in lines]
    frame = spark.createDataFrame(rows, ", ".join(f"`{name}` string" for name, _ in columns))
    return frame.select(*(F.col(name).cast(kind).alias(name) for name, kind in columns))
