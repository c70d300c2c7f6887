"""Who is in a lake, beside the truth? Reads the current people for evaluation: bounded by what a truth file can hold."""

from __future__ import annotations

import pandas as pd

from cdp_spark.config.source import Identity
from cdp_spark.identity.evaluate import ceiling, evaluate
from cdp_spark.lake import Lake

KEYS = ["source", "record_id"]


def judged(lake: Lake, rules: Identity, truth: pd.DataFrame) -> dict:
    """The measures of `evaluate`, with `ceiling_f1`. Brings members and identifiers to the driver: evaluation only."""
    members = lake.read("identity.members").where("valid_to IS NULL")
    found = evaluate(members.select(*KEYS, "person_id").toPandas(), truth)
    linking = [name for name, rule in rules.identifiers.items() if rule.link]
    seen = lake.read("silver.identifiers").select(*KEYS, "namespace", "value").toPandas()
    return found | {"ceiling_f1": ceiling(seen[seen["namespace"].isin(linking)], truth)}
