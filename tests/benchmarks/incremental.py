"""A whole resolve of KEYS records with two identifiers each, then one with 1 % new records: full and incremental.

Part of `make bench-identity`, which runs it in a process of its own to see what it holds. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from cdp_spark import session
from cdp_spark.config.load import SHIPPED, load
from cdp_spark.config.models import Env
from cdp_spark.config.source import Identity
from cdp_spark.identity import people
from cdp_spark.identity.edges import bipartite
from cdp_spark.identity.incremental import Base
from cdp_spark.identity.pairs import LINKS, MATCHES
from cdp_spark.lake import Lake

RULES = Identity.model_validate({"identifiers": {"email": {"priority": 1}, "device": {"priority": 2}}})
NEW = 0.01
WRITTEN = ("edges", "components", "violations", "anchors", "members", "changes")


def identifiers(spark: SparkSession, first: int, last: int, persons: int) -> DataFrame:
    """Two values of each record from `first` to `last`: an e-mail of its person, and a device of its own."""
    rows = spark.range(first, last)
    person = F.pmod(F.xxhash64(F.lit("person"), "id"), F.lit(persons)).cast("string")
    email = F.concat(person, F.lit("@example.com")).alias("value")
    values = F.array(F.struct(F.lit("email").alias("namespace"), email),
                     F.struct(F.lit("device"), F.col("id").cast("string")))  # fmt: skip
    seen = rows.select(F.concat(F.lit("crm|"), "id").alias("subject_key"), "id", F.explode(values).alias("v"))
    when = F.lit("2026-01-01").cast("timestamp")
    return seen.select(
        "subject_key", "v.*", when.alias("first_seen"), when.alias("last_seen"), F.col("id").alias("landing")
    )


def spent_on(spent: dict[str, float]) -> None:
    """Note in `spent` the seconds of the part that an incremental run may leave out: from edges to parts."""
    real = people.parted

    def counting(*args):
        begin = time.monotonic()
        found = real(*args)
        spent["graph"] = time.monotonic() - begin
        return found

    people.parted = counting


def run(lake: Lake, seen: DataFrame, day: int, known: str | None, base: Base | None) -> tuple[float, dict]:
    """(seconds, work) of a resolve, all its tables written to the folder `day` and read from the folder `known`."""
    spark, begin = lake.spark, time.monotonic()
    members, anchors = (
        spark.read.parquet(f"{known}/{name}") if known else lake.read(f"identity.{name}")
        for name in ("members", "anchors")
    )
    none = [spark.createDataFrame([], shape) for shape in (MATCHES, LINKS)]
    found = people.resolved(seen, *none, members, anchors, RULES, date(2026, 1, day), base)
    for name in WRITTEN:
        getattr(found, name).write.mode("overwrite").parquet(
            f"{lake.root}/{'incremental' if base else 'full'}-{day}/{name}"
        )
    found.release()
    spark.catalog.clearCache()
    return time.monotonic() - begin, found.work


def touched_rows(lake: Lake, old: int) -> int:
    """Rows of the graph in raw components that hold a new record, counted from the full run alone."""
    parts = lake.spark.read.parquet(f"{lake.root}/full-3/components")
    number = F.substring("subject_key", 5, 20).cast("bigint")
    new = parts.where(number >= old).select("component").distinct()
    keys = parts.join(new, "component", "left_semi").select("subject_key")
    return bipartite(lake.spark.read.parquet(f"{lake.root}/full-3/edges").join(keys, "subject_key")).count()


def same_people(lake: Lake) -> bool:
    full, part = (lake.spark.read.parquet(f"{lake.root}/{how}-3/members") for how in ("full", "incremental"))
    return full.exceptAll(part).isEmpty() and part.exceptAll(full).isEmpty()


def measured(lake: Lake, keys: int) -> dict:
    old, persons, spent = int(keys * (1 - NEW)), int(keys / 1.3), {}
    spent_on(spent)
    for name, first, last in (("old", 0, old), ("new", old, keys)):
        identifiers(lake.spark, first, last, persons).write.parquet(f"{lake.root}/{name}")
    before, new = (lake.spark.read.parquet(f"{lake.root}/{name}") for name in ("old", "new"))
    first, _ = run(lake, before, 2, None, None)
    known, seen = f"{lake.root}/full-2", before.unionByName(new)
    base = Base(*(lake.spark.read.parquet(f"{known}/{name}") for name in ("components", "violations")))
    part, work = run(lake, seen, 3, known, base)
    part_graph = spent["graph"]
    full, _ = run(lake, seen, 3, known, None)
    return {
        "keys": keys, "first_s": round(first, 1), "full_s": round(full, 1), "incremental_s": round(part, 1),
        "rows_into_components": work["rows_into_components"], "touched_rows": touched_rows(lake, old),
        "full_graph_s": round(spent["graph"], 1), "incremental_graph_s": round(part_graph, 1),
        "same": same_people(lake), "incremental": work["incremental"] == 1,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--memory", default="5g", help="of the driver's Java; Python's comes on top")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as scratch:
        settings = {"spark.sql.warehouse.dir": f"{scratch}/warehouse", "spark.local.dir": scratch}
        env = Env(master="local[2]", driver_memory=given.memory, shuffle_partitions=8)
        spark = session.build(env, settings=settings)
        spark.sparkContext.setCheckpointDir(f"{scratch}/checkpoints")
        print(json.dumps(measured(Lake(spark, scratch, load(SHIPPED).tables), given.keys)), flush=True)
        spark.stop()


if __name__ == "__main__":
    main()
