"""Watching champions: probabilities beside what came true, and alarms that are raised where the world has moved."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from cdp_spark.gold.people import then, with_history
from ml import drift, monitor
from ml.keep import registry
from ml.models import churn, propensity
from ml.score import Champion
from tests.shop import AS_OF, job_on, padded, shop
from tests.tables import table
from tests.test_ml import NAMES, TOY, people


def test_probabilities_are_put_beside_what_came_true_by_tenths(spark):
    scored = table(spark, """
        person_id string | percentile double | score double
        ann              | 1.0               | 0.9
        bob              | 0.95              | 0.7
        cyd              | 0.85              | 0.6
        dan              | 0.04              | 0.1
        eve              | 0.0               | 0.3
    """)  # fmt: skip
    labels = spark.createDataFrame([("ann", 1), ("bob", 0), ("cyd", 1), ("zoe", 1)], "person_id string, label int")
    both = {"tenth": 1, "rows": 2, "expected": pytest.approx(0.8), "found": 0.5}
    one = {"tenth": 2, "rows": 1, "expected": 0.6, "found": 1.0}
    absent = {"tenth": 10, "rows": 2, "expected": pytest.approx(0.2), "found": 0.0}
    assert monitor.came_true(scored, labels, propensity.SPEC) == [both, one, absent]  # no order is a no there
    assert monitor.came_true(scored, labels, churn.SPEC) == [both, one]  # and no answer here


def scores_of(spark, lake, day, value: float):
    """ml.scores of churn for everybody of the shop, all with one probability."""
    given = {"model": F.lit("churn"), "as_of": F.lit(day), "score": F.lit(value), "percentile": F.rand(3),
             "version": F.lit("1"), "snapshot": F.lit("s"), "stale": F.lit(False)}  # fmt: skip
    rows = lake.read("gold.profiles").select("person_id").withColumns(given)
    lake.write("ml.scores", padded(rows, lake, "ml.scores"), on=day)


def test_realised_labels_alarm_where_probabilities_were_wrong(spark, lake, conf, monkeypatch):
    shop(spark, lake)
    job, day = job_on(spark, lake, conf), churn.SPEC.observed(AS_OF)
    scores_of(spark, lake, day + timedelta(1), 0.05)  # a day too young: its labels are not known yet
    assert monitor.realised(job, churn, {"share": 0.05, "rows": 900}) == []
    orders = with_history(lake.read("silver.orders"), lake.read("identity.members"))
    told = churn.label(orders.withColumn("person_id", then(day)), day).toPandas()["label"]
    share, rows = told.mean(), len(told)
    assert 0.2 < share < 0.8 and rows > monitor.LEAST
    for said, alarm in ((0.05, True), (float(share), False)):
        scores_of(spark, lake, day, said)
        label, *tenths = monitor.realised(job, churn, {"share": said, "rows": 900})
        assert (label["kind"], label["name"], label["rows"], label["alarm"]) == ("label", f"of {day}", rows, alarm)
        assert label["found"] == pytest.approx(share) and label["expected"] == said
        assert len(tenths) == 10 and {one["kind"] for one in tenths} == {"realised"}
        assert all(one["alarm"] for one in tenths) if alarm else not any(one["alarm"] for one in tenths)
        assert np.average([one["found"] for one in tenths], weights=[one["rows"] for one in tenths]) == pytest.approx(
            share
        )
    monkeypatch.setattr(monitor, "LEAST", rows + 1)
    assert monitor.realised(job, churn, {"share": 0.05, "rows": 900}) == []  # of few people nothing is told


@pytest.mark.parametrize("times", [1, 3])
def test_a_shift_of_the_people_raises_the_alarm_and_chance_does_not(spark, lake, conf, times):
    job, names = job_on(spark, lake, conf), NAMES[:2]
    learned, today = people(1500, 1)[[*names, "label"]], people(800, 2)[names]
    fitted = TOY.estimator(1).fit(learned[names], learned["label"])
    chance = fitted.predict_proba(learned[names])[:, 1]
    bins = drift.frozen(learned[names].assign(**{drift.SCORE: chance}))
    models = registry(job)
    version = models.log("churn", fitted, names, {}, {}, metadata={"bins": bins, "share": 0.4, "rows": 1500})
    today["last_order_days"] *= times
    today = today.assign(person_id=[f"p{n}" for n in range(len(today))])
    score = pd.DataFrame({"person_id": today["person_id"], "model": "churn",
                          "score": fitted.predict_proba(today[names])[:, 1]})  # fmt: skip
    ready = [Champion(churn.SPEC, version, fitted, names, models.metadata("churn", version))]
    frames = (spark.createDataFrame(today), spark.createDataFrame(score))
    lines = monitor.watch(job, {"churn": churn}, *frames, ready)
    alarms = {line["name"] for line in lines if line["alarm"]}
    assert {line["name"] for line in lines} == {"score", *names} and {line["model"] for line in lines} == {"churn"}
    assert alarms == ({"score", "last_order_days"} if times == 3 else set())
    assert len(job.warnings) == len(alarms) and all("has moved: PSI" in told for told in job.warnings)
    run = models.client.get_model_version(models.registered("churn"), version).run_id
    assert [one.path for one in models.client.list_artifacts(run, "monitoring")] == [f"monitoring/{AS_OF}.png"]
