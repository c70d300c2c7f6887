"""Will somebody who has bought stay away for the next 90 days?"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.pipeline import Pipeline

from ml.linear import linear
from ml.spec import ModelSpec

SPEC = ModelSpec(name="churn", eligible="last_order_days <= 180", gap_days=1, horizon_days=90, metric="roc_auc")


def label(orders: DataFrame, as_of: date) -> DataFrame:
    """(person_id, label) of everyone who bought before `as_of`; 1 = no paid order in (start, end] after it."""
    day, (start, end) = F.to_date("event_time"), SPEC.window(as_of)
    bought = F.bool_or((day > F.lit(start)) & (day <= F.lit(end)))
    paid = orders.where("status = 'paid'")
    people = paid.groupBy("person_id").agg(F.min(day).alias("first"), (~bought).cast("int").alias("label"))
    return people.where(F.col("first") < F.lit(as_of)).select("person_id", "label")


GRID = ({"C": 0.1}, {"C": 0.01}, {"C": 1.0})


def estimator(seed: int, C: float = 0.1) -> Pipeline:
    """Log-odds linear in evened features: its probabilities need no more."""
    return linear(seed, C)
