"""Interests: who may give the chances, and what is too little to learn from or to be judged on."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from ml import drift
from ml.models import interests
from ml.monitor import drifted
from ml.predict import Foreign
from ml.validate import chances, fit

AS_OF = date(2026, 2, 1)


def past(n: int = 3000) -> tuple[pd.DataFrame, date]:
    """People and categories of two dates, in all folds: who bought there before buys there again."""
    rng, newest = np.random.default_rng(2), AS_OF - timedelta(32)
    rows = pd.DataFrame(rng.normal(size=(n, len(interests.NAMES))), columns=list(interests.NAMES))
    label = (rng.random(n) < 1 / (1 + np.exp(1 - rows["own_orders"] - rows["share"]))).astype(int)
    day = np.where(np.arange(n) % 2, newest, newest - timedelta(30))
    return rows.assign(as_of=day, fold=np.arange(n) % 10 // 2, label=label), newest


def test_one_class_or_too_few_of_it_is_a_reason_and_no_failure():
    rows, newest = past()
    made, _ = interests.judged(rows, newest, AS_OF, 1)
    assert made.model is not None and made.row["holdout_positives"] > 100
    held = (rows["as_of"] == newest) & (rows["fold"] == interests.HELD_OUT)
    for here, part in ((held, "holdout"), (~held, "training")):
        for value in (0, 1):
            made, _ = interests.judged(rows.assign(label=rows["label"].mask(here, value)), newest, AS_OF, 1)
            assert made.model is None and made.row["reason"].startswith(f"{part}: "), (part, value)
            assert "100 positives and negatives are needed" in made.row["reason"]


def test_who_is_far_better_on_other_people_than_later_has_learned_from_the_future():
    rows, newest = past()
    turned = rows.assign(label=np.where(rows["as_of"] == newest, 1 - rows["label"], rows["label"]))
    made, _ = interests.judged(turned, newest, AS_OF, 1)
    assert made.row["reason"].startswith("random split far above time split") and not made.row["promoted"]


def test_a_feature_that_has_seen_the_answer_is_a_reason_and_no_model():
    rows, newest = past()
    made, _ = interests.judged(rows.assign(own_spend=rows["label"] * 9.0), newest, AS_OF, 1)
    assert made.model is None and "own_spend: alone it has a ROC-AUC of 1.000" in made.row["reason"]


def test_rows_like_those_of_the_training_raise_no_alarm_and_others_do():
    rows, newest = past()
    rows["popularity"] = np.arange(len(rows)) % 5 / 10  # of five categories
    made, held = interests.judged(rows, newest, AS_OF, 1)
    bins = made.memory["bins"]
    assert made.memory["share"] == held["label"].mean() and "popularity" not in bins
    today = held.assign(**{drift.SCORE: chances(made.model, held[list(interests.NAMES)])})
    moved = today.assign(own_orders=today["own_orders"] + 2)
    alarms = [{line["name"] for line in drifted(one, bins, 300) if line["alarm"]} for one in (today, moved)]
    assert alarms == [set(), {"own_orders"}]


def test_a_model_from_elsewhere_may_take_some_columns_and_must_give_chances():
    rows, _ = past(300)
    some = ["share", "own_orders"]
    assert interests.unfit(fit(LogisticRegression(), rows[some], rows["label"]), some) is None
    assert "it takes age; there are: own_orders" in interests.unfit(None, ["share", "age"])
    every = list(interests.NAMES)
    blind = fit(LogisticRegression(), rows[every], rows["label"])  # no missing value for it
    assert "it raises ValueError" in interests.unfit(blind, every)
    odd = Foreign(SimpleNamespace(predict=lambda frame: np.full(len(frame), 7.0)))
    assert "no probability" in interests.unfit(odd, some)


def test_a_champion_that_fails_on_the_holdout_stops_nobody():
    rows, _ = past(300)
    job = SimpleNamespace(warnings=[], conf=SimpleNamespace(base=SimpleNamespace(seed=1)))
    job.warn = job.warnings.append
    by = interests.Champion("3", Foreign(SimpleNamespace(predict=lambda frame: frame["share"].to_numpy())), ["share"])
    assert interests.no_better(job, by, interests.Made({}, None), rows) is None
    assert job.warnings == ["interests: the new model is not compared with version 3: it gives what is no probability"]
