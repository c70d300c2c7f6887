"""How good are the people in a lake? Brings them to the driver for evaluation: as many as a truth file can name."""

from __future__ import annotations

import pandas as pd

from cdp_spark.config.source import Identity
from cdp_spark.identity.evaluate import ceiling, evaluate
from cdp_spark.lake import Lake

KEYS = ["source", "record_id"]


def judged(lake: Lake, rules: Identity, truth: pd.DataFrame) -> dict:
    """Measures of a summary: true entities, pairwise and bcubed, shares, and what exact identifiers allow at best."""
    members = lake.read("identity.members").where("valid_to IS NULL")
    found = evaluate(members.select(*KEYS, "person_id").toPandas(), truth)
    linking = [name for name, rule in rules.identifiers.items() if rule.link]
    seen = lake.read("silver.identifiers").select(*KEYS, "namespace", "value").toPandas()
    return {
        "entities": found["entities"],
        "pairwise": _named(found, "pairwise"),
        "bcubed": _named(found, "b3"),
        "over_merged_share": found["over_merged_share"],
        "ceiling_f1": ceiling(seen[seen["namespace"].isin(linking)], truth),
    }


def _named(found: dict, measure: str) -> dict[str, float]:
    return {name: found[f"{measure}_{short}"] for name, short in (("precision", "p"), ("recall", "r"), ("f1", "f1"))}
