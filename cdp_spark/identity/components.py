"""Which nodes hang together? Connected components by GraphFrames, pruned before and verified after."""

from __future__ import annotations

import numpy as np
import pandas as pd
from graphframes import GraphFrame
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


class ComponentsError(Exception):
    """The components that the engine returned are not components: nothing is published."""


def contracted(edges: DataFrame) -> DataFrame:
    """(src, dst) links between keys alone: each value's keys are tied to the smallest of them.

    One round of star contraction. A value seen by one key links nobody and drops out, and value nodes disappear, so
    what is left is linear in the edges and a fraction of them; the keys' partition is the same.
    """
    least = edges.groupBy("dst").agg(F.min("src").alias("least"), F.count(F.lit(1)).alias("n")).where("n > 1")
    ties = edges.join(least, "dst").where("src <> least")
    return ties.select(F.col("least").alias("src"), F.col("src").alias("dst")).distinct()


def components(edges: DataFrame, *, engine: str = "auto", local_max_edges: int = 2_000_000) -> DataFrame:
    """(node, component) of every key in bipartite `edges` (src key, dst value); component is the smallest key's node.

    engine: graphframes, scipy (exact, on the driver), or auto: scipy up to `local_max_edges` links that are left after
    pruning, GraphFrames above. Raises ComponentsError where an edge ends in two components.
    """
    keys = edges.select(F.col("src").alias("node")).distinct()
    links = contracted(edges).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        count = links.count()
        local = engine == "scipy" or (engine == "auto" and count <= local_max_edges)
        found = _scipy(links) if local else _graphframes(links)
        whole = keys.join(found, "node", "left").select("node", F.coalesce("component", "node").alias("component"))
        whole = whole.persist(StorageLevel.MEMORY_AND_DISK)
        _verify(links, whole)
        return whole
    finally:
        links.unpersist()


def _scipy(links: DataFrame) -> DataFrame:
    """Exact components on the driver: bounded by local_max_edges, 16 bytes an edge."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = links.toPandas()
    nodes, index = np.unique(pairs[["src", "dst"]].to_numpy(np.int64).ravel(), return_inverse=True)
    index = index.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(index), np.int8), (index[:, 0], index[:, 1])), shape=(len(nodes), len(nodes)))
    labels = connected_components(graph, directed=False)[1]
    least = pd.Series(nodes).groupby(labels).transform("min") if len(nodes) else pd.Series(dtype="int64")
    table = pd.DataFrame({"node": nodes.astype("int64"), "component": least.astype("int64")})
    return links.sparkSession.createDataFrame(table, "node bigint, component bigint")


def _graphframes(links: DataFrame) -> DataFrame:
    """Components by GraphFrames. Ids are materialised first: recomputed ones gave wrong components under AQE."""
    spark = links.sparkSession
    nodes = links.select(F.col("src").alias("id")).union(links.select("dst")).distinct()
    nodes = nodes.persist(StorageLevel.MEMORY_AND_DISK)
    if not nodes.count():
        nodes.unpersist()
        return spark.createDataFrame([], "node bigint, component bigint")
    found = GraphFrame(nodes, links).connectedComponents(algorithm="graphframes", checkpointInterval=2)
    least = found.groupBy("component").agg(F.min("id").alias("least"))
    rows = found.join(least, "component").select(F.col("id").alias("node"), F.col("least").alias("component"))
    rows = rows.localCheckpoint()
    found.unpersist()
    nodes.unpersist()
    return rows


def _verify(links: DataFrame, found: DataFrame) -> None:
    """Both ends of every link in one component, and every node once."""
    one = found.select(F.col("node").alias("src"), F.col("component").alias("a"))
    two = found.select(F.col("node").alias("dst"), F.col("component").alias("b"))
    torn = links.join(one, "src", "left").join(two, "dst", "left").where("NOT (a <=> b) OR a IS NULL").limit(1).count()
    twice = found.groupBy("node").count().where("count > 1").limit(1).count()
    if torn or twice:
        raise ComponentsError("a link ends in two components or a node has two: the engine's answer is refused")
