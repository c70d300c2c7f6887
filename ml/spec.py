"""What is a model? Its question in numbers; ml/models/<name>.py adds `label(orders, as_of)` and `estimator(seed)`.

The modules there without a `label` are steps of their own: they have no yes or no a person, and say what they keep.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from types import ModuleType
from typing import Literal

from cdp_spark.config.models import Conf
from cdp_spark.config.sql import columns_of
from cdp_spark.job import Job


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


def lacking(spec: ModelSpec, declared: Collection[str]) -> list[str]:
    """Features that the model's question names and the deployment does not declare: such a model is not asked there."""
    named = set() if spec.features == "all" else set(spec.features)
    return sorted((columns_of(spec.eligible) | named) - set(declared) - {"person_id", "as_of"})


def applicable(job: Job) -> dict[str, ModuleType]:
    """The shipped models whose question this deployment's features can ask; the others are told in the log."""
    found = {}
    for name, module in shipped().items():
        if missing := lacking(module.SPEC, job.conf.features):
            job.log(f"{name}: not asked, as conf/features.yml lacks {', '.join(missing)}")
        else:
            found[name] = module
    return found


def shipped() -> dict[str, ModuleType]:
    """The classifiers in ml/models, with a `label`, by the name of their SPEC; adding a model is adding a file."""
    return {module.SPEC.name: module for module in _modules() if hasattr(module, "label")}


def registered(conf: Conf) -> dict[str, bool]:
    """Every model that this deployment may have in its registry: does a champion score, so that one can be chosen?

    The others are fitted anew for each week's rows by the step that writes them.
    """
    found = dict.fromkeys(shipped(), True)
    for module in (module for module in _modules() if not hasattr(module, "label")):
        found |= dict.fromkeys(module.names(conf), module.CHAMPION_SCORES)
    return dict(sorted(found.items()))


def _modules() -> list[ModuleType]:
    package = import_module("ml.models")
    return [import_module(f"ml.models.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
