"""Who lives together? People who share an address, a phone or a device: a weaker grouping that merges nobody."""

from __future__ import annotations

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from cdp_spark.config.households import HouseholdRule
from cdp_spark.config.source import Identity
from cdp_spark.identity.components import components_by
from cdp_spark.silver.normalise import composed

SHARED = "person_id string, rank int, rule string, value string"
COLUMNS = ("household_id", "person_id", "rule", "valid_from", "valid_to")


def plain(col: Column) -> Column:
    """Letters, their marks and digits in lower case, street words shortened: '12, High Street' is '12 high st.'."""
    text = F.regexp_replace(F.lower(F.trim(composed(col.cast("string")))), "(straße|strasse|str\\.)", "str")
    text = F.regexp_replace(text, r"\b(street|str|st)\.?$", "st")
    for word, short in (("road", "rd"), ("avenue", "ave"), ("lane", "ln")):
        text = F.regexp_replace(text, rf"\b{word}\.?$", short)
    text = F.regexp_replace(text, r"[^\p{L}\p{M}\p{N}]+", "")
    return F.when(text != "", text)


def shared_values(profiles: DataFrame, identity: Identity) -> DataFrame:
    """(person_id, rank, rule, value) of the values that two people or more share, and at most the rule's `max_people`.

    rank counts the rules in their order, 0 is the strongest. Blocked values of the identity rules form no household.
    """
    parts = [
        _values(profiles, rule, identity).select(
            "person_id", F.lit(rank).alias("rank"), F.lit(name).alias("rule"), "value"
        )
        for rank, (name, rule) in enumerate(identity.households.rules.items())
    ]
    if not parts:
        return profiles.sparkSession.createDataFrame([], SHARED)
    rows = reduce(DataFrame.unionByName, parts).where("value IS NOT NULL").distinct()
    most = F.create_map(
        *(F.lit(x) for name, rule in identity.households.rules.items() for x in (name, rule.max_people))
    )
    sizes = rows.groupBy("rule", "value").agg(F.count(F.lit(1)).alias("n"))
    sizes = sizes.where((F.col("n") > 1) & (F.col("n") <= most[F.col("rule")])).drop("n")
    return rows.join(sizes, ["rule", "value"]).select("person_id", "rank", "rule", "value")


def _values(profiles: DataFrame, rule: HouseholdRule, identity: Identity) -> DataFrame:
    if rule.columns:
        return profiles.select("person_id", F.concat(*(plain(F.col(c)) for c in rule.columns)).alias("value"))
    held = profiles.select("person_id", F.explode(F.col("identifiers")[rule.namespace]).alias("value"))
    tidy = F.lower(F.trim("value"))
    blocked = tidy.isin([text.lower() for text in identity.blocked_values])
    for pattern in identity.blocked_patterns:
        blocked = blocked | tidy.rlike(pattern)
    return held.where(~blocked)


def groups(shared: DataFrame, identity: Identity) -> DataFrame:
    """(person_id, rule, part) of everybody who shares a value: rule is the strongest, part numbers the household.

    People who hang together over any values are one household. One larger than `max_people` falls apart: its weakest
    rule is left out, again and again; what one rule alone keeps too large is none.
    """
    rest, done = shared, []
    for rank in reversed(range(len(identity.households.rules))):
        rest = rest.where(F.col("rank") <= rank)
        named = _named_parts(rest, identity)
        fits = F.count(F.lit(1)).over(Window.partitionBy("part")) <= identity.households.max_people
        named = named.withColumn("fits", fits).localCheckpoint()
        done.append(named.where("fits").drop("fits"))
        rest = rest.join(named.where("NOT fits").select("person_id"), "person_id", "left_semi")
    if not done:
        return shared.select("person_id", "rule", F.lit(0).cast("bigint").alias("part")).limit(0)
    return reduce(DataFrame.unionByName, done)


def _named_parts(shared: DataFrame, identity: Identity) -> DataFrame:
    person, value = F.xxhash64(F.lit("p"), "person_id"), F.xxhash64(F.lit("v"), "rule", "value")
    found = components_by(identity, shared.select(person.alias("src"), value.alias("dst")))
    people = shared.groupBy("person_id").agg(F.min_by("rule", "rank").alias("rule"))
    rows = people.withColumn("node", person).join(found, "node")
    rows = rows.select("person_id", "rule", F.col("component").alias("part")).localCheckpoint()
    found.unpersist()
    return rows


def household_id(person_id: Column) -> Column:
    return F.concat(F.lit("h"), F.substring(F.sha2(F.concat(F.lit("cdp-household-v1|"), person_id), 256), 1, 20))


def named(found: DataFrame, ages: DataFrame, before: DataFrame, as_of: date) -> DataFrame:
    """(household_id, person_id, rule) of today's groups: an old household keeps its id, a new one takes its oldest's.

    found: from `groups`.  ages: (person_id, landing).  before: households before `as_of`, with their validity.
    An old id goes where its oldest member that is still in a household lives; of several that meet, the id of the
    oldest survives. The name of a new household comes from its oldest member; where that name was given before (its
    first holder moved out), the date makes it another.
    """
    age = F.struct("landing", "person_id")
    people = found.join(ages, "person_id", "left").withColumn("landing", F.coalesce("landing", F.lit(2**62)))
    old = before.where("valid_to IS NULL").select("person_id", F.col("household_id").alias("old"))
    heirs = (
        people.join(old, "person_id").groupBy("old").agg(F.min(age).alias("age"), F.min_by("part", age).alias("part"))
    )
    kept = heirs.groupBy("part").agg(F.min_by("old", F.struct("age", "old")).alias("kept"))
    first = people.groupBy("part").agg(F.min_by("person_id", age).alias("oldest"))
    given = before.select(F.col("household_id").alias("new")).distinct().withColumn("given", F.lit(True))
    again = household_id(F.concat("oldest", F.lit(f"|{as_of}")))
    names = first.withColumn("new", household_id(F.col("oldest"))).join(given, "new", "left").join(kept, "part", "left")
    name = F.coalesce("kept", F.when(F.col("given"), again).otherwise(F.col("new"))).alias("household_id")
    return people.join(names.select("part", name), "part").select("household_id", "person_id", "rule")


def history(before: DataFrame, now: DataFrame, as_of: date) -> DataFrame:
    """Households with validity: unchanged rows stay, others close at `as_of`, new ones begin there."""
    ended, held = before.where("valid_to IS NOT NULL"), before.where("valid_to IS NULL")
    same = held.join(now, ["household_id", "person_id", "rule"], "left_semi")
    closed = held.join(now, ["household_id", "person_id", "rule"], "left_anti").withColumn("valid_to", F.lit(as_of))
    fresh = now.join(held, ["household_id", "person_id", "rule"], "left_anti")
    fresh = fresh.withColumn("valid_from", F.lit(as_of)).withColumn("valid_to", F.lit(None).cast("date"))
    return reduce(DataFrame.unionByName, [frame.select(*COLUMNS) for frame in (ended, same, closed, fresh)])


def households(
    profiles: DataFrame, identifiers: DataFrame, members: DataFrame, before: DataFrame, identity: Identity, as_of: date
) -> DataFrame:
    """The table identity.households after the run of `as_of`; `before` as it stood, `members` with their validity."""
    shared = shared_values(profiles, identity).localCheckpoint()
    found = groups(shared, identity)
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    ages = identifiers.join(current, "subject_key").groupBy("person_id").agg(F.min("landing").alias("landing"))
    before = before.localCheckpoint()
    return history(before, named(found, ages, before, as_of), as_of)
