"""What is a model? Its question in numbers; ml/models/<name>.py adds `label(orders, as_of)` and `estimator(seed)`."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from types import ModuleType
from typing import Literal


@dataclass(frozen=True)
class ModelSpec:
    """Whom a model is asked about, from what it answers, over which days, and how good it must be.

    eligible: SQL over the features; who does not fit is neither trained on nor scored.
    absent: the label of eligible people whom `label` does not name; None leaves them out.
    minimum: the metric below which nothing is promoted, besides the baseline that must always be beaten.
    """

    name: str
    eligible: str
    horizon_days: int
    features: tuple[str, ...] | Literal["all"] = "all"
    gap_days: int = 1
    absent: int | None = None
    metric: Literal["roc_auc", "average_precision"] = "average_precision"
    minimum: float = 0.0

    def window(self, as_of: date) -> tuple[date, date]:
        """(start, end): the label's days are those in (start, end]; the gap is the time that acting takes."""
        start = as_of + timedelta(self.gap_days)
        return start, start + timedelta(self.horizon_days)

    def observed(self, as_of: date) -> date:
        """The newest snapshot whose label window is over before `as_of`, its last day included."""
        return as_of - timedelta(self.gap_days + self.horizon_days + 1)


def shipped() -> dict[str, ModuleType]:
    """The model modules in ml/models by the name of their SPEC; adding a model is adding a file."""
    package = import_module("ml.models")
    found = [import_module(f"ml.models.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    return {module.SPEC.name: module for module in found}
