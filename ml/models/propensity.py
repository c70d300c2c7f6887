"""Will somebody who bought or visited lately order in the next 30 days?"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from ml.blend import Blend
from ml.linear import Known, linear
from ml.spec import ModelSpec

SPEC = ModelSpec(
    name="propensity",
    eligible="orders_365d > 0 OR visit_days_90d > 0",
    gap_days=1,
    horizon_days=30,
    absent=0,  # who has no order row at all did not order
    metric="average_precision",
)


def label(orders: DataFrame, as_of: date) -> DataFrame:
    """(person_id, label) of everyone with an order row; 1 = a paid order in (start, end] after `as_of`."""
    day, (start, end) = F.to_date("event_time"), SPEC.window(as_of)
    bought = F.bool_or((F.col("status") == "paid") & (day > F.lit(start)) & (day <= F.lit(end)))
    return orders.groupBy("person_id").agg(bought.cast("int").alias("label"))


GRID = ({"max_leaf_nodes": 12}, {"max_leaf_nodes": 6}, {"max_leaf_nodes": 12, "min_samples_leaf": 100})


def estimator(seed: int, max_leaf_nodes: int = 12, min_samples_leaf: int = 40) -> Blend:
    """Small boosted trees on log loss: thresholds and interactions of visits and orders; nulls are a branch.

    Beside them, where few have bought, a linear model: as folds within the fit weigh the two.
    """
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=120, max_leaf_nodes=max_leaf_nodes, min_samples_leaf=min_samples_leaf,
        l2_regularization=1.0, early_stopping=False, random_state=seed,
    )  # fmt: skip
    return Blend(linear(seed), make_pipeline(Known(), trees), seed)
