"""Which estimator does a name mean? A shipped model's, or boosted trees for any other name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml.models import churn, propensity

SHIPPED = {"churn": churn.estimator, "propensity": propensity.estimator}
OTHER = "boosted trees, with a linear model beside them where rows are few (propensity's)"


def estimator(name: str) -> Callable[[int], Any]:
    """A function of a seed that gives the unfitted estimator."""
    return SHIPPED.get(name, propensity.estimator)


def told(name: str) -> str:
    """Which estimator the name means, in words: for the report."""
    return f"{name}: the shipped model's" if name in SHIPPED else OTHER


def unknown(name: str, treatment: bool) -> str | None:
    """What to say of a name that brings no estimator of its own; None of one that does, and of uplift's learners."""
    if name in SHIPPED or treatment and name == "uplift":
        return None
    return f"{name}: no shipped model ({', '.join(SHIPPED)}), so {OTHER} are fitted"
