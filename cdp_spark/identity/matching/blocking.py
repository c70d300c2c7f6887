"""Which pairs of records are compared at all? Rules, their keys, and the guards against keys that too many share."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.matching import prepared_names
from cdp_spark.identity.matching.comparison import Comparison

IDENTICAL = "identical"
COPY_BITS = 25.0


class Rule(NamedTuple):
    """Two records are a candidate where all `parts` (SQL over one prepared record) are equal and not null.

    words: `parts` is one array of words instead, and any two that follow one another in the alphabet are a key.
    most: records that may share a value, where that is less than the deployment's.
    """

    name: str
    parts: tuple[str, ...]
    needs: tuple[str, ...]
    words: bool = False
    most: int | None = None


def _rule(*parts: str) -> Rule:
    return Rule("+".join(parts), parts, parts)


YEAR, DAY = "substr(birth, 1, 4)", "substr(birth, 5, 4)"
DAY_MONTH = tuple(f"{one}(substr(birth, 5, 2), substr(birth, 7, 2))" for one in ("least", "greatest"))
HALF_ID = "cast(floor((length(national_id) + 1) / 2) as int)"
STREET = "substr(street, 1, 5)"
SOUNDS = ("family_sound", "given_sound")
# several weak keys rather than one strong one: a record with two or three errors must meet its like somewhere
SHIPPED = (
    _rule("national_id"),
    Rule("first half of national_id", (f"left(national_id, {HALF_ID})",), ("national_id",)),
    Rule("last half of national_id", (f"right(national_id, {HALF_ID})",), ("national_id",)),
    _rule("account_number"),
    _rule("email"),
    _rule("email_name"),
    _rule("phone"),
    _rule("address"),
    Rule("names, either way round", ("least(given, family)", "greatest(given, family)"), ("given", "family")),
    Rule("birth, day and month either way", (YEAR, *DAY_MONTH), ("birth",)),
    Rule("given+birth", ("given_root", "birth"), ("given", "birth")),
    _rule("family", "birth"),
    _rule("birth", "street"),
    _rule("family", "street"),
    Rule("given+street", ("given_root", "street"), ("given", "street")),
    Rule("sounds+year", (*SOUNDS, YEAR), ("family", "given", "birth")),
    Rule("sounds+day", ("family_sound", "substr(given, 1, 1)", DAY), ("family", "given", "birth")),
    Rule("starts+year", ("substr(family, 1, 3)", "substr(given, 1, 3)", YEAR), ("family", "given", "birth")),
    Rule("sounds+postcode", (*SOUNDS, "postcode"), ("family", "given", "postcode")),
    Rule("sounds+city", (*SOUNDS, "city"), ("family", "given", "city")),
    _rule("family", "city"),
    Rule("given+city", ("given_root", "city"), ("given", "city")),
    Rule("given+year", ("given_root", YEAR), ("given", "birth")),
    Rule("family+year", ("family", YEAR), ("family", "birth")),
    Rule("city+day", ("city", DAY), ("city", "birth")),
    Rule("postcode+day", ("postcode", DAY), ("postcode", "birth")),
    Rule("street start+postcode", (STREET, "postcode"), ("street", "postcode")),
    Rule("street start+city", (STREET, "city"), ("street", "city")),
    _rule("company"),
    Rule("rare family", ("family",), ("family",), most=20),
    Rule("rare given", ("given",), ("given",), most=20),
)


def rules(filled: set[str], extra: dict[str, str], said: tuple[tuple[str, ...], ...] | None = None) -> list[Rule]:
    """The rules that prepared records with the columns `filled` can be blocked by; `extra`: declared fields.

    said: conf's own rules, which stand in place of all others.
    """
    if said is not None:
        return [Rule("+".join(parts), tuple(prepared_names(part, extra) for part in parts), ()) for parts in said]
    found = [rule for rule in SHIPPED if set(rule.needs) <= filled]
    for name, kind in extra.items():
        column = f"x_{name}"
        if column in filled and kind == "code":
            found.append(Rule(column, (column,), (column,)))
    texts = [f"x_{name}" for name, kind in extra.items() if kind == "free_text"] + ["company"]
    return found + [
        Rule(f"{text}, two words", (f"{text}_words",), (text,), words=True) for text in texts if text in filled
    ]


def _keys(rule: Rule) -> Column:
    """Array of (rule, key) of one rule; of a text, its long words two by two, and the word where there is one only."""
    if rule.words:
        long = f"filter({rule.parts[0]}, word -> length(word) > 2)"
        two = f"transform(sequence(1, size({long}) - 1), n -> xxhash64(slice({long}, n, 2)))"
        hashes = f"CASE WHEN size({long}) > 1 THEN {two} ELSE transform({long}, word -> xxhash64(word)) END"
        there = f"size({long}) > 0"
    else:
        hashes = f"array(xxhash64({', '.join(rule.parts)}))"
        there = " AND ".join(f"({part}) IS NOT NULL" for part in rule.parts)
    keys = F.expr(f"CASE WHEN {there} THEN array_distinct({hashes}) ELSE cast(array() AS array<bigint>) END")
    return F.transform(keys, lambda key: F.struct(F.lit(rule.name).alias("rule"), key.alias("key")))


def sized(records: DataFrame, used: list[Rule]) -> DataFrame:
    """(subject_key, source, rule, key, n): keys of all rules with `n`, the number of records that share each."""
    every = records.select("subject_key", "source", F.explode(F.concat(*map(_keys, used))).alias("one"))
    flat = every.select("subject_key", "source", "one.rule", "one.key")
    return flat.withColumn("n", F.count(F.lit(1)).over(Window.partitionBy("rule", "key")))


def caps(keyed: DataFrame, used: list[Rule], max_block: int, max_pairs: int) -> dict[str, int]:
    """Of each rule, the records that may share one value: `max_block`, or fewer where it would propose too many pairs.

    The largest blocks are given up first, as they say least. Reads at most `max_block` numbers a rule.
    """
    blocks = keyed.where(F.col("n").between(2, max_block)).groupBy("rule", "n").count().collect()
    found = {}
    for rule in used:
        pairs, found[rule.name] = 0, min(max_block, rule.most or max_block)
        for n, records in sorted((row["n"], row["count"]) for row in blocks if row["rule"] == rule.name):
            pairs += records * (n - 1) // 2  # records / n blocks of n (n - 1) / 2 pairs
            if pairs > max_pairs:
                found[rule.name] = min(found[rule.name], n - 1)
                break
    return found


def _cap(limits: dict[str, int]) -> Column:
    """The cap of a row's rule."""
    return F.create_map(*(F.lit(part) for pair in limits.items() for part in pair))[F.col("rule")].cast("bigint")


