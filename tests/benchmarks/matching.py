"""`make bench-identity-match`: our scoring of candidate pairs beside Splink's own on Spark, same pairs, same model.

Both score the same checkpointed pairs of the same checkpointed records by the same comparisons and weights in one
session; each is forced by summing its match weights. Prints pairs per second and their ratio; ends with 1 where ours is
less than three times as fast in any round.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from cdp_spark import session
from cdp_spark.config.matching import filled
from cdp_spark.config.models import Env
from cdp_spark.identity.matching import blocking, records
from cdp_spark.identity.matching.comparisons import comparisons
from cdp_spark.identity.matching.counted import counted, size_of
from cdp_spark.identity.matching.score import scored, with_rarity
from cdp_spark.identity.matching.train import trained
from cdp_spark.identity.matching.weights import weighted
from tests.people import ADDRESS_BOOK, register
from tests.test_matching import customers


def candidates(rows: DataFrame, used: list[blocking.Rule], wanted: int) -> DataFrame:
    """Pairs (a, b) that blocking proposes, about as many as wanted."""
    keyed = blocking.sized(rows, used)
    limits = blocking.caps(keyed, used, 60, 20_000_000)
    return blocking.proposals(keyed, limits, ()).select("a", "b").distinct().limit(wanted)


def by_splink(spark: SparkSession, rows: DataFrame, pairs: DataFrame, model: dict) -> tuple[float, int]:
    """(seconds, pairs) of Splink's predict on Spark; only levenshtein is needed, which Spark has."""
    from splink import Linker, SparkAPI

    logging.getLogger("splink").setLevel(logging.ERROR)
    api = SparkAPI(spark_session=spark, register_udfs_automatically=False, break_lineage_method="persist")
    linker = Linker(api.register(rows, table_name="bench_records"), model, log_level=None)
    keys = pairs.select(F.lit("0").alias("match_key"), F.col("a").alias("join_key_l"), F.col("b").alias("join_key_r"))
    linker.table_management.register_blocked_pairs_for_predict(api.register(keys, table_name="bench_pairs"))
    begin = time.monotonic()
    found = linker.inference.predict(threshold_match_weight=-1_000).as_spark_dataframe()
    count = found.agg(F.sum("match_weight"), F.count(F.lit(1)).alias("n")).first()["n"]
    return time.monotonic() - begin, count


def by_us(rows: DataFrame, pairs: DataFrame, weights) -> tuple[float, int]:
    """(seconds, pairs) of ours, the shares of values included."""
    begin = time.monotonic()
    known = counted(rows, weights, size_of(rows, ()))
    found = scored(pairs, with_rarity(rows, weights, known), weights)
    count = found.agg(F.sum("total"), F.sum("own"), F.count(F.lit(1)).alias("n")).first()["n"]
    return time.monotonic() - begin, count


LEAST = 3  # times as fast as Splink


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=12_000)
    parser.add_argument("--pairs", type=int, default=450_000)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    spark = session.build(Env(driver_memory="3g"), settings={"spark.sql.warehouse.dir": tempfile.mkdtemp()})
    people, _ = register(1, asked.people, 0.6, 5)
    # checkpoints outlive the clearing of caches between rounds: neither side makes records or pairs anew
    rows = records.prepared(customers(spark, people), {}).localCheckpoint()
    columns = filled(set(ADDRESS_BOOK), {})
    compared = comparisons(columns, {})
    model = trained(rows.drop("event_time").limit(2_000).toPandas(), compared, seed=1)
    pairs = candidates(rows, blocking.rules(columns, {}), asked.pairs).localCheckpoint()
    print(f"{rows.count():,} records, {pairs.count():,} pairs, {len(compared)} comparisons", flush=True)
    plain = json.loads(json.dumps({key: value for key, value in model.items() if key != "u_pairs"}))
    found = []
    for number in range(asked.rounds):
        theirs, n = by_splink(spark, rows, pairs, plain)
        ours, m = by_us(rows, pairs, weighted(model, compared))
        found.append((number + 1, n, n / theirs, m, m / ours, (m / ours) / (n / theirs)))
        spark.catalog.clearCache()
    names = ["round", "splink_pairs", "splink_pairs_s", "pairs", "pairs_s", "ratio"]
    print(pd.DataFrame(found, columns=names).round(1).to_string(index=False))
    spark.stop()
    return verdict(min(one[-1] for one in found), all(one[1] == one[3] for one in found))


def verdict(ratio: float, same: bool) -> int:
    """Print whether what is asked is reached; 1 where it is not."""
    if same and ratio >= LEAST:
        print(f"reached: at least {LEAST} x as fast as Splink on the same pairs, in every round")
        return 0
    print(f"MISSED: {ratio:.2f} x as fast as Splink, asked are {LEAST}" if same else "MISSED: other pairs were scored")
    return 1


if __name__ == "__main__":
    sys.exit(main())
