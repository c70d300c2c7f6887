"""Which pairs of records are compared at all? Rules, their keys, and the guard against keys that too many share."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window


class Rule(NamedTuple):
    """Two records are a candidate where all `parts` (SQL over one prepared record) are equal and not null."""

    name: str
    parts: tuple[str, ...]
    needs: tuple[str, ...]


def _rule(*parts: str, needs: tuple[str, ...] = ()) -> Rule:
    return Rule("+".join(parts), parts, needs or parts)


YEAR, DAY = "substr(birth, 1, 4)", "substr(birth, 5, 4)"
SHIPPED = (
    _rule("national_id"),
    _rule("account_number"),
    _rule("email"),
    _rule("phone"),
    _rule("email_name"),
    _rule("given", "family"),
    _rule("given_root", "birth"),
    _rule("family", "birth"),
    Rule("birth turned", ("birth",), ("birth",)),
    Rule("given+address", ("given_root", "address"), ("given_root", "address")),
    Rule("family+address", ("family", "address"), ("family", "address")),
    Rule("family+street", ("family", "street"), ("family", "street")),
    Rule("given+street", ("given_root", "street"), ("given_root", "street")),
    Rule("birth+street", ("birth", "street"), ("birth", "street")),
    Rule("family+postcode+year", ("family", "postcode", YEAR), ("family", "postcode", "birth")),
    Rule("sounds+year", ("family_sound", "given_sound", YEAR), ("family", "given", "birth")),
    Rule("sounds+day", ("family_sound", "substr(given, 1, 1)", DAY), ("family", "given", "birth")),
    Rule("starts+year", ("substr(family, 1, 3)", "substr(given, 1, 3)", YEAR), ("family", "given", "birth")),
    Rule("sounds+postcode", ("family_sound", "given_sound", "postcode"), ("family", "given", "postcode")),
    Rule("sounds+city", ("family_sound", "given_sound", "city"), ("family", "given", "city")),
    Rule("turned names", ("least(given, family)", "greatest(given, family)"), ("given", "family")),
    _rule("family", "city"),
    _rule("given_root", "city"),
    Rule("given+year", ("given_root", YEAR), ("given_root", "birth")),
    Rule("family+year", ("family", YEAR), ("family", "birth")),
    Rule("city+day", ("city", DAY), ("city", "birth")),
    _rule("company"),
)


def rules(filled: set[str], extra: dict[str, str]) -> list[Rule]:
    """The rules that prepared records with the columns `filled` can be blocked by; `extra`: declared fields."""
    found = [rule for rule in SHIPPED if set(rule.needs) <= filled]
    for name, kind in extra.items():
        column = f"x_{name}"
        if column in filled and kind == "code":
            found.append(Rule(column, (column,), (column,)))
    texts = [f"x_{name}" for name, kind in extra.items() if kind == "free_text"] + ["company"]
    return found + [Rule(f"{text}, rare words", (f"{text}_words",), (text,)) for text in texts if text in filled]


def keys(records: DataFrame, rule: Rule) -> DataFrame:
    """(subject_key, source, rule, key) of one rule; of a text, two words that follow one another in the alphabet."""
    if rule.name.endswith("rare words"):
        words = F.expr(f"filter({rule.parts[0]}, word -> length(word) > 2)")
        pairs = F.transform(
            F.sequence(F.lit(1), F.size(words) - 1), lambda n: F.array_join(F.slice(words, n, F.lit(2)), " ")
        )
        key = F.explode(
            F.when(F.size(words) > 1, F.transform(pairs, F.xxhash64)).otherwise(F.transform(words, F.xxhash64))
        )
        rows = records.where(f"size({rule.parts[0]}) > 0")
    else:
        rows = records.where(" AND ".join(f"({part}) IS NOT NULL" for part in rule.parts))
        key = F.xxhash64(*(F.expr(part) for part in rule.parts))
    return rows.select("subject_key", "source", F.lit(rule.name).alias("rule"), key.alias("key")).distinct()


def sized(records: DataFrame, shipped: list[Rule]) -> DataFrame:
    """Keys of all rules with `n`, the number of records that share each."""
    every = reduce(lambda a, b: a.unionByName(b), (keys(records, rule) for rule in shipped))
    return every.withColumn("n", F.count(F.lit(1)).over(Window.partitionBy("rule", "key")))


def proposals(keyed: DataFrame, max_block: int, distinct_sources: tuple[str, ...]) -> DataFrame:
    """(rule, a, b): pairs with a key that at most `max_block` records share; no pair inside a distinct source."""
    small = keyed.where(F.col("n").between(2, max_block))
    one = small.select("rule", "key", F.col("subject_key").alias("a"), F.col("source").alias("source_a"))
    two = small.select("rule", "key", F.col("subject_key").alias("b"), F.col("source").alias("source_b"))
    apart = (F.col("source_a") != F.col("source_b")) | ~F.col("source_a").isin(list(distinct_sources))
    return one.join(two, ["rule", "key"]).where("a < b").where(apart).select("rule", "a", "b")


def report(keyed: DataFrame, max_block: int) -> DataFrame:
    """(rule, pairs, refused_keys, largest): what each rule proposes, and the keys that are too common to say anything.

    A value is never named, as it is somebody's: the size of its block says how common it is.
    """
    blocks = keyed.groupBy("rule", "key").agg(F.first("n").alias("n"))
    small = F.col("n") <= max_block
    pairs = F.sum(F.when(small, (F.col("n") * (F.col("n") - 1) / 2).cast("bigint")).otherwise(0))
    return blocks.groupBy("rule").agg(
        pairs.alias("pairs"), F.count_if(~small).alias("refused_keys"), F.max("n").alias("largest")
    )
