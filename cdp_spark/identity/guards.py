"""Which identifiers may link? Blocked values, patterns, lengths and hubs, judged before the graph."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identifier, Identity

SHOWN_CHARS = 200  # of a value that is too long, in identity.violations


def per_namespace(rules: Identity, attribute) -> Column:
    """`attribute(rule)` of the row's namespace; null where the rules do not know it."""
    pairs = [F.lit(part) for name, rule in rules.identifiers.items() for part in (name, attribute(rule))]
    return F.create_map(*pairs)[F.col("namespace")] if pairs else F.lit(None)


def _any(rules: Identity, broken) -> Column:
    """True where `broken(rule)` (a column, or None) holds for the row's namespace."""
    found = F.lit(False)
    for name, rule in rules.identifiers.items():
        if (here := broken(rule)) is not None:
            found = found | ((F.col("namespace") == name) & here)
    return found


def _blocked(rules: Identity) -> Column:
    """True where the value names nobody. Compared in lower case, as sources write NULL, null and Null."""
    value = F.lower(F.trim("value"))

    def own(rule: Identifier) -> Column | None:
        return value.isin([text.lower() for text in rule.blocked_values]) if rule.blocked_values else None

    broken = F.col("value").isNull() | (value == "") | _any(rules, own)
    if rules.blocked_values:
        broken = broken | value.isin([text.lower() for text in rules.blocked_values])
    for pattern in rules.blocked_patterns:
        broken = broken | value.rlike(pattern)
    return broken


def judged(identifiers: DataFrame, rules: Identity) -> DataFrame:
    """`identifiers` with `code`: why a value links nobody, null where it may link; nothing is dropped.

    A hub is a value of a linking namespace that more subject keys carry than `max_records`; it is counted among the
    rows that the other guards let through.
    """
    value = F.col("value")
    unlike = _any(rules, lambda rule: ~value.rlike(rule.pattern) if rule.pattern else None)
    code = (
        F.when(~F.col("namespace").isin(list(rules.identifiers)), "unknown_namespace")
        .when(F.length(value) > rules.max_value_chars, "value_too_long")
        .when(_blocked(rules), "blocked_value")
        .when(unlike, "pattern_mismatch")
    )
    rows = identifiers.withColumn("code", code)
    most = per_namespace(rules, lambda rule: rule.max_records or rules.max_records)
    linking = rows.where(F.col("code").isNull() & per_namespace(rules, lambda rule: rule.link).cast("boolean"))
    sizes = linking.groupBy("namespace", "value").agg(F.count(F.lit(1)).alias("n"))
    hubs = sizes.where(F.col("n") > most).select("namespace", "value", F.lit("hub_limit").alias("hub"))
    joined = rows.join(F.broadcast(hubs), ["namespace", "value"], "left")
    return joined.withColumn("code", F.coalesce("code", "hub")).drop("hub")


def refused(rows: DataFrame) -> DataFrame:
    """(subject_key, namespace, value, code, detail) of the judged rows that may not link."""
    return rows.where("code IS NOT NULL").select(
        "subject_key",
        "namespace",
        F.substring(F.coalesce("value", F.lit("")), 1, SHOWN_CHARS).alias("value"),
        "code",
        F.lit("before the graph").alias("detail"),
    )
