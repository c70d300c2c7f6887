"""Can these journeys be walked? Names, SQL and ways of conf/journeys and conf/offers.yml, checked before a run."""

from __future__ import annotations

from pathlib import Path

from cdp_spark.config.cross import audience_columns
from cdp_spark.config.journeys import Journey, JourneyStep
from cdp_spark.config.load import unknown
from cdp_spark.config.models import Conf
from cdp_spark.config.sql import condition_problems, number_problems

NEEDED = {"subject_key", "event_time", "known_at", "deleted"}


def problems(conf: Conf, root: Path) -> list[str]:
    """Every mistake of offers and journeys; [] where they are sound."""
    found = []
    for name, offer in conf.offers.items():
        where, columns = f"{root / 'offers.yml'}, {name}", audience_columns(conf)
        for key in ("score", "value", "cost"):
            found += number_problems(f"{where}.{key}", getattr(offer, key), columns)
        found += condition_problems(f"{where}.where", offer.where, columns)
    for name, journey in conf.journeys.items():
        found += _journey(conf, str(root / "journeys" / f"{name}.yml"), name, journey)
    return found


def _journey(conf: Conf, where: str, name: str, journey: Journey) -> list[str]:
    found = []
    if journey.purpose not in conf.purposes:
        found.append(unknown(f"{where}, purpose", "purpose", journey.purpose, conf.purposes))
    if journey.audience not in conf.audiences:
        found.append(unknown(f"{where}, audience", "audience", journey.audience, conf.audiences))
    if not any(step.acts for step in journey.steps.values()):
        found.append(f"{where}, steps: nobody is sent or offered anything; add a step with send or offer")
    for key, step in journey.steps.items():
        found += _step(conf, f"{where}, steps.{key}", name, journey, key, step)
    return found or _unreachable(where, journey)


def _step(conf: Conf, where: str, name: str, journey: Journey, key: str, step: JourneyStep) -> list[str]:
    found = [unknown(f"{where}, offer", "offer", one, conf.offers) for one in step.offer if one not in conf.offers]
    if step.to is not None:
        if step.to not in conf.destinations:
            found.append(unknown(f"{where}, to", "destination", step.to, conf.destinations))
        elif name not in conf.destinations[step.to].journeys:
            found.append(f"{where}, to: destination {step.to!r} does not take this journey; name it under `journeys:`")
    later = list(journey.steps)[list(journey.steps).index(key) + 1 :]
    for way in ("then", "otherwise"):
        if (target := getattr(step, way)) and target not in later:
            found.append(unknown(f"{where}, {way}", "step below", target, later))
    return found + (_branch(conf, where, step) if step.branch else [])


def _branch(conf: Conf, where: str, step: JourneyStep) -> list[str]:
    tables = {n for n, table in conf.tables.items() if n.startswith("silver.") and not NEEDED - {*table.columns}}
    if step.branch not in tables:
        return [unknown(f"{where}, branch", "table of what happened to somebody", step.branch, tables)]
    columns = {name: column.type for name, column in conf.tables[step.branch].columns.items()}
    return condition_problems(f"{where}, where", step.where, columns)


def _unreachable(where: str, journey: Journey) -> list[str]:
    reached = {journey.first}
    for name in journey.steps:  # ways only lead down, so one walk in order finds all
        reached |= journey.after(name) if name in reached else set()
    return [
        f"{where}, steps.{name}: nobody can come here; let a branch lead to it or take it out"
        for name in journey.steps
        if name not in reached
    ]
