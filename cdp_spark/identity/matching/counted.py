"""What of a file holds as long as its model does? How many records there were, and how common their values.

Both enter every score. Counted anew at each run, one new record would change the score of every pair there is, and with
it what an incremental run has to touch. So they are counted when a model is trained, and kept with it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.identity.matching.weights import RARE_BITS, Weighted, rest_share, share_sql, tf_columns

# a file that has doubled, or halved, is another file: what was counted would be wrong by a bit and more
MOST_GROWTH = 2
MOST_VALUES = 100_000  # of a column, the commonest first: what comes after them is hardly ever common


class Size(NamedTuple):
    """How many records there are, and how many pairs of them may be linked at all."""

    records: int
    pairs: float


class Counted(NamedTuple):
    """size: of the file.  shares: column -> {hash of a value: share of strangers who have it}.  rest: column -> the
    share of any value that is not among them.  Values stand by their hash alone, as they are somebody's."""

    size: Size
    shares: dict[str, dict[int, float]]
    rest: dict[str, float]


def size_of(records: DataFrame, distinct: tuple[str, ...]) -> Size:
    """Pairs inside a source that holds each person once are none that may be linked."""
    counts = {row["source"]: row["count"] for row in records.groupBy("source").count().collect()}
    whole = sum(counts.values())
    apart = sum(n * (n - 1) / 2 for source, n in counts.items() if source in distinct)
    return Size(whole, whole * (whole - 1) / 2 - apart)


def counted(records: DataFrame, model: list[Weighted], size: Size) -> Counted:
    """The file as it is now. Only values that are not at their rarest are listed: all others weigh the same."""
    columns, shares, rest = tf_columns(model), {}, {}
    totals = records.agg(*(F.count(column).alias(column) for column in columns)).first() if columns else {}
    for column, u in columns.items():
        share = F.expr(share_sql("n", totals[column], u)).alias("share")
        values = records.where(F.col(column).isNotNull()).groupBy(F.xxhash64(column).alias("hash"))
        common = values.agg(F.count(F.lit(1)).alias("n")).where("n > 2").select("hash", share)
        common = common.where(F.col("share") > u * 2**-RARE_BITS).orderBy(F.desc("share"), "hash").limit(MOST_VALUES)
        shares[column] = {row["hash"]: row["share"] for row in common.collect()}
        rest[column] = rest_share(totals[column], u)
    return Counted(size, shares, rest)


def holds(known: Counted, size: Size) -> bool:
    """Is a file of `size` still the one that was counted? While it is, new records change no score of old pairs."""
    few, many = sorted((known.size.records, size.records))
    return many <= MOST_GROWTH * few


def written(known: Counted) -> str:
    shares = {column: sorted(found.items()) for column, found in known.shares.items()}
    return json.dumps({"size": known.size, "shares": shares, "rest": known.rest}, sort_keys=True)


def read(text: str | None) -> Counted | None:
    """What `written` wrote; None for a model that is older than it."""
    if text is None:
        return None
    found = json.loads(text)
    shares = {column: {key: share for key, share in rows} for column, rows in found["shares"].items()}
    return Counted(Size(*found["size"]), shares, found["rest"])
