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
