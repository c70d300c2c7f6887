"""How does a match become evidence? As a value that both records carry, in a namespace of its own."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identifier, Identity

MATCH = "match"


def with_matches(identifiers: DataFrame, matches: DataFrame, rules: Identity) -> tuple[DataFrame, Identity]:
    """`identifiers` with one value a match at both of its records; `rules` with its namespace, the weakest."""
    value = F.sha2(F.concat_ws("\u0001", "subject_key_a", "subject_key_b"), 256)
    both = matches.select(F.explode(F.array("subject_key_a", "subject_key_b")).alias("subject_key"),
                          value.alias("value"), "first_seen")  # fmt: skip
    source = F.split_part("subject_key", F.lit("|"), F.lit(1))
    landings = identifiers.groupBy("subject_key").agg(F.min("landing").alias("landing"))
    links = both.join(landings, "subject_key").select(
        "subject_key",
        source.alias("source"),
        F.expr("substring(subject_key, length(split_part(subject_key, '|', 1)) + 2)").alias("record_id"),
        F.lit(MATCH).alias("namespace"),
        "value",
        "first_seen",
        F.col("first_seen").alias("last_seen"),
        "landing",
        F.lit(1).cast("bigint").alias("sightings"),
    )
    weakest = max((rule.priority for rule in rules.identifiers.values()), default=0) + 1
    known = rules.identifiers | {MATCH: Identifier(priority=weakest)}
    return identifiers.unionByName(links), rules.model_copy(update={"identifiers": known})
