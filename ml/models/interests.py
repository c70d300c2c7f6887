"""In which category will somebody buy next? One model over all categories, a row a person and category, as a step."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from cdp_spark.config.models import Conf, Decision
from cdp_spark.gold.people import with_history
from cdp_spark.job import Job
from ml import gates
from ml.dataset import HELD_OUT, allowed, with_fold
from ml.decide import decided, with_selected
from ml.explain import SHARE, usual
from ml.importance import importance
from ml.judge import LEAST, against, too_early
from ml.keep import registry
from ml.measures import measured
from ml.pairs import GAP_DAYS, HORIZON_DAYS, KEYS, NAMES, pairs, sampled, with_labels
from ml.predict import failing, probabilities, scored
from ml.stale import mark_stale
from ml.tracking import RegistryError
from ml.train import training
from ml.validate import chances, details, fit
from ml.watch_interests import bins, watch_interests
from ml.weekly import Made, digest, lands_orders, settled, week_is_over

MODEL, METRIC = "interests", "average_precision"
CHAMPION_SCORES = True  # a model that does not pass the gate leaves the work to the one before it
STEP_DAYS, EARLIER = 30, 2
RULES = ("own_orders", "own_last_days", "share", "popularity")  # one column alone: what must be beaten


def names(conf: Conf) -> list[str]:
    """What the registry calls this model."""
    return [MODEL]


class Champion(NamedTuple):
    """Who gives the chances: a version, its classifier, and which of NAMES it takes, in its order.

    memory: what was kept at its training, {} for a model from elsewhere.
    """

    version: str
    fitted: Any
    wanted: list[str]
    memory: dict = {}


def interest_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.interests of the day: by who was chosen since the last rows; where they are due by the new model if the
    gate opens, else by the champion."""
    due, by = week_is_over(job, "ml.interests"), None
    if chosen_since(job):
        by = champion(job)
    elif not due:
        job.log("interests are not due")
        return
    if by or due:
        written_by(job, by, permitted)
    else:
        mark_stale(job, "ml.interests")


def written_by(job: Job, by: Champion | None, permitted: DataFrame | None) -> None:
    """Write ml.interests, and ml.monitoring of it, by `by`; None: learn first."""
    members = job.lake.read("identity.members")
    orders = with_history(job.lake.read("silver.orders"), members).where("status = 'paid' AND category IS NOT NULL")
    events = with_history(job.lake.read("silver.events"), members).where("NOT is_bot AND category IS NOT NULL")
    newest = job.as_of - timedelta(GAP_DAYS + HORIZON_DAYS + 1)
    dates = [] if by else [newest - timedelta(STEP_DAYS * n) for n in range(EARLIER + 1)]
    known = allowed(pairs(orders, events, [job.as_of, *dates]), members, permitted).persist()
    if by is None:
        before = with_fold(known.where(F.col("as_of") < F.lit(job.as_of)), members)
        past = sampled(with_labels(before, orders, dates, job.as_of)).toPandas()
        by = learned(job, past, newest)
    if by is None:
        mark_stale(job, "ml.interests")
    else:
        today = known.where(F.col("as_of") == F.lit(job.as_of))
        found = scored(today, by.fitted, by.wanted, KEYS, by.memory)
        found = with_selected(found, job.conf.base.decisions.get(MODEL), "score", ["category"])
        found = found.withColumns({"version": F.lit(by.version), "stale": F.lit(False)})
        written = job.lake.write("ml.interests", found, on=job.as_of)
        job.log(f"{written.rows} people and categories by version {by.version}")
        watch_interests(job, MODEL, by, today, orders)
    known.unpersist()


def learned(job: Job, past: pd.DataFrame, newest: date) -> Champion | None:
    """Who gives the chances after this training: the new model, else the champion, if there is one of use."""
    made, held = judged(past, newest, job.as_of, job.conf.base.seed, job.conf.base.decisions.get(MODEL))
    version = settled(job, beside_champion(job, made, held))
    return Champion(version, made.model, list(NAMES), made.memory) if version else champion(job)


