"""Whom does an audience's treatment move? Learned from its holdout where enough is known, as a step."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.audiences.measure import enrolled, outcomes
from cdp_spark.config.models import Conf, Decision
from cdp_spark.gold.people import with_person
from cdp_spark.job import Job
from ml import gates
from ml.dataset import feature_names
from ml.decide import with_selected
from ml.encode import pipeline
from ml.explain import SHARE, usual
from ml.importance import effects_moved
from ml.keep import TELLING
from ml.models import propensity
from ml.people import at_most, of_permitted
from ml.predict import scored
from ml.spec import ModelSpec
from ml.stale import mark_stale
from ml.train import training
from ml.uplift import Difference, learned
from ml.validate import chances
from ml.weekly import Made, digest, settled, week_is_over

DAYS = 30  # after entering, in which an order counts
LEAST = 100  # of both outcomes in the smaller arm
MOST = 100_000  # people learned from, a fixed sample
METRIC = "uplift_at_30"
RULES = {"response": "the likeliest buyers", "s_learner": "an S-learner"}  # the better one must be beaten
CHAMPION_SCORES = False  # fitted anew for each week's rows
SPEC = ModelSpec(name="uplift", eligible="true", horizon_days=DAYS)


def names(conf: Conf) -> list[str]:
    """What the registry calls these models: one for each audience that holds somebody out."""
    return [f"{SPEC.name}_{name}" for name, one in sorted(conf.audiences.items()) if one.holdout]


def effect_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.uplift of the day for each audience whose experiment tells whom it moves; why not is told."""
    if not week_is_over(job, "ml.uplift"):
        job.log("effects are not due")
        return
    tested = [name for name, one in job.conf.audiences.items() if one.holdout]
    if not tested:
        job.log("no audience holds anybody out: there is no experiment to learn from")
    fresh, found, learned_from = [], [], feature_names(SPEC, job.conf.features)
    people = job.lake.read("gold.features").where(F.col("as_of") == F.lit(job.as_of))
    people = of_permitted(people, permitted)
    for name in tested:
        rows = experiment(job, name, permitted)
        if rows.empty:
            job.log(f"uplift of {name}: nobody entered {DAYS} days ago; too early to tell")
            continue
        made = judged(rows, name, job.as_of, learned_from, job.conf.base.seed)
        if settled(job, made):
            fresh.append(name)
            found.append(moved(people, made, name, job.conf.base.decisions.get(SPEC.name)))
    keep(job, fresh, found)


def keep(job: Job, fresh: list[str], found: list[DataFrame]) -> None:
    """Write ml.uplift of the audiences `fresh`, one frame of `moved` each; the last rows of the others stay, stale."""
    known = job.lake.read("ml.uplift").where(F.col("as_of") <= F.lit(job.as_of))
    others = known.where(~F.col("audience").isin(fresh)) if fresh else known
    if found:
        told = reduce(DataFrame.unionByName, found).withColumn("stale", F.lit(False))
        today = others.where(F.col("as_of") == F.lit(job.as_of)).select(*told.columns)
        job.lake.write("ml.uplift", told.unionByName(today), on=job.as_of)
    for row in others.select("audience").distinct().orderBy("audience").collect():  # as many as audiences
        mark_stale(job, "ml.uplift", F.col("audience") == row["audience"])


def experiment(job: Job, audience: str, permitted: DataFrame | None) -> pd.DataFrame:
    """One row per person who entered DAYS ago: treated, label (ordered within DAYS), features of that day."""
    members = job.lake.read("identity.members")
    people = enrolled(job.lake.read("activation.changes"), members, audience)
    entered = people.where(F.date_add("entered", DAYS) <= F.lit(job.as_of)).where("arm <> 'mixed'")
    entered = of_permitted(entered, permitted)
    paid = with_person(job.lake.read("silver.orders"), members)
    bought = outcomes(entered, paid, "conversion", DAYS, job.as_of).select("person_id", F.col("value").alias("label"))
    known = job.lake.read("gold.features").withColumnRenamed("as_of", "entered")
    names = feature_names(SPEC, job.conf.features)
    rows = entered.join(bought, "person_id").join(known, ["person_id", "entered"])
    rows = rows.select("person_id", (F.col("arm") == "treatment").alias("treated"), "label", *names).persist()
    local = at_most(rows, MOST, salt=7).toPandas().sort_values("person_id", ignore_index=True).drop(columns="person_id")
    rows.unpersist()
    return local


def judged(rows: pd.DataFrame, audience: str, as_of: date, names: list[str], seed: int) -> Made:
    """The T-learner of all rows of an experiment, or why there is none.

    Its top must be moved further than that of the response ranker and of an S-learner, and by no chance (p < .05).
    """
    truth, treated = rows["label"].to_numpy(dtype=int), rows["treated"].to_numpy(dtype=bool)
    model, counts = f"{SPEC.name}_{audience}", (len(rows), int(truth.sum()))
    held = {"holdout_rows": counts[0], "holdout_positives": counts[1], "holdout_on": as_of - timedelta(DAYS)}
    fewest = min(int(((treated == arm) & (truth == value)).sum()) for arm in (True, False) for value in (0, 1))
    if fewest < LEAST:
        reason = f"{fewest} people in the smallest arm and outcome; {LEAST} are needed"
        return Made(training(as_of, model, METRIC, None, None, None, reason, *counts) | held)
    if flags := gates.leaks(rows, rows["label"], names):
        reason = "; ".join(f"feature {flag.why}" for flag in flags)
        return Made(training(as_of, model, METRIC, None, None, None, reason, *counts) | held)
    kinds = dict.fromkeys(names, "number")
    found = learned(rows[names], kinds, truth, treated, propensity.estimator, seed)["learners"]
    ours, best = found["t_learner"], max(RULES, key=lambda rule: found[rule]["uplift"])
    rule, least = RULES[best], found[best]["uplift"]
    reason = _too_weak(ours, rule, least)
    row = training(as_of, model, METRIC, ours["uplift"], least, rule, reason, *counts) | held
    pipe = pipeline(rows[names], kinds, propensity.estimator(seed), seed)
    fitted = Difference(pipe, pipe).fit(rows[names], truth, treated)
    notes = [f"p of a ranking that knows nothing: {ours['permutation_p']:.3f}", f"an order within {DAYS} days counts"]
    row |= {"snapshot_id": digest(rows, as_of)}
    leans = effects_moved(fitted, rows[names], seed)
    about = {"importance": leans, "importance_is": "Mean change of the effect without"}
    effect = chances(fitted, rows[names])
    memory = {"usual": usual(rows[list(leans)[:TELLING]]), "cut": float(np.quantile(effect, SHARE))}
    return Made(row, fitted, names, [ours["low"], ours["high"]], about=about, memory=memory, notes=notes)


def _too_weak(ours: dict, rule: str, least: float) -> str | None:
    top = f"the top 30 % move {ours['uplift']:.4f}"
    if not ours["uplift"] > least:  # NaN does not pass
        return f"{top}, no more than {least:.4f} of {rule}"
    return (
        f"{top}, which chance gives as well (p = {ours['permutation_p']:.2f})"
        if ours["permutation_p"] >= 0.05
        else None
    )


def moved(people: DataFrame, made: Made, audience: str, decision: Decision | None = None) -> DataFrame:
    """Rows of ml.uplift: everybody of `people` (gold.features) by how far the treatment would move them."""
    found = scored(people, made.model, list(made.names), ["person_id", "as_of"], made.memory)
    found = found.withColumnRenamed("score", "uplift").withColumn("audience", F.lit(audience))
    return with_selected(found, decision, "uplift", ["audience"])
