"""Which steps are there, and what does each read and write? Standard library only: Airflow reads this without Spark."""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One job: `jobs/<name>.py`, the tables it reads and writes, what it is for, and how often a schedule runs it."""

    name: str
    about: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    every: str = "day"


SILVER = (
    "silver.customers",
    "silver.events",
    "silver.orders",
    "silver.consents",
    "silver.interactions",
    "silver.spend",
)

# What permission is asked of, and what conditions and payloads may say of a person.
PERMISSION = ("silver.consents", "silver.identifiers", "identity.members")
KNOWN = ("gold.profiles", "gold.features", "ml.scores", "ml.values", "ml.segments")

STEPS = (
    Step(
        "ingest",
        "land the day's drops as they came; bad rows to quarantine",
        (),
        ("bronze.*", "bronze._landings", "bronze._quarantine", "bronze._reconciliation"),
    ),
    Step(
        "standardise",
        "one name and type for each thing; every identifier of every subject",
        ("bronze.*",),
        (*SILVER, "silver.sightings", "silver.identifiers", "bronze._reconciliation"),
    ),
    Step(
        "match",
        "records that share no identifier and are one person all the same",
        ("silver.customers",),
        ("identity.matches", "identity.models", "identity.blocking"),
    ),
    Step(
        "resolve",
        "who is who: edges, components, limits, lasting ids",
        ("silver.identifiers", "identity.matches"),
        (
            "identity.edges",
            "identity.components",
            "identity.violations",
            "identity.anchors",
            "identity.members",
            "identity.changes",
            "identity.runs",
        ),
    ),
    Step(
        "profile",
        "one golden record a person",
        ("silver.customers", "silver.identifiers", "identity.members"),
        ("gold.profiles",),
    ),
    Step(
        "households",
        "who lives together: people who share an address, a phone or a device",
        ("gold.profiles", "silver.identifiers", "identity.members"),
        ("identity.households",),
    ),
    Step(
        "health",
        "why records are one person, and whether the identity graph is well",
        (
            "silver.identifiers",
            "identity.edges",
            "identity.violations",
            "identity.members",
            "identity.changes",
        ),
        ("identity.evidence", "identity.health"),
    ),
    Step(
        "features",
        "what was known of each person before the run's cut-off",
        (
            "silver.customers",
            "silver.events",
            "silver.orders",
            "silver.interactions",
            "identity.members",
            "identity.households",
            "gold.profiles",
        ),
        ("gold.features",),
    ),
    Step(
        "kpis",
        "numbers to report: revenue, customers, reach, marketing-mix feed",
        ("silver.orders", "silver.events", "silver.spend", "identity.members", "gold.profiles"),
        ("gold.kpis", "gold.mmm_weekly"),
    ),
    Step(
        "train",
        "fit each model on past snapshots; what beats its baseline becomes champion",
        (
            "silver.customers",
            "silver.events",
            "silver.orders",
            "silver.interactions",
            *PERMISSION,
            "identity.households",
        ),
        ("ml.trainings", "ml.examples"),
        every="week",
    ),
    Step(
        "score",
        "each person's score by the champion of each model",
        ("gold.features", "ml.trainings", "silver.orders", *PERMISSION),
        ("ml.scores", "ml.monitoring"),
    ),
    Step(
        "value",
        "what each customer is worth in the coming year",
        ("silver.orders", *PERMISSION),
        ("ml.values", "ml.trainings"),
        every="week",
    ),
    Step(
        "segment",
        "which kinds of customers there are: RFM tiers, and clusters that keep their labels",
        ("gold.features", *PERMISSION),
        ("ml.segments", "ml.clusters", "ml.trainings"),
        every="week",
    ),
    Step(
        "interest",
        "in which category each customer may buy next",
        ("silver.orders", "silver.events", *PERMISSION),
        ("ml.interests", "ml.trainings", "ml.monitoring"),
        every="week",
    ),
    Step(
        "recommend",
        "which products are recommended to whom",
        ("silver.orders", *PERMISSION),
        ("ml.recommendations", "ml.trainings"),
        every="week",
    ),
    Step(
        "audiences",
        "who may be addressed for which purpose, and why the others may not",
        (*KNOWN, *PERMISSION, "silver.interactions", "silver.orders"),
        ("activation.members", "activation.changes", "activation.funnels"),
    ),
    Step(
        "journeys",
        "where everybody stands on their journeys, and on whom they act today",
        ("activation.members", *KNOWN, *SILVER, "silver.identifiers", "identity.members"),
        ("activation.journeys", "activation.actions"),
    ),
    Step(
        "deliver",
        "members and actions to destinations as immutable deliveries",
        ("activation.members", "activation.actions", "ml.recommendations", *KNOWN, *PERMISSION),
        ("activation.deliveries", "activation.sent"),
    ),
    Step(
        "effect",
        "whom an audience's treatment moves, where its holdout tells",
        ("activation.changes", "gold.features", "silver.orders", *PERMISSION),
        ("ml.uplift", "ml.trainings"),
        every="week",
    ),
    Step("publish", "pin the versions that belong together", (), ("governance.audit", "governance.runs")),
)

# Care for the tables themselves: part of no day's run.
UPKEEP = (Step("maintain", "compact, cluster and vacuum every table", every="week"),)

NAMES = tuple(step.name for step in STEPS)


def upstream(step: Step) -> list[str]:
    """Names of the steps that write what `step` reads; `publish` follows all others."""
    if step in UPKEEP:
        return []
    if step.name == "publish":
        return [other.name for other in STEPS if other.name != "publish"]
    before = STEPS[: NAMES.index(step.name)]
    return [other.name for other in before if set(other.writes) & set(step.reads)]


def before(name: str) -> set[str]:
    """Names of all steps that the step `name` waits for, through however many others."""
    found: set[str] = set()
    for step in reversed(STEPS[: NAMES.index(name) + 1]):
        if step.name == name or step.name in found:
            found |= set(upstream(step))
    return found


def keeps_back(step: Step, steps: list[Step]) -> bool:
    """Whether today's words of consent are landed when `step` runs among `steps`, and their delivery waits for it.

    A step that is a process of its own (`steps` is it alone) is taken for a part of a whole day.
    """
    asked = any(one.name == "deliver" for one in steps) or (len(steps) == 1 and step.every == "day")
    return asked and step.name in before("deliver") and NAMES.index(step.name) > NAMES.index("standardise")


def between(first: str | None = None, last: str | None = None) -> list[Step]:
    """The steps from `first` to `last`, both included; all of them by default.

    Raises ValueError that names the known steps where one is unknown or the two are in the wrong order.
    """
    for name in (first, last):
        if name is not None and name not in NAMES:
            raise ValueError(f"no step {name!r}. Known: {', '.join(NAMES)}")
    start, end = NAMES.index(first or NAMES[0]), NAMES.index(last or NAMES[-1])
    if start > end:
        raise ValueError(f"--from {first} comes after --to {last}. Order: {', '.join(NAMES)}")
    return list(STEPS[start : end + 1])
