"""Who is in an audience, since when, and why is everybody else not?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.activation import Audience, Seed
from cdp_spark.governance.consent import consented

OUTCOMES = ("condition", "permission", "cap", "exclusion", "priority", "seed", "holdout", "min_size", "member")
INSIDE = ("member", "holdout")


def held_out(experiment: str, share: float, person: str = "person_id") -> Column:
    """True for a stable `share` of people: a hash of the experiment's name and the person, uniform on [0, 1).

    A person's id is that of its oldest record and outlives a merge, so the arm of the older part holds for the whole.
    """
    digest = F.sha2(F.concat_ws("|", F.lit(experiment), F.col(person)), 256)
    return F.conv(F.substring(digest, 1, 8), 16, 10).cast("double") / F.lit(2.0**32) < F.lit(share)


def judged(
    candidates: DataFrame, name: str, audience: Audience, state: DataFrame, out: dict[str, DataFrame] | None = None
) -> DataFrame:
    """One row per candidate: audience, person_id, purpose, consent_id, outcome.

    out: people (person_id) to be left out, by outcome (cap, exclusion, priority). Outcomes are given in the order of
    OUTCOMES, so that each person is counted for one reason only.
    """
    by = [F.expr(audience.seed.by).cast("double").alias("_by")] if audience.seed else []
    people = candidates.select("person_id", F.coalesce(F.expr(audience.where), F.lit(False)).alias("_matches"), *by)
    allowed = consented(people.where("_matches"), state, purpose=audience.purpose)
    found = people.join(allowed.select("person_id", "consent_id", F.lit(True).alias("_may")), "person_id", "left")
    outcome = F.when(~F.col("_matches"), "condition").when(F.col("_may").isNull(), "permission")
    for reason in ("cap", "exclusion", "priority"):
        if (left_out := (out or {}).get(reason)) is not None:
            marked = left_out.select("person_id", F.lit(True).alias(f"_{reason}")).distinct()
            found = found.join(marked, "person_id", "left")
            outcome = outcome.when(F.col(f"_{reason}"), reason)
    if audience.seed:
        found = _seeded(found.withColumn("_so_far", outcome), audience.seed)
        outcome = F.when(F.col("_so_far").isNotNull(), F.col("_so_far")).when(F.col("_seed").isNull(), "seed")
    held = held_out(audience.experiment or name, audience.holdout)
    outcome = outcome.when(held, "holdout").otherwise("member")
    purpose = F.lit(audience.purpose).alias("purpose")
    return found.select(F.lit(name).alias("audience"), "person_id", purpose, "consent_id", outcome.alias("outcome"))


def _seeded(people: DataFrame, seed: Seed) -> DataFrame:
    """`people` with _seed true for the first of those nothing speaks against (_so_far); without a score nobody is."""
    fit = people.where("_so_far IS NULL AND _by IS NOT NULL")
    score = F.asc("_by") if seed.lowest else F.desc("_by")
    first = fit.orderBy(score, "person_id").limit(seed.size).select("person_id", F.lit(True).alias("_seed"))
    return people.join(first, "person_id", "left")


def funnel(counts: dict[str, int], min_size: int) -> dict[str, int]:
    """People by outcome, `counts` of `judged` with every outcome named; below `min_size` nobody is a member."""
    found = {outcome: counts.get(outcome, 0) for outcome in OUTCOMES}
    fit = found["member"] + found["holdout"]
    if fit < min_size:
        found |= {"min_size": fit, "member": 0, "holdout": 0}
    return found


def members(rows: DataFrame, previous: DataFrame, as_of: date) -> DataFrame:
    """activation.members after this run: one row per audience and person who is or was in.

    rows: those of `judged` with outcome member or holdout. Who stays keeps `since`; who is gone gets `left`; who comes
    back starts anew. A second run of the same `as_of` undoes what the first one said and says it again.
    """
    arm = F.when(F.col("outcome") == "holdout", "holdout").otherwise("treatment")
    now = rows.select("audience", "person_id", "purpose", "consent_id", arm.alias("arm"), F.lit(True).alias("_in"))
    day = F.lit(as_of)
    # What an earlier try of this very day began never was.
    before = previous.where((F.col("since") < day) | F.col("left").isNull())
    old = before.select(
        "audience", "person_id", "since", "left", *(F.col(c).alias(f"_{c}") for c in ("purpose", "consent_id", "arm"))
    )
    both = old.join(now, ["audience", "person_id"], "full").where(F.col("_in") | (F.col("since") < day))
    stayed = F.col("_in") & (F.col("left").isNull() | (F.col("left") >= day))
    since = F.when(stayed | F.col("_in").isNull(), F.least("since", day)).otherwise(day)
    left = F.when(F.col("_in").isNull(), F.coalesce("left", day))
    kept = [F.when(F.col("_in"), F.col(c)).otherwise(F.col(f"_{c}")).alias(c) for c in ("arm", "consent_id", "purpose")]
    return both.select("audience", "person_id", since.alias("since"), left.alias("left"), *kept)


def changed(
    now: DataFrame, outcomes: DataFrame, past: DataFrame, heirs: DataFrame, small: Iterable[str], as_of: date
) -> DataFrame:
    """Rows of activation.changes: who entered or exited on `as_of`, and why.

    now: rows of `members`.  outcomes: audience, person_id, outcome of everybody judged.  past: rows of
    activation.changes.  heirs: see gold.people.heirs.  small: audiences in which fewer were fit than min_size.
    exited: the outcome that leaves them out; of who is no longer judged merged (a part of another person now), erased
    (nobody's now), or gone.  entered: first, or merged (a part was in before), else the reason of the last exit,
    which is over.  Who changes arms (the holdout's share did) exits the one and enters the other: holdout, treatment.
    """
    day, same = F.lit(as_of), ["audience", "person_id"]
    last = F.max_by(F.struct("change", "reason", "arm"), F.struct("as_of", F.col("change") == "entered")).alias("_last")
    before = past.where(F.col("as_of") < day).groupBy(*same).agg(last)
    inside = now.where(F.col("left").isNull()).join(before, same, "left")
    exits = _exits(now.where(F.col("left") == day), outcomes, heirs, small)
    parts = before.where("_last.change = 'entered'").join(heirs.where("person_id <> now"), "person_id")
    parts = parts.select("audience", F.col("now").alias("person_id"))
    entries = inside.where(F.col("since") == day).join(parts.distinct().withColumn("_part", F.lit(True)), same, "left")
    again = F.when(F.col("_last.change") == "exited", F.col("_last.reason"))
    entries = entries.withColumn("reason", F.coalesce(again, F.when(F.col("_part"), "merged"), F.lit("first")))
    other = (F.col("_last.change") == "entered") & (F.col("_last.arm") != F.col("arm"))
    moved = inside.where((F.col("since") < day) & other).withColumn("reason", F.col("arm"))
    came, went = F.lit("entered").alias("change"), F.lit("exited").alias("change")
    columns = (*same, "arm", "purpose", "consent_id", "reason")
    rows = [entries.select(*columns, came), moved.select(*columns, came), exits.select(*columns, went),
            moved.withColumn("arm", F.col("_last.arm")).select(*columns, went)]  # fmt: skip
    return reduce(DataFrame.unionByName, rows).withColumn("as_of", day)


def _exits(left: DataFrame, outcomes: DataFrame, heirs: DataFrame, small: Iterable[str]) -> DataFrame:
    """`left` with the reason, see `changed`."""
    rest = heirs.groupBy("person_id").agg(F.bool_or(F.col("now") == F.col("person_id")).alias("_same"))
    rows = left.join(outcomes, ["audience", "person_id"], "left").join(rest, "person_id", "left")
    gone = F.when(F.col("_same").isNull(), "erased").when(~F.col("_same"), "merged").otherwise("gone")
    # One who was judged fit and is out all the same: too few were, or the word changed since.
    fit = F.when(F.col("audience").isin(*small), "min_size").otherwise("permission")
    why = F.when(F.col("outcome").isin(*INSIDE), fit).otherwise(F.coalesce("outcome", gone))
    return rows.withColumn("reason", why)


def summary(funnels: DataFrame, as_of: date) -> dict[str, dict]:
    """{audience: {"members": n, "excluded": {reason: n}}} of a day; members are those who are treated."""
    found: dict[str, dict] = {}
    for row in funnels.where(F.col("as_of") == F.lit(as_of)).collect():
        one = found.setdefault(row["audience"], {"members": 0, "excluded": {}})
        if row["outcome"] == "member":
            one["members"] = row["people"]
        else:
            one["excluded"][row["outcome"]] = row["people"]
    return dict(sorted(found.items()))
