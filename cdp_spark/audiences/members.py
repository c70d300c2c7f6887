"""Who is in an audience, since when, and why is everybody else not?"""

from __future__ import annotations

from datetime import date

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


def changed(now: DataFrame, outcomes: DataFrame, as_of: date) -> DataFrame:
    """Rows of activation.changes: who entered or exited on `as_of`, and why.

    now: rows of `members`.  outcomes: audience, person_id, outcome of everybody judged. Who is no longer judged at all
    is `gone`: erased, or another person now.
    """
    day = F.lit(as_of)
    entered = now.where((F.col("since") == day) & F.col("left").isNull()).withColumn("reason", F.lit("condition"))
    left = now.where(F.col("left") == day).join(outcomes, ["audience", "person_id"], "left")
    # One who was judged fit and is out all the same: too few were, or the word changed since.
    why = F.when(F.col("outcome").isin(*INSIDE), "min_size").otherwise(F.coalesce("outcome", F.lit("gone")))
    columns = ("audience", "person_id", "arm", "purpose", "consent_id", "reason")
    rows = entered.select(*columns, F.lit("entered").alias("change")).unionByName(
        left.withColumn("reason", why).select(*columns, F.lit("exited").alias("change"))
    )
    return rows.withColumn("as_of", day)


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
