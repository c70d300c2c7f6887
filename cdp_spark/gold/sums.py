"""How are amounts added up so that neither the order of rows nor their partitions show in the result?

Floating-point addition is not associative: the same rows in another order differ in the last digits, and a rerun would
change tables. So amounts are added as decimals of six places (finer parts are rounded), which is exact.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

EXACT = "decimal(28,6)"


def exact_sum(name: str) -> Column:
    """Sum of a column of doubles as a double, the same in whatever order rows come; null where no row has a value."""
    return F.sum(F.col(name).cast(EXACT)).cast("double")
