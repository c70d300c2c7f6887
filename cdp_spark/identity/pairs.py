"""Which two records are one person, or never are, because a matcher or a steward says so?"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from cdp_spark.config.identity import Link
from cdp_spark.config.source import Identity

MATCHES = "subject_key_a string, subject_key_b string, score double, rule string"
LINKS = "kind string, left_key string, right_key string, author string, reason string, expires date"
MATCH = "match"  # the namespace of probabilistic links
MUST, CANNOT = "must_link", "cannot_link"


def judged_matches(matches: DataFrame, keys: DataFrame, rules: Identity) -> DataFrame:
    """One row per pair: subject_key (the smaller), other_key, score, rule, and `code`, null where it may link.

    keys: (subject_key) of every record there is. Of several rows about a pair the best score counts. A column `refused`
    of matches, where there is one, says why the matcher itself lets a pair link nobody.
    """
    own = F.col("refused") if "refused" in matches.columns else F.lit(None).cast("string")
    low, high = F.least("subject_key_a", "subject_key_b"), F.greatest("subject_key_a", "subject_key_b")
    rows = matches.where("subject_key_a <> subject_key_b").select(
        low.alias("subject_key"),
        high.alias("other_key"),
        F.struct(F.col("score"), F.col("rule"), own.alias("refused")).alias("best"),
    )
    rows = rows.groupBy("subject_key", "other_key").agg(F.max("best").alias("best")).select(
        "subject_key", "other_key", "best.*"
    )  # fmt: skip
    rows = _both_known(rows, keys)
    weak = F.lit(False) if rules.match_min_score is None else F.col("score") < rules.match_min_score
    code = F.when(~F.col("known"), "unknown_key").when(weak, "low_score").otherwise(F.col("refused"))
    return rows.withColumn("code", code).drop("known", "refused")


def judged_links(links: DataFrame, keys: DataFrame, as_of: date) -> DataFrame:
    """The steward's rows as kind, subject_key, other_key, rule (by whom), and `code`, null where it holds.

    A row holds until the day before `expires`. Of equal rows one counts, the one that holds longest.
    """
    low, high = F.least("left_key", "right_key"), F.greatest("left_key", "right_key")
    rows = links.select("kind", low.alias("subject_key"), high.alias("other_key"), "author", "expires")
    last = F.coalesce("expires", F.lit("9999-12-31").cast("date"))
    rows = rows.groupBy("kind", "subject_key", "other_key").agg(
        F.max(F.struct(last.alias("until"), "author")).alias("x")
    )
    rows = _both_known(rows.select("kind", "subject_key", "other_key", "x.until", "x.author"), keys)
    code = F.when(F.col("until") <= F.lit(as_of), "expired_rule").when(~F.col("known"), "unknown_key")
    rule = F.concat(F.lit("by "), F.col("author"))
    return rows.select("kind", "subject_key", "other_key", rule.alias("rule"), code.alias("code"))


def refused(rows: DataFrame, namespace) -> DataFrame:
    """(subject_key, namespace, value, code, detail) of judged pairs that do not hold; value is the other key."""
    return rows.where("code IS NOT NULL").select(
        "subject_key",
        namespace.alias("namespace"),
        F.col("other_key").alias("value"),
        "code",
        F.col("rule").alias("detail"),
    )


def _both_known(pairs: DataFrame, keys: DataFrame) -> DataFrame:
    """`pairs` with `known`: both ends are records that there are."""
    one = keys.select("subject_key", F.lit(True).alias("a"))
    two = keys.select(F.col("subject_key").alias("other_key"), F.lit(True).alias("b"))
    found = pairs.join(one, "subject_key", "left").join(two, "other_key", "left")
    return found.withColumn("known", F.col("a").isNotNull() & F.col("b").isNotNull()).drop("a", "b")


def links_frame(spark: SparkSession, links: tuple[Link, ...]) -> DataFrame:
    """A steward's rows (conf/links.csv) as `pairs.LINKS`."""
    rows = [(one.kind, one.left, one.right, one.author, one.reason, one.expires) for one in links]
    return spark.createDataFrame(rows, LINKS)
