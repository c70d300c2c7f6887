"""Which identifiers may link? Guards before the graph: blocked values, patterns, hubs; what is refused is told."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity

REFUSED = ("subject_key", "namespace", "value", "code", "detail")


class CollisionError(Exception):
    """Two nodes got one 64-bit id: the graph would merge strangers."""


def node(kind: str, *parts: Column) -> Column:
    """64-bit id of a node; kinds never share ids by construction of the hashed text."""
    return F.xxhash64(F.lit(kind), *parts)


def _per_namespace(rules: Identity, attribute) -> Column:
    pairs = [F.lit(part) for name, rule in rules.identifiers.items() for part in (name, attribute(rule))]
    return F.create_map(*pairs)[F.col("namespace")]


def _blocked(rules: Identity) -> Column:
    """True where the value names nobody. Compared in lower case, as sources write NULL, null and Null."""
    value, broken = F.lower(F.trim("value")), F.lit(False)
    if rules.blocked_values:
        broken = broken | value.isin([text.lower() for text in rules.blocked_values])
    for pattern in rules.blocked_patterns:
        broken = broken | value.rlike(pattern)
    for name, rule in rules.identifiers.items():
        if rule.blocked_values:
            here = value.isin([text.lower() for text in rule.blocked_values])
            broken = broken | ((F.col("namespace") == name) & here)
    return broken


def _unlike(rules: Identity) -> Column:
    """True where the value does not match its namespace's pattern."""
    broken = F.lit(False)
    for name, rule in rules.identifiers.items():
        if rule.pattern:
            broken = broken | ((F.col("namespace") == name) & ~F.col("value").rlike(rule.pattern))
    return broken


def judged(identifiers: DataFrame, rules: Identity) -> DataFrame:
    """`identifiers` with `code`: why a value links nobody, null where it may link."""
    known = identifiers.where(F.col("namespace").isin(list(rules.identifiers)))
    code = F.when(_blocked(rules), "blocked_value").when(_unlike(rules), "pattern_mismatch")
    rows = known.withColumn("code", code)
    most = _per_namespace(rules, lambda rule: rule.max_records or rules.max_records)
    sizes = rows.where("code IS NULL").groupBy("namespace", "value").agg(F.count(F.lit(1)).alias("n"))
    hubs = sizes.where(F.col("n") > most).select("namespace", "value", F.lit(True).alias("hub"))
    joined = rows.join(F.broadcast(hubs), ["namespace", "value"], "left")
    code = F.coalesce("code", F.when(F.col("hub") & _per_namespace(rules, lambda r: r.link), "hub_limit"))
    return joined.withColumn("code", code).drop("hub")


def guarded_edges(identifiers: DataFrame, rules: Identity) -> tuple[DataFrame, DataFrame, DataFrame]:
    """(edges, evidence, refused): links that may be used; values of namespaces that only keep apart; refused links."""
    rows = judged(identifiers, rules)
    good = rows.where("code IS NULL").withColumn("links", _per_namespace(rules, lambda rule: rule.link))
    edges = good.where("links").select(
        "subject_key",
        "namespace",
        "value",
        _per_namespace(rules, lambda rule: rule.priority).cast("int").alias("priority"),
        "first_seen",
        "last_seen",
        node("k", F.col("subject_key")).alias("src"),
        node("v", F.col("namespace"), F.col("value")).alias("dst"),
    )
    apart = good.where("NOT links").select("subject_key", "namespace", "value", "first_seen")
    refused = rows.where("code IS NOT NULL").select(
        "subject_key", "namespace", "value", "code", F.lit("before the graph").alias("detail")
    )
    return edges, apart, refused


def refuse_collisions(edges: DataFrame, keys: DataFrame) -> None:
    """Raises CollisionError where two different nodes share an id (2^64 ids: about 1 in 10^5 at 20 M nodes).

    keys: (subject_key) of every key, those without an edge too.
    """
    own = keys.select(node("k", F.col("subject_key")).alias("id"), F.col("subject_key").alias("text"))
    values = edges.select(F.col("dst").alias("id"), F.concat_ws("\u0001", "namespace", "value").alias("text"))
    nodes = own.unionByName(values).distinct()
    if nodes.groupBy("id").count().where("count > 1").limit(1).count():
        raise CollisionError("two nodes share a 64-bit id; nothing was linked: change the hashed text in edges.py")
