"""In which category will somebody buy next? One model over all categories, a row a person and category, as a step."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier

from cdp_spark.gold.people import then, with_history
from cdp_spark.gold.sums import exact_sum
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before
from ml import gates
from ml.dataset import HELD_OUT, allowed, fold
from ml.judge import LEAST
from ml.keep import registry
from ml.measures import calibration, measured
from ml.predict import scored
from ml.tracking import RegistryError
from ml.train import note, training, week_is_over
from ml.validate import chances, fit

MODEL = "interests"
MOST_CATEGORIES = 20  # by orders of the year
GAP_DAYS, HORIZON_DAYS, STEP_DAYS, EARLIER = 1, 30, 30, 2
ROWS = 200_000  # learned from, a fixed sample of people
NAMES = (
    "own_orders",
    "own_spend",
    "own_last_days",
    "own_views_90d",
    "orders",
    "last_order_days",
    "share",
    "popularity",
)
KEYS = ["person_id", "category", "as_of"]
RULES = ("own_orders", "own_last_days", "share", "popularity")  # one column alone: what must be beaten


def interest_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.interests of the day where they are due and the model beats the best single rule."""
    if not week_is_over(job, "ml.interests"):
        job.log("interests are not due")
        return
    members = job.lake.read("identity.members")
    orders = with_history(job.lake.read("silver.orders"), members).where("status = 'paid' AND category IS NOT NULL")
    events = with_history(job.lake.read("silver.events"), members).where("NOT is_bot AND category IS NOT NULL")
    newest = job.as_of - timedelta(GAP_DAYS + HORIZON_DAYS + 1)
    dates = [newest - timedelta(STEP_DAYS * n) for n in range(EARLIER + 1)]
    known = pairs(orders, events, [job.as_of, *dates])
    known = allowed(known, members, permitted).persist()
    past = _sampled(with_labels(known.where(F.col("as_of") < F.lit(job.as_of)), orders, dates, job.as_of)).toPandas()
    row, model = judged(past, newest, job.as_of, job.conf.base.seed)
    note(job, [row | {"version": _kept(job, row, model)}])
    if row["reason"]:
        job.warn(f"{MODEL}: nothing new: {row['reason']}")
    else:
        found = scored(known.where(F.col("as_of") == F.lit(job.as_of)), model, list(NAMES), KEYS)
        written = job.lake.write("ml.interests", found, on=job.as_of)
        job.log(f"{written.rows} people and categories; average precision {row['value']:.3f} ({row['baseline']:.3f})")
    known.unpersist()


def _kept(job: Job, row: dict, model) -> str | None:
    """The version in the registry; None where nothing was fitted, or where the registry is away."""
    if model is None:
        return None
    measures = {name: row[name] for name in ("value", "baseline", "brier") if row[name] is not None}
    about, models = {"as_of": str(job.as_of), "rows": row["rows"]}, registry(job)
    try:
        version = models.log(MODEL, model, list(NAMES), about, measures)
        if row["promoted"]:
            models.passed(MODEL, version)
            models.promote(MODEL, version)
        return version
    except RegistryError as error:
        job.warn(f"{MODEL}: it is not kept: {error}")
        return None


def pairs(orders: DataFrame, events: DataFrame, dates: list[date]) -> DataFrame:
    """One row per person who bought in the year before a date, category and date: person_id, category, as_of, NAMES.

    orders, events: rows of silver with `history`; paid ones and those of people. What was known before the date counts.
    """
    bought, seen = _dated(orders, dates, 365), _dated(events, dates, 90)
    own = bought.groupBy("person_id", "as_of", "category").agg(
        F.count_distinct("order_id").cast("double").alias("own_orders"),
        exact_sum("amount").alias("own_spend"),
        F.datediff("as_of", F.max("event_time")).cast("double").alias("own_last_days"),
    )
    people = bought.groupBy("person_id", "as_of").agg(
        F.count_distinct("order_id").cast("double").alias("orders"),
        F.datediff("as_of", F.max("event_time")).cast("double").alias("last_order_days"),
    )
    counts = own.groupBy("as_of", "category").agg(F.count("*").alias("buyers"))
    popular = counts.join(people.groupBy("as_of").agg(F.count("*").alias("all")), "as_of")
    popular = popular.withColumn("popularity", F.col("buyers") / F.col("all"))
    views = seen.groupBy("person_id", "as_of", "category").agg(F.count("*").cast("double").alias("own_views_90d"))
    grid = people.join(F.broadcast(popular.where(F.col("category").isin(_usual(orders, max(dates))))), "as_of")
    key = ["person_id", "as_of", "category"]
    found = (
        grid.join(own, key, "left").join(views, key, "left").na.fill(0.0, ["own_orders", "own_spend", "own_views_90d"])
    )
    found = found.withColumn("share", F.col("own_orders") / F.col("orders"))
    return found.select("person_id", "category", "as_of", *NAMES)