def chosen_since(job: Job) -> bool:
    """Is the champion another one than that of the newest rows, as after a promotion or a rollback by hand?"""
    if not lands_orders(job):
        return False
    try:
        version = registry(job).champion(MODEL)
    except RegistryError:
        return False  # where rows are due, `settled` tells
    last = job.lake.read("ml.interests").agg(F.max("as_of").alias("day"), F.max_by("version", "as_of").alias("version"))
    row = last.first()
    past = row["day"] is not None and row["day"] > job.as_of  # a day made again: who is champion now knows its future
    return version is not None and version != row["version"] and not past


def beside_champion(job: Job, made: Made, held: pd.DataFrame) -> Made:
    """`made`, with a reason where it may not follow the present champion, as in `judge.against`.

    A champion that was fitted on these very rows, or that cannot be used, stops nobody. Who was champion before and is
    so no more, as after a rollback, is not made champion again by a rerun.
    """
    if made.model is None or made.row["reason"]:
        return made
    models, by = registry(job), champion(job)
    try:
        ours = models.version_of(MODEL, made.row["snapshot_id"])
        if by is None or by.version == ours:
            return made
        replaced = ours is not None and models.was_champion(MODEL, ours)
    except RegistryError:
        return made  # `settled` tells
    reason = f"version {ours} was champion, and version {by.version} was chosen since" if replaced else None
    return _with_reason(made, reason or no_better(job, by, made, held))


def no_better(job: Job, by: Champion, made: Made, held: pd.DataFrame) -> str | None:
    """Why `made` may not follow the champion, or None; also, with a warning, where the champion fails on `held`."""
    try:
        with threadpool_limits(1):  # as in `fit`
            theirs = probabilities(by.fitted, held[by.wanted].astype("float64"))
    except Exception as error:  # somebody else's code
        job.warn(f"{MODEL}: the new model is not compared with version {by.version}: {failing(error)}")
        return None
    return against(theirs, chances(made.model, held[list(NAMES)]), held, METRIC, job.conf.base.seed)


def _with_reason(made: Made, reason: str | None) -> Made:
    return made._replace(row=made.row | {"reason": reason, "promoted": reason is None})


def champion(job: Job) -> Champion | None:
    """The champion; None where there is none, or, with a warning, none that can score."""
    models = registry(job)
    try:
        version = models.champion(MODEL)
        fitted, wanted = models.load(MODEL, version) if version else (None, [])
        memory = models.metadata(MODEL, version) if version else {}
    except RegistryError as error:
        job.warn(f"{MODEL}: the champion cannot be used: {error}")
        return None
    if version is None:
        return None
    if reason := unfit(fitted, wanted):
        job.warn(f"{MODEL}: the champion, version {version}, cannot be used: {reason}")
        return None
    return Champion(version, fitted, wanted, memory)


def unfit(fitted: Any, wanted: list[str]) -> str | None:
    """Why a classifier cannot score people and categories, or None. It may take some of NAMES, in its own order."""
    if unknown := [name for name in wanted if name not in NAMES]:
        return f"it takes {', '.join(unknown)}; there are: {', '.join(NAMES)}"
    rows = pd.DataFrame([dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0) | {"own_last_days": np.nan}])
    try:  # own_last_days: null in each category in which somebody has bought nothing
        probabilities(fitted, rows[wanted])
        cloudpickle.dumps(fitted)
    except Exception as error:  # somebody else's code
        return f"it cannot score a row of zeros, or one without own_last_days: {failing(error)}"
    return None


