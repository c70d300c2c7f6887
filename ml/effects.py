"""Whom does an audience's treatment move? Learned from its holdout where enough is known, as a step."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.audiences.measure import enrolled, outcomes
from cdp_spark.gold.people import with_person
from cdp_spark.job import Job
from ml.dataset import feature_names
from ml.encode import pipeline
from ml.models import propensity
from ml.predict import scored
from ml.spec import ModelSpec
from ml.train import note, training, week_is_over
from ml.uplift import TREATED, learned
from ml.validate import fit

DAYS = 30  # after entering, in which an order counts
LEAST = 100  # of both outcomes in the smaller arm
MOST = 100_000  # people learned from, a fixed sample
SPEC = ModelSpec(name="uplift", eligible="true", horizon_days=DAYS)


def effect_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.uplift of the day for each audience whose experiment tells whom it moves; why not is logged."""
    if not week_is_over(job, "ml.uplift"):
        job.log("effects are not due")
        return
    tested = [name for name, one in job.conf.audiences.items() if one.holdout]
    if not tested:
        job.log("no audience holds anybody out: there is no experiment to learn from")
        return
    found, told = [], []
    people = job.lake.read("gold.features").where(F.col("as_of") == F.lit(job.as_of))
    if permitted is not None:
        people = people.join(permitted.select("person_id").distinct(), "person_id", "left_semi")
    for name in tested:
        rows = experiment(job, name, permitted)
        row, model = judged(rows, name, job)
        if row is None:
            continue
        told.append(row)
        if row["reason"] is None:
            found.append(moved(people, model, feature_names(SPEC, job.conf.features), name))
        else:
            job.warn(f"uplift of {name}: {row['reason']}")
    note(job, told)
    if found:
        job.lake.write("ml.uplift", reduce(DataFrame.unionByName, found), on=job.as_of)


def experiment(job: Job, audience: str, permitted: DataFrame | None) -> pd.DataFrame:
    """One row per person who entered DAYS ago: treated, label (ordered within DAYS), features of that day."""
    members = job.lake.read("identity.members")
    people = enrolled(job.lake.read("activation.changes"), members, audience)
    entered = people.where(F.date_add("entered", DAYS) <= F.lit(job.as_of)).where("arm <> 'mixed'")
    if permitted is not None:
        entered = entered.join(permitted.select("person_id").distinct(), "person_id", "left_semi")
    paid = with_person(job.lake.read("silver.orders"), members)
    bought = outcomes(entered, paid, "conversion", DAYS, job.as_of).select("person_id", F.col("value").alias("label"))
    known = job.lake.read("gold.features").withColumnRenamed("as_of", "entered")
    names = feature_names(SPEC, job.conf.features)
    rows = entered.join(bought, "person_id").join(known, ["person_id", "entered"])
    rows = rows.select("person_id", (F.col("arm") == "treatment").alias("treated"), "label", *names).persist()
    share = int(1000 * MOST / max(rows.count(), 1))
    kept = rows if share >= 1000 else rows.where(F.pmod(F.xxhash64("person_id", F.lit(7)), F.lit(1000)) < max(share, 1))
    local = kept.toPandas().sort_values("person_id", ignore_index=True).drop(columns="person_id")
    rows.unpersist()
    return local


def judged(rows: pd.DataFrame, audience: str, job: Job) -> tuple[dict | None, object]:
    """(row of ml.trainings, the S-learner of all rows); (None, None) where it is too early to tell anything.

    The S-learner must move more people at the top than the response ranker, and more than chance (p < .05).
    """
    if rows.empty:
        job.log(f"uplift of {audience}: nobody entered {DAYS} days ago; too early to tell")
        return None, None
    truth, treated = rows["label"].to_numpy(dtype=int), rows["treated"].to_numpy(dtype=bool)
    fewest = min(int(((treated == arm) & (truth == value)).sum()) for arm in (True, False) for value in (0, 1))
    if fewest < LEAST:
        job.log(f"uplift of {audience}: {fewest} people in the smallest arm and outcome; {LEAST} are needed")
        return None, None
    names, seed = feature_names(SPEC, job.conf.features), job.conf.base.seed
    kinds = dict.fromkeys(names, "number")
    found = learned(rows[names], kinds, truth, treated, lambda one: propensity.estimator(one), seed)["learners"]
    ours, rule = found["s_learner"], found["response"]
    reason = None
    if ours["uplift"] <= rule["uplift"]:
        reason = f"the top 30 % move {ours['uplift']:.4f}, no more than {rule['uplift']:.4f} of the likeliest buyers"
    elif ours["permutation_p"] >= 0.05:
        reason = f"the top 30 % move {ours['uplift']:.4f}, which chance gives as well (p = {ours['permutation_p']:.2f})"
    figures = (ours["uplift"], rule["uplift"], "likeliest buyers", reason, len(rows), int(truth.sum()))
    row = training(job.as_of, f"uplift_{audience}", "uplift_at_30", *figures)
    held = {"holdout_rows": len(rows), "holdout_positives": int(truth.sum()), "holdout_on": job.as_of - timedelta(DAYS)}
    with_arm = rows[names].assign(**{TREATED: treated.astype(float)})
    model = fit(pipeline(with_arm, kinds | {TREATED: "number"}, propensity.estimator(seed), seed), with_arm, truth)
    return row | held, Difference(model)


class Difference:
    """What the treatment adds to the probability, by an S-learner: P(label | treated) - P(label | not)."""

    def __init__(self, model):
        self.model = model

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        """Shape (n, 2): its second column is the difference, -1 to 1."""
        with_it, without = (self.model.predict_proba(rows.assign(**{TREATED: v}))[:, 1] for v in (1.0, 0.0))
        return np.column_stack([without - with_it, with_it - without])


def moved(people: DataFrame, model: object, names: list[str], audience: str) -> DataFrame:
    """Rows of ml.uplift: everybody of `people` (gold.features) by how far the treatment would move them."""
    return (
        scored(people, model, names, ["person_id", "as_of"])
        .withColumnRenamed("score", "uplift")
        .withColumn("audience", F.lit(audience))
    )