def proposals(keyed: DataFrame, limits: dict[str, int], distinct_sources: tuple[str, ...]) -> DataFrame:
    """(rule, a, b): pairs with a key that few enough records share; no pair inside a distinct source."""
    small = keyed.where((F.col("n") > 1) & (F.col("n") <= _cap(limits)))
    one = small.select("rule", "key", F.col("subject_key").alias("a"), F.col("source").alias("source_a"))
    two = small.select("rule", "key", F.col("subject_key").alias("b"), F.col("source").alias("source_b"))
    apart = (F.col("source_a") != F.col("source_b")) | ~F.col("source_a").isin(list(distinct_sources))
    return one.join(two, ["rule", "key"]).where("a < b").where(apart).select("rule", "a", "b")


def copies(records: DataFrame, compared: list[Comparison], distinct_sources: tuple[str, ...]) -> DataFrame:
    """(key, first): records that say the same as an earlier key, and enough; `first` is the smallest such key.

    Equal in all that is compared, and so much of it that one in 2^COPY_BITS strangers would be: they are one person,
    and one of them is compared with the others of the world. A source that holds each person once has no copies.
    """
    columns = sorted({column for one in compared for column in one.needs})
    said = F.xxhash64(*(F.concat_ws("\u0001", F.lit(name), F.col(name)) for name in columns))
    bits = " + ".join(f"IF({one.columns[0]} IS NULL, 0, {one.says})" for one in compared)
    alone = F.when(F.col("source").isin(list(distinct_sources)), F.col("subject_key"))
    same = Window.partitionBy(said, alone)
    enough = records.where(F.expr(f"{bits} >= {COPY_BITS}"))
    rows = enough.select(F.col("subject_key").alias("key"), F.min("subject_key").over(same).alias("first"))
    return rows.where("key != first")


def report(keyed: DataFrame, limits: dict[str, int], copied: int) -> DataFrame:
    """(rule, pairs, refused_keys, largest, max_block): what each rule proposes, and the keys too common to be used.

    A value is never named, as it is somebody's: the size of its block says how common it is. copied: links between
    identical records, a row of their own.
    """
    blocks = keyed.groupBy("rule", "key").agg(F.first("n").alias("n"))
    small = F.col("n") <= _cap(limits)
    pairs = F.sum(F.when(small, (F.col("n") * (F.col("n") - 1) / 2).cast("bigint")).otherwise(0))
    found = blocks.groupBy("rule").agg(
        pairs.alias("pairs"),
        F.count_if(~small & (F.col("n") > 1)).alias("refused_keys"),
        F.max("n").alias("largest"),
        F.max(_cap(limits)).alias("max_block"),
    )
    same = found.limit(0).sparkSession.createDataFrame([(IDENTICAL, copied, 0, 0, None)], found.schema)
    return found.unionByName(same)