def estimator(seed: int) -> HistGradientBoostingClassifier:
    """Small boosted trees on log loss: their probabilities are calibrated as they are."""
    return HistGradientBoostingClassifier(
        learning_rate=0.08, max_iter=80, max_leaf_nodes=8, min_samples_leaf=100, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip


def judged(
    past: pd.DataFrame, newest: date, as_of: date, seed: int, decision: Decision | None = None
) -> tuple[Made, pd.DataFrame]:
    """(what was learned from earlier dates and other people, rows of the newest date it was judged on)."""
    days = pd.to_datetime(past["as_of"])
    held = ((days == pd.Timestamp(newest)) & (past["fold"] == HELD_OUT)).to_numpy()
    learned = ((days < pd.Timestamp(newest)) & (past["fold"] != HELD_OUT)).to_numpy()
    train, test = past[learned], past[held]
    counts = {"holdout_rows": len(test), "holdout_positives": int(test["label"].sum()), "holdout_on": newest}
    rows = (len(train), int(train["label"].sum()))
    if reason := _too_few(train, test) or _leaking(train):
        return Made(training(as_of, MODEL, METRIC, None, None, None, reason, *rows) | counts), test
    truth = test["label"].to_numpy(dtype=int)
    model = fit(estimator(seed), train[list(NAMES)], train["label"].to_numpy(dtype=int))
    chance = chances(model, test[list(NAMES)])
    found, told, (rule, least) = measured(truth, chance), details(truth, chance, seed), _rule(train, test)
    off, value = told["calibration"]["in_the_large"], found["pr_auc"]
    reason = too_early(_other_people(train, seed), found["roc_auc"], (*rows, len(test), counts["holdout_positives"]))
    if reason is None and value <= least:
        reason = f"average precision {value:.3f} does not beat {least:.3f} of {rule} alone"
    elif reason is None and abs(off) > 0.5:
        reason = f"its probabilities are off by {off:+.2f} in log-odds"
    row = training(as_of, MODEL, METRIC, value, least, rule, reason, *rows) | counts
    row |= {"roc_auc": found["roc_auc"], METRIC: value, "brier": found["brier"]}
    row |= {"snapshot_id": digest(past[["as_of", "fold", "label", *NAMES]])}
    interval = told["intervals"].pop("pr_auc")
    told["intervals"] = {METRIC: interval}
    about = {"importance": importance(model, test[list(NAMES)], test["label"], seed)}
    if decision:
        about["decision"] = decided(decision, truth, chance)
    memory = {"usual": usual(train[list(NAMES)]), "cut": float(np.quantile(chance, SHARE))}
    memory |= {"bins": bins(test[list(NAMES)], chance), "share": float(truth.mean()), "rows": len(test)}
    return Made(row, model, NAMES, interval, told, about, memory), test


def _other_people(train: pd.DataFrame, seed: int) -> float | None:
    """ROC-AUC on people of one fold, of the dates learned from, by a model of the other folds; None where few are."""
    other, truth = (train["fold"] == train["fold"].min()).to_numpy(), train["label"].to_numpy(dtype=int)
    if min(truth[~other].sum(), (1 - truth[~other]).sum()) == 0:
        return None
    model = fit(estimator(seed), train.loc[~other, list(NAMES)], truth[~other])
    return gates.auc(truth[other], chances(model, train.loc[other, list(NAMES)]))


def _too_few(train: pd.DataFrame, test: pd.DataFrame) -> str | None:
    for part, rows in (("training", train), ("holdout", test)):
        positives = int(rows["label"].sum())
        if min(positives, len(rows) - positives) < LEAST:
            return f"{part}: {positives} positives of {len(rows)} rows; {LEAST} positives and negatives are needed"
    return None


def _leaking(train: pd.DataFrame) -> str | None:
    flags = gates.leaks(train, train["label"], list(NAMES))
    return "; ".join(f"feature {flag.why}" for flag in flags) or None


def _rule(train: pd.DataFrame, test: pd.DataFrame) -> tuple[str, float]:
    """(name, average precision) of the best column alone; which way it points is decided on the training rows."""
    truth, alone = test["label"].to_numpy(dtype=int), {}
    for name in RULES:
        way = 1 if gates.auc(train["label"].to_numpy(dtype=float), gates.filled(train[name])) >= 0.5 else -1
        alone[name] = measured(truth, pd.Series(way * gates.filled(test[name])).rank(pct=True).to_numpy())["pr_auc"]
    rule = max(RULES, key=alone.__getitem__)
    return rule, alone[rule]
