"""`make bench-identity`: components against plain GraphFrames on the same edges in the same run. Ratios, no verdict."""

from __future__ import annotations

import argparse
import tempfile
import time

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from cdp_spark import session
from cdp_spark.config.models import Env
from cdp_spark.identity.components import components, contracted

RECORDS_A_PERSON = 1.3  # Poisson: a quarter of the records has a twin, some have five


def _id(kind: str, *parts: Column) -> Column:
    return F.xxhash64(F.lit(kind), *parts)


def _bipartite(rows: DataFrame, *values: Column) -> DataFrame:
    return rows.select(_id("k", F.col("id")).alias("src"), F.explode(F.array(*values)).alias("dst"))


def people(spark: SparkSession, edges: int) -> DataFrame:
    """Many small people: each record has an identifier of its own and one of its person."""
    keys = edges // 2
    person = F.pmod(_id("person", F.col("id")), F.lit(int(keys / RECORDS_A_PERSON)))
    return _bipartite(spark.range(keys), _id("p", person), _id("o", F.col("id")))


def sparse(spark: SparkSession, edges: int) -> DataFrame:
    """As people, but one record in seventy has a twin: 1.4 % of the edges are left after pruning."""
    keys = edges // 2
    person = F.when(F.col("id") % 36 == 0, F.col("id") + 1).otherwise(F.col("id"))
    return _bipartite(spark.range(keys), _id("p", person), _id("o", F.col("id")))


def power(spark: SparkSession, edges: int) -> DataFrame:
    """Values whose counts follow a power law: a few of them tie most records together."""
    keys = edges // 2
    uniform = F.pmod(_id("u", F.col("id")), F.lit(1_000_000)) / 1_000_000
    value = F.floor(F.lit(keys) * F.pow(uniform, 3))
    other = F.pmod(_id("w", F.col("id")), F.lit(keys * 4))
    return _bipartite(spark.range(keys), _id("v", value), _id("w", other))


def star(spark: SparkSession, edges: int) -> DataFrame:
    """As people, and one value on 1 % of the records."""
    keys = edges // 2
    person = F.pmod(_id("person", F.col("id")), F.lit(int(keys / RECORDS_A_PERSON)))
    hub = F.when(F.col("id") % 100 == 0, _id("hub")).otherwise(_id("o", F.col("id")))
    return _bipartite(spark.range(keys), _id("p", person), hub)


def chain(spark: SparkSession, edges: int) -> DataFrame:
    """One chain of 20,000 nodes, whatever the size asked for."""
    return _bipartite(spark.range(10_000), _id("c", F.col("id")), _id("c", F.col("id") + 1))


GRAPHS = {f.__name__: f for f in (people, sparse, power, star, chain)}


def timed(make) -> tuple[float, DataFrame]:
    begin = time.monotonic()
    frame = make()
    frame.write.format("noop").mode("overwrite").save()
    return time.monotonic() - begin, frame


def plain(edges: DataFrame, nodes: DataFrame) -> DataFrame:
    from graphframes import GraphFrame

    return GraphFrame(nodes, edges).connectedComponents().select(F.col("id").alias("node"), "component")


def same(left: DataFrame, right: DataFrame) -> bool:
    """True where two labellings of the keys in `left` are one partition."""
    both = left.join(right.withColumnRenamed("component", "other"), "node", "left")
    pairs = both.select("component", "other").distinct()
    found = pairs.agg(F.count("*"), F.count_distinct("component"), F.count_distinct("other")).first()
    return len(set(found)) == 1 and both.count() == left.count()


def compare(spark: SparkSession, kind: str, size: int, engines: list[str]) -> None:
    edges = GRAPHS[kind](spark, size).persist(StorageLevel.MEMORY_AND_DISK)
    nodes = edges.select(F.col("src").alias("id")).union(edges.select("dst")).distinct().persist()
    told = (
        f"{kind}: {edges.count():,} edges, {nodes.count():,} nodes, {contracted(edges).count():,} links after pruning"
    )
    print(told, flush=True)
    reference, base = None, None
    if "plain" in engines:
        base, reference = timed(lambda: plain(edges, nodes))
        print(f"  {'plain':<12} {base:7.1f} s", flush=True)
    for engine in [name for name in engines if name != "plain"]:
        logged: list[str] = []
        seconds, found = timed(lambda e=engine, tell=logged.append: components(edges, engine=e, log=tell))
        ratio = f"{base / seconds:5.1f} x plain" if base else ""
        equal = ("same partition" if same(found, reference) else "ANOTHER PARTITION") if reference else ""
        print(f"  {engine:<12} {seconds:7.1f} s  {ratio}  {equal}  {'; '.join(logged)}", flush=True)
        found.unpersist()
    spark.catalog.clearCache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--graphs", nargs="+", default=list(GRAPHS), choices=list(GRAPHS))
    parser.add_argument("--engines", nargs="+", default=["plain", "auto", "graphframes", "scipy"])
    parser.add_argument("--memory", default="3g", help="of the driver")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as scratch:
        env = Env(master="local[2]", driver_memory=given.memory, shuffle_partitions=4)
        spark = session.build(env, settings={"spark.sql.warehouse.dir": f"{scratch}/warehouse"})
        spark.sparkContext.setCheckpointDir(f"{scratch}/checkpoints")
        components(people(spark, 1000), engine="graphframes")  # the first run pays for Spark's start
        for number, size in enumerate(given.edges):
            for kind in given.graphs:
                if kind != "chain" or number == 0:
                    compare(spark, kind, size, given.engines)
        spark.stop()


if __name__ == "__main__":
    main()
