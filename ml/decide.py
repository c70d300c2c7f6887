"""From which score on is it worth acting? A threshold by cost and gain, or by how many can be reached."""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.models import Decision


def threshold(rule: Decision, chance: np.ndarray) -> float:
    """The lowest probability that is acted on. By cost: where the expected gain covers it, p gain >= cost, which needs
    calibrated probabilities (Elkan 2001, "The foundations of cost-sensitive learning", sec. 1.2); by capacity: the
    probability of the last one who can be reached among these."""
    if rule.capacity is None:
        return rule.cost / rule.gain
    return float(np.quantile(chance, 1 - rule.capacity, method="higher"))


def decided(rule: Decision, truth: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """What the rule would have come to on these rows: threshold, share acted on, precision, recall and, by cost, the
    profit a row."""
    least = threshold(rule, chance)
    acted = chance >= least
    hits = int((acted & (truth == 1)).sum())
    found = {
        "threshold": least,
        "share": float(acted.mean()),
        "precision": hits / max(int(acted.sum()), 1),
        "recall": hits / max(int(truth.sum()), 1),
    }
    if rule.capacity is None:
        found["profit_per_row"] = (hits * rule.gain - int(acted.sum()) * rule.cost) / max(truth.size, 1)
    return found


def selected(rule: Decision | None, score: Column, percentile: Column) -> Column:
    """True for a scored row that is worth acting on; null where the deployment has no rule for the model."""
    if rule is None:
        return F.lit(None).cast("boolean")
    return F.coalesce(score >= rule.cost / rule.gain if rule.capacity is None else percentile >= 1 - rule.capacity,
                      F.lit(False))  # fmt: skip


def with_selected(rows: DataFrame, rule: Decision | None, score: str, within: list[str]) -> DataFrame:
    """`rows` and selected: by their score, or by how many people of one group (`within`) can be reached."""
    rank = F.percent_rank().over(Window.partitionBy(*within).orderBy(score, "person_id"))
    return rows.withColumn("selected", selected(rule, F.col(score), rank))
