"""What could have been known before a moment? The one rule of point-in-time reads."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column
from pyspark.sql import functions as F


def known_before(as_of: date | Column) -> Column:
    """True for a row that had happened and could have been known before `as_of` (a date: its midnight, UTC)."""
    moment = (as_of if isinstance(as_of, Column) else F.lit(as_of)).cast("timestamp")
    return (F.col("event_time") < moment) & (F.col("known_at") < moment)
