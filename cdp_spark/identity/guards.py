"""Which identifiers may link? Blocked values, patterns, lengths and hubs, judged before the graph."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identifier, Identity

SHOWN_CHARS = 200  # of a value that is too long, in identity.violations
# Records that may share a value where conf says nothing. One number cannot serve all: fifty records with one e-mail are
# a guest who orders often where others have five, and a form's placeholder where others have one.
HUB_TIMES = 10  # times as many as is usual in the namespace
HUB_LEAST = 20  # but not so few: somebody's own accounts and cookies over the years
HUB_MOST = 100  # and not more: then it is an office's number, whatever is usual
# (values at least, percentile): what is usual is what ten values or more exceed, as shared ones must not be what they
# are measured by; of a handful of values the median
USUAL = ((1_000, 0.99), (100, 0.9), (0, 0.5))


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


def names_nobody(col: Column, rules: Identity, own: tuple[str, ...] = ()) -> Column:
    """True where the value is null, empty, or blocked; `own`: more blocked values. Compared in lower case, as sources
    write NULL, null and Null."""
    value = F.lower(F.trim(col))
    broken = col.isNull() | (value == "")
    if blocked := [text.lower() for text in (*rules.blocked_values, *own)]:
        broken = broken | value.isin(blocked)
    for pattern in rules.blocked_patterns:
        broken = broken | value.rlike(pattern)
    return broken


def _blocked(rules: Identity) -> Column:
    def own(rule: Identifier) -> Column | None:
        value = F.lower(F.trim("value"))
        return value.isin([text.lower() for text in rule.blocked_values]) if rule.blocked_values else None

    return names_nobody(F.col("value"), rules) | _any(rules, own)


def judged(identifiers: DataFrame, rules: Identity) -> DataFrame:
    """`identifiers` with `code`: why a value links nobody, null where it may link; nothing is dropped.

    A hub (see `hubs`) is looked for among the rows that the other guards let through.
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
    linking = rows.where(F.col("code").isNull() & per_namespace(rules, lambda rule: rule.link).cast("boolean"))
    shared = hubs(linking, rules).withColumn("hub", F.lit("hub_limit"))
    joined = rows.join(F.broadcast(shared), ["namespace", "value"], "left")
    return joined.withColumn("code", F.coalesce("code", "hub")).drop("hub")


def hubs(linking: DataFrame, rules: Identity) -> DataFrame:
    """(namespace, value) of values that more subject keys carry than `max_records`, or than the data make likely.

    Where conf names no number, a value of a namespace with a `limit` is one person's by what conf says of it, and holds
    up to HUB_MOST; any other up to HUB_TIMES of what is usual.
    """

    def said(rule: Identifier) -> int | None:
        return rule.max_records or rules.max_records or (HUB_MOST if rule.limit else None)

    sizes = linking.groupBy("namespace", "value").agg(F.count(F.lit(1)).alias("n"))
    if any(said(rule) is None for rule in rules.identifiers.values() if rule.link):
        sizes = sizes.join(F.broadcast(sizes.groupBy("namespace").agg(usual("n").alias("usual"))), "namespace")
    else:
        sizes = sizes.withColumn("usual", F.lit(None).cast("double"))
    likely = F.least(F.lit(HUB_MOST), F.greatest(F.lit(HUB_LEAST), F.col("usual") * HUB_TIMES))
    most = F.coalesce(per_namespace(rules, said).cast("double"), likely)
    return sizes.where(F.col("n") > most).select("namespace", "value")


def usual(column: str) -> Column:
    """Of values counted in `column`: the number of a usual one. Exact, so that no partitioning matters."""
    found = F.lit(None).cast("double")
    for least, share in reversed(USUAL):
        found = F.when(F.count(column) >= least, F.percentile(column, F.lit(share))).otherwise(found)
    return found


def refused(rows: DataFrame) -> DataFrame:
    """(subject_key, namespace, value, code, detail) of the judged rows that may not link."""
    return rows.where("code IS NOT NULL").select(
        "subject_key",
        "namespace",
        F.substring(F.coalesce("value", F.lit("")), 1, SHOWN_CHARS).alias("value"),
        "code",
        F.lit("before the graph").alias("detail"),
    )
