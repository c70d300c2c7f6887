"""Why are these records one person? The links that hold a person together, and those without which it falls apart."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.identity.pairs import MATCH

LINK = "person_id string, subject_key string, namespace string, value string, other_key string, rule string, "
EVIDENCE = LINK + "priority int, score double, first_seen timestamp, bridge boolean"
COLUMNS = tuple(column.split()[0] for column in EVIDENCE.split(", "))
ORDER = ["person_id", "priority", "strength", "first_seen", "namespace", "value", "subject_key", "other_key"]


def person_links(edges: DataFrame, refused: DataFrame, members: DataFrame, matches: DataFrame) -> DataFrame:
    """Links between the records of each person: EVIDENCE without `bridge`.

    edges: identity.edges.  refused: identity.violations.  members: (subject_key, person_id) now.  matches:
    identity.matches, which know since when. Values that one record of the person carries hold nothing together and are
    left out; so are refused links, and those to another person.
    """
    key = ["subject_key", "namespace", "value"]
    used = edges.join(refused.select(*key).distinct(), key, "left_anti").join(members, "subject_key")
    carriers = F.count(F.lit(1)).over(Window.partitionBy("person_id", "namespace", "value"))
    values = used.where("other_key IS NULL").withColumn("n", carriers).where("n > 1")
    other = members.select(F.col("subject_key").alias("other_key"), F.col("person_id").alias("other"))
    pairs = _with_time(used.join(other, "other_key").where("person_id = other"), matches)
    return values.select(*COLUMNS[:-1]).unionByName(pairs.select(*COLUMNS[:-1]))


def _with_time(pairs: DataFrame, matches: DataFrame) -> DataFrame:
    """`pairs` with first_seen of matches. The graph does without it: a record's newer version would move its links."""
    low, high = F.least("subject_key_a", "subject_key_b"), F.greatest("subject_key_a", "subject_key_b")
    times = matches.groupBy(low.alias("subject_key"), high.alias("other_key")).agg(F.min("first_seen").alias("since"))
    times = times.withColumn("namespace", F.lit(MATCH))
    found = pairs.join(times, ["subject_key", "other_key", "namespace"], "left")
    return found.withColumn("first_seen", F.coalesce("first_seen", "since"))


def evidence(links: DataFrame, buckets: int = 32) -> DataFrame:
    """One row per link of each person's spanning tree; `bridge`: without this link the person falls apart.

    The tree takes links by trust (priority, score, first seen, names), so that the path between two records is the
    most trusted one. People are worked through many at a time, as a call for each costs more than its work.
    """
    bucket = F.pmod(F.xxhash64("person_id"), F.lit(buckets))
    return links.groupBy(bucket).applyInPandas(_trees, EVIDENCE)


def _trees(rows: pd.DataFrame) -> pd.DataFrame:
    strength = -rows["score"].astype(float).fillna(float("inf"))  # exact links before any score, as in the graph
    rows = rows.assign(strength=strength).sort_values(ORDER, kind="stable", ignore_index=True)
    in_tree, bridge = tree_and_bridges(list(ends(rows)))
    return rows.assign(bridge=bridge)[in_tree][list(COLUMNS)]


def ends(rows: pd.DataFrame):
    """Both nodes of each link: a person's record, and a value of that person or another record."""
    columns = (rows[name] for name in ("person_id", "subject_key", "namespace", "value", "other_key"))
    for person, key, namespace, value, other in zip(*columns, strict=True):
        to = ("v", namespace, value) if pd.isna(other) else ("k", other)
        yield (person, "k", key), (person, *to)


def tree_and_bridges(links: list[tuple]) -> tuple[list[bool], list[bool]]:
    """For each link (a, b): is it in the spanning tree that takes links in their order; is it a bridge.

    Bridges by depth-first search and low points (Tarjan, A note on finding the bridges of a graph, 1974), without
    recursion. Of two links between the same nodes neither is a bridge.
    """
    parent: dict = {}

    def find(one):
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    in_tree, around = [], defaultdict(list)
    for number, (a, b) in enumerate(links):
        one, two = find(a), find(b)
        in_tree.append(one != two)
        parent[one] = two
        around[a].append((b, number))
        around[b].append((a, number))
    return in_tree, _bridges(around, len(links))


def _bridges(around: dict, count: int) -> list[bool]:
    found, order, low = [False] * count, {}, {}
    for root in around:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack = [(root, -1, iter(around[root]))]
        while stack:
            node, by, rest = stack[-1]
            for to, number in rest:
                if to not in order:
                    order[to] = low[to] = len(order)
                    stack.append((to, number, iter(around[to])))
                    break
                if number != by:
                    low[node] = min(low[node], order[to])
            else:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    low[above] = min(low[above], low[node])
                    found[by] = low[node] > order[above]
    return found


def path(rows: pd.DataFrame, start: str, goal: str) -> pd.DataFrame:
    """The rows of a person's evidence that lead from record `start` to record `goal`, in this order."""
    around = defaultdict(list)
    for number, ((_, *a), (_, *b)) in enumerate(ends(rows)):
        around[tuple(a)].append((tuple(b), number))
        around[tuple(b)].append((tuple(a), number))
    came: dict = {("k", start): None}
    queue = [("k", start)]
    for node in queue:
        for to, number in around[node]:
            if to not in came:
                came[to] = (node, number)
                queue.append(to)
    steps, node = [], ("k", goal)
    while came.get(node):
        node, number = came[node]
        steps.append(number)
    return rows.iloc[steps[::-1]]
