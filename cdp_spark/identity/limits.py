"""Is this component one person? Components that break a limit are cut along their own weakest links."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.source import Identity

CUT = "subject_key string, part bigint"
REFUSED = "subject_key string, namespace string, value string, code string, detail string"
PERIOD = {"ever": None, "daily": "day", "weekly": "week", "monthly": "month", "annually": "year"}


def limited(rules: Identity) -> dict[str, tuple[int, str | None]]:
    """Limits by namespace: how many values a person may have, and in which calendar period (None: ever)."""
    return {n: (r.limit.count, PERIOD[r.limit.window]) for n, r in rules.identifiers.items() if r.limit}


def _period(limits: dict[str, tuple[int, str | None]]) -> Column:
    """The period in which a component first saw a value, as its namespace's limit counts; '' for ever."""
    first, found = F.min("first_seen").over(Window.partitionBy("component", "namespace", "value")), F.lit("")
    for name, (_, period) in limits.items():
        if period:
            start = F.date_trunc(period, first).cast("string")
            found = F.when(F.col("namespace") == name, start).otherwise(found)
    return found


def broken(values: DataFrame, limits: dict[str, tuple[int, str | None]]) -> DataFrame:
    """(component) of those with more values of a namespace, in one period, than a person may have."""
    found = values.groupBy("component", "namespace", "period").agg(F.count_distinct("value").alias("n"))
    over = [(F.col("namespace") == name) & (F.col("n") > count) for name, (count, _) in limits.items()]
    return found.where(reduce(lambda a, b: a | b, over, F.lit(False))).select("component").distinct()


def persons_parts(edges: DataFrame, apart: DataFrame, found: DataFrame, rules: Identity) -> tuple[DataFrame, DataFrame]:
    """(parts, refused): part of each subject key after limits, and the links that were refused.

    edges, apart: from `guarded_edges`.  found: (subject_key, component).  Only components that break a limit are cut.
    """
    limits = limited(rules)
    columns = ["subject_key", "namespace", "value", "first_seen"]
    values = edges.select(*columns, "priority", F.lit(True).alias("links"))
    values = values.unionByName(apart.select(*columns, F.lit(0).alias("priority"), F.lit(False).alias("links")))
    values = values.join(found, "subject_key").withColumn("period", _period(limits))
    over = broken(values.where(F.col("namespace").isin(list(limits))), limits)
    work = values.join(F.broadcast(over), "component")
    cut = work.groupBy("component").applyInPandas(_cutter(limits), f"{CUT}, {REFUSED.split(',', 1)[1]}")
    cut = cut.localCheckpoint()
    parts = cut.where("code IS NULL").select("subject_key", "part")
    whole = found.join(over, "component", "left_anti").select("subject_key", F.col("component").alias("part"))
    refused = cut.where("code IS NOT NULL").drop("part")
    return whole.unionByName(parts), refused


def _cutter(limits: dict[str, tuple[int, str | None]]):
    counts = {name: count for name, (count, _) in limits.items()}

    def run(rows: pd.DataFrame) -> pd.DataFrame:
        keys, refused = cut(rows, counts)
        first = pd.DataFrame({"subject_key": list(keys), "part": list(keys.values())})
        second = pd.DataFrame(refused, columns=["subject_key", "namespace", "value", "detail"])
        second["code"] = "limit_exceeded"
        both = pd.concat([first, second], ignore_index=True)
        return both.reindex(columns=["subject_key", "part", "namespace", "value", "code", "detail"]).astype(
            {"part": "Int64"}
        )

    return run


def cut(rows: pd.DataFrame, counts: dict[str, int]) -> tuple[dict[str, int], list[tuple[str, str, str, str]]]:
    """Constrained union-find over one component: links are taken strongest first unless the union breaks a limit.

    Strongest: priority, then first seen, then names: the same whatever the order of `rows`. Returns the part of each
    subject key (a number from the part's smallest key) and the links that were refused.
    """
    parent: dict[tuple, tuple] = {}
    held: dict[tuple, dict] = defaultdict(lambda: defaultdict(set))

    def find(one: tuple) -> tuple:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    rows = rows.sort_values(["priority", "first_seen", "namespace", "value", "subject_key"], kind="stable")
    for row in rows.itertuples():
        key, value = ("k", row.subject_key), ("v", row.namespace, row.value)
        if row.namespace in counts:
            at = key if not row.links else value
            held[find(at)][(row.namespace, row.period)].add(row.value)
    refused = []
    for row in rows[rows["links"]].itertuples():
        a, b = find(("k", row.subject_key)), find(("v", row.namespace, row.value))
        if a == b:
            continue
        clash = _clash(held[a], held[b], counts)
        if clash:
            refused.append((row.subject_key, row.namespace, row.value, f"limit of {clash}"))
            continue
        root, leaf = min(a, b), max(a, b)
        parent[leaf] = root
        for where, values in held.pop(leaf, {}).items():
            held[root][where] |= values
    return _parts(rows["subject_key"].unique(), find), refused


def _clash(a: dict, b: dict, counts: dict[str, int]) -> str | None:
    """The namespace whose limit the union of two parts would break; a part that breaks it alone may still grow."""
    for where in sorted(a.keys() & b.keys()):
        both = a[where] | b[where]
        if len(both) > counts[where[0]] and both not in (a[where], b[where]):
            return where[0]
    return None


def _parts(keys, find) -> dict[str, int]:
    """A 63-bit number per part, from its smallest key."""
    from hashlib import blake2b

    least: dict[tuple, str] = {}
    for key in sorted(keys):
        least.setdefault(find(("k", key)), key)
    number = {root: int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
              for root, key in least.items()}  # fmt: skip
    return {key: number[find(("k", key))] for key in keys}
