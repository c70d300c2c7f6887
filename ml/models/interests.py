"""In which category will somebody buy next? One model over all categories, a row a person and category, as a step."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier

from cdp_spark.config.models import Conf
from cdp_spark.gold.people import then, with_history
from cdp_spark.gold.sums import exact_sum
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before
from ml import gates
from ml.dataset import HELD_OUT, allowed, with_fold
from ml.judge import LEAST, against
from ml.keep import registry
from ml.measures import measured
from ml.predict import scored
from ml.stale import mark_stale
from ml.tracking import RegistryError
from ml.train import training
from ml.validate import chances, details, fit
from ml.weekly import Made, digest, settled, week_is_over

MODEL, METRIC = "interests", "average_precision"
CHAMPION_SCORES = True  # a model that does not pass the gate leaves the work to the one before it
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


def names(conf: Conf) -> list[str]:
    """What the registry calls this model."""
    return [MODEL]


def interest_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.interests of the day where they are due: by the new model if the gate opens, else by the champion."""
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
    before = with_fold(known.where(F.col("as_of") < F.lit(job.as_of)), members)
    past = _sampled(with_labels(before, orders, dates, job.as_of)).toPandas()
    made, held = judged(past, newest, job.as_of, job.conf.base.seed)
    version = settled(job, beside_champion(job, made, held))
    version, model = (version, made.model) if version else champion(job)
    if version is None:
        mark_stale(job, "ml.interests")
    else:
        found = scored(known.where(F.col("as_of") == F.lit(job.as_of)), model, list(NAMES), KEYS)
        found = found.withColumns({"version": F.lit(version), "stale": F.lit(False)})
        written = job.lake.write("ml.interests", found, on=job.as_of)
        job.log(f"{written.rows} people and categories by version {version}")
    known.unpersist()


def beside_champion(job: Job, made: Made, held: pd.DataFrame) -> Made:
    """`made`, with a reason where it may not follow the present champion, as in `judge.against`.

    A champion that was fitted on these very rows, or that cannot be used, stops nobody.
    """
    if made.model is None or made.row["reason"]:
        return made
    version, theirs = champion(job)
    try:
        if theirs is None or version == registry(job).version_of(MODEL, made.row["snapshot_id"]):
            return made
    except RegistryError:
        return made  # `settled` tells
    rows, seed = held[list(NAMES)], job.conf.base.seed
    reason = against(chances(theirs, rows), chances(made.model, rows), held, METRIC, seed)
    return made._replace(row=made.row | {"reason": reason, "promoted": reason is None})


def champion(job: Job) -> tuple[str | None, Any]:
    """(version, classifier) of the champion; (None, None) where there is none, or, with a warning, none of use."""
    models = registry(job)
    try:
        version = models.champion(MODEL)
        fitted, learned_from = models.load(MODEL, version) if version else (None, list(NAMES))
    except RegistryError as error:
        job.warn(f"{MODEL}: the champion cannot be used: {error}")
        return None, None
    if learned_from != list(NAMES):
        job.warn(f"{MODEL}: the champion, version {version}, takes other columns than {', '.join(NAMES)}")
        return None, None
    return version, fitted


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
    """`known` with label: 1 is a paid order in the category in the HORIZON_DAYS after the gap."""
    rows, day = orders.where(known_before(as_of)), F.to_date("event_time")
    parts = []
    for one in dates:
        start = one + timedelta(GAP_DAYS)
        inside = rows.where((day > F.lit(start)) & (day <= F.lit(start + timedelta(HORIZON_DAYS))))
        parts.append(inside.select(then(one).alias("person_id"), "category", F.lit(one).alias("as_of")))
    bought = reduce(DataFrame.unionByName, parts).distinct().withColumn("label", F.lit(1))
    joined = known.join(bought, ["person_id", "category", "as_of"], "left")
    return joined.withColumn("label", F.coalesce("label", F.lit(0)))


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


def judged(past: pd.DataFrame, newest: date, as_of: date, seed: int) -> tuple[Made, pd.DataFrame]:
    """(what was learned from earlier dates and other people, rows of the newest date it was judged on)."""
    days = pd.to_datetime(past["as_of"])
    held = ((days == pd.Timestamp(newest)) & (past["fold"] == HELD_OUT)).to_numpy()
    learned = ((days < pd.Timestamp(newest)) & (past["fold"] != HELD_OUT)).to_numpy()
    train, test = past[learned], past[held]
    counts = {"holdout_rows": len(test), "holdout_positives": int(test["label"].sum()), "holdout_on": newest}
    rows = (len(train), int(train["label"].sum()))
    if min(rows[1], counts["holdout_positives"]) < LEAST:
        reason = f"{rows[1]} and {counts['holdout_positives']} positives; {LEAST} are needed to learn and to be judged"
        return Made(training(as_of, MODEL, METRIC, None, None, None, reason, *rows) | counts), test
    truth = test["label"].to_numpy(dtype=int)
    model = fit(estimator(seed), train[list(NAMES)], train["label"].to_numpy(dtype=int))
    chance = chances(model, test[list(NAMES)])
    found, told, (rule, least) = measured(truth, chance), details(truth, chance, seed), _rule(train, test)
    off, value = told["calibration"]["in_the_large"], found["pr_auc"]
    reason = None
    if value <= least:
        reason = f"average precision {value:.3f} does not beat {least:.3f} of {rule} alone"
    elif abs(off) > 0.5:
        reason = f"its probabilities are off by {off:+.2f} in log-odds"
    row = training(as_of, MODEL, METRIC, value, least, rule, reason, *rows) | counts
    row |= {"roc_auc": found["roc_auc"], METRIC: value, "brier": found["brier"]}
    row |= {"snapshot_id": digest(past[["as_of", "fold", "label", *NAMES]])}
    interval = told["intervals"].pop("pr_auc")
    told["intervals"] = {METRIC: interval}
    return Made(row, model, NAMES, interval, told), test


def _rule(train: pd.DataFrame, test: pd.DataFrame) -> tuple[str, float]:
    """(name, average precision) of the best column alone; which way it points is decided on the training rows."""
    truth, alone = test["label"].to_numpy(dtype=int), {}
    for name in RULES:
        way = 1 if gates.auc(train["label"].to_numpy(dtype=float), gates.filled(train[name])) >= 0.5 else -1
        alone[name] = measured(truth, pd.Series(way * gates.filled(test[name])).rank(pct=True).to_numpy())["pr_auc"]
    rule = max(RULES, key=alone.__getitem__)
    return rule, alone[rule]