def _dated(rows: DataFrame, dates: list[date], days: int) -> DataFrame:
    found = rows.withColumn("as_of", F.explode(F.array(*(F.lit(day) for day in dates)))).where(
        known_before(F.col("as_of"))
    )
    found = found.where(F.col("event_time") >= F.date_sub("as_of", days).cast("timestamp"))
    return found.withColumn("person_id", then(F.col("as_of"))).where("person_id IS NOT NULL")


def _usual(orders: DataFrame, day: date) -> list[str]:
    """The MOST_CATEGORIES categories of the most orders in the year before `day`."""
    rows = orders.where(known_before(day)).where(F.col("event_time") >= F.date_sub(F.lit(day), 365).cast("timestamp"))
    counts = rows.groupBy("category").agg(F.count_distinct("order_id").alias("n")).orderBy(F.desc("n"), "category")
    return [row["category"] for row in counts.limit(MOST_CATEGORIES).collect()]


def with_labels(known: DataFrame, orders: DataFrame, dates: list[date], as_of: date) -> DataFrame:
    """`known` with label (1: a paid order in the category in the HORIZON_DAYS after the gap) and the person's fold."""
    rows, day = orders.where(known_before(as_of)), F.to_date("event_time")
    parts = []
    for one in dates:
        start = one + timedelta(GAP_DAYS)
        inside = rows.where((day > F.lit(start)) & (day <= F.lit(start + timedelta(HORIZON_DAYS))))
        parts.append(inside.select(then(one).alias("person_id"), "category", F.lit(one).alias("as_of")))
    bought = reduce(DataFrame.unionByName, parts).distinct().withColumn("label", F.lit(1))
    joined = known.join(bought, ["person_id", "category", "as_of"], "left")
    return joined.withColumn("label", F.coalesce("label", F.lit(0))).withColumn("fold", fold())


def _sampled(rows: DataFrame) -> DataFrame:
    rows = rows.persist()
    share = int(1000 * ROWS / max(rows.count(), 1))
    kept = rows if share >= 1000 else rows.where(F.pmod(F.xxhash64("person_id", F.lit(6)), F.lit(1000)) < max(share, 1))
    return kept.orderBy("as_of", "person_id", "category").drop("person_id", "category")


def estimator(seed: int) -> HistGradientBoostingClassifier:
    """Small boosted trees on log loss: their probabilities are calibrated as they are."""
    return HistGradientBoostingClassifier(
        learning_rate=0.08, max_iter=80, max_leaf_nodes=8, min_samples_leaf=100, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip


def judged(
    past: pd.DataFrame, newest: date, as_of: date, seed: int
) -> tuple[dict, HistGradientBoostingClassifier | None]:
    """(row of ml.trainings, the model): learned from earlier dates and other people, judged on the newest date."""
    days = pd.to_datetime(past["as_of"])
    held = ((days == pd.Timestamp(newest)) & (past["fold"] == HELD_OUT)).to_numpy()
    learned = ((days < pd.Timestamp(newest)) & (past["fold"] != HELD_OUT)).to_numpy()
    train, test = past[learned], past[held]
    counts = {"holdout_rows": len(test), "holdout_positives": int(test["label"].sum()), "holdout_on": newest}
    rows = (len(train), int(train["label"].sum()))
    if min(rows[1], counts["holdout_positives"]) < LEAST:
        reason = f"{rows[1]} and {counts['holdout_positives']} positives; {LEAST} are needed to learn and to be judged"
        return training(as_of, MODEL, "average_precision", None, None, None, reason, *rows) | counts, None
    names, truth = list(NAMES), test["label"].to_numpy(dtype=int)
    model = fit(estimator(seed), train[names], train["label"].to_numpy(dtype=int))
    found = measured(truth, chances(model, test[names]))
    alone = {}
    for name in RULES:
        way = 1 if gates.auc(train["label"].to_numpy(dtype=float), gates.filled(train[name])) >= 0.5 else -1
        alone[name] = measured(truth, pd.Series(way * gates.filled(test[name])).rank(pct=True).to_numpy())["pr_auc"]
    rule = max(RULES, key=lambda name: alone[name])
    off = calibration(truth, chances(model, test[names]))["in_the_large"]
    reason = None
    if found["pr_auc"] <= alone[rule]:
        reason = f"average precision {found['pr_auc']:.3f} does not beat {alone[rule]:.3f} of {rule} alone"
    elif abs(off) > 0.5:
        reason = f"its probabilities are off by {off:+.2f} in log-odds"
    row = training(as_of, MODEL, "average_precision", found["pr_auc"], alone[rule], rule, reason, *rows)
    row |= {"roc_auc": found["roc_auc"], "average_precision": found["pr_auc"], "brier": found["brier"]}
    return row | counts, model
