"""From a lake to scores: nothing from the future is learned from, and what is old or alarming is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from pyspark.sql import functions as F

from cdp_spark.config.source import Feature
from cdp_spark.gold.features import features, inputs
from cdp_spark.gold.people import with_history
from cdp_spark.governance.gates import closed
from ml import judge
from ml.dataset import HELD_OUT, allowed, examples, fold, labelled, read_back, snapshots, with_fold
from ml.keep import registry
from ml.models import churn, propensity
from ml.score import score_all
from ml.spec import shipped
from ml.train import train_due
from tests.shop import AS_OF, job_on, padded, shop
from tests.tables import table

LABELS = """
    person_id string | status string | event_time timestamp | known_at timestamp  | about string
    in               | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00 | before the snapshot of 2025-10-01
    in               | paid          | 2025-10-03 00:00:00  | 2025-10-03 01:00:00 | first day of the window
    gap              | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00 |
    gap              | paid          | 2025-10-02 23:59:59  | 2025-10-03 01:00:00 | within the gap
    last             | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00 |
    last             | paid          | 2025-12-31 23:59:59  | 2026-01-01 01:00:00 | last day of the window of 90 days
    after            | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00 |
    after            | paid          | 2026-01-01 00:00:00  | 2026-01-01 01:00:00 |
    dropped          | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00 |
    dropped          | cancelled     | 2025-10-10 10:00:00  | 2025-10-10 11:00:00 |
    new              | paid          | 2025-10-10 10:00:00  | 2025-10-10 11:00:00 |
"""


def test_labels(spark):
    orders, day = table(spark, LABELS), date(2025, 10, 1)
    stayed_away = {row["person_id"]: row["label"] for row in churn.label(orders, day).collect()}
    assert stayed_away == {"in": 0, "gap": 1, "last": 0, "after": 1, "dropped": 1}
    buys = {row["person_id"]: row["label"] for row in propensity.label(orders, day).collect()}
    assert buys == {"in": 1, "gap": 0, "last": 0, "after": 0, "dropped": 0, "new": 1}


def test_from_silver_to_scores(spark, lake, conf, monkeypatch):
    monkeypatch.setattr(judge, "baseline", lambda examples, metric: ("last_order_days", 0.0))  # all are promoted
    shop(spark, lake)
    job = job_on(spark, lake, conf)
    known = inputs(job)
    everybody = known.people
    lake.write("gold.features", features(known.frames, conf.features, [AS_OF], everybody, known.households), on=AS_OF)
    score_all(job)
    assert len(job.warnings) == len(shipped()) and not lake.exists("ml.scores")  # no champion, no scores

    train_due(job)
    trainings = {row["model"]: row for row in lake.read("ml.trainings").collect()}
    assert set(trainings) == set(shipped())
    for row in trainings.values():
        told = row.asDict()
        assert told["promoted"] and told["version"] == "1" and told["reason"] is None, told
    version = lake.version("ml.trainings")
    job.warnings.clear()
    train_due(job)  # not due again on the same day
    assert lake.version("ml.trainings") == version and job.warnings == []
    what_was_learned_from_is_kept(job, trainings)

    score_all(job, permitted=everybody.where("person_id < 'p5'"))
    found = lake.read("ml.scores").where("model = 'churn'").toPandas()
    eligible = lake.read("gold.features").where("last_order_days <= 180 and person_id < 'p5'").count()
    assert len(found) == eligible > 50 and found["version"].unique().tolist() == ["1"] and not found["stale"].any()
    lake.write("gold.features", lake.read("gold.features"), on=AS_OF)  # another version, the same content
    score_all(job, permitted=everybody.where("person_id < 'p5'"))
    again = lake.read("ml.scores").where("model = 'churn'").toPandas()
    pd.testing.assert_frame_equal(*(f.sort_values("person_id", ignore_index=True) for f in (found, again)))

    watched = lake.read("ml.monitoring").toPandas()
    assert {"score", *conf.features} >= set(watched["name"]) >= {"score", "last_order_days"}
    assert watched.groupby("model")["psi"].count().min() > 5

    for path in (Path(lake.root) / "_mlflow").rglob("model.pkl"):  # somebody changed the models: nothing is scored anew
        path.write_bytes(path.read_bytes() + b" ")
    job.warnings.clear()
    score_all(job)
    assert len(job.warnings) == len(shipped()) and all("SHA-256" in told for told in job.warnings)
    kept = lake.read("ml.scores").where("model = 'churn'").toPandas()
    assert len(kept) == len(found) and kept["stale"].all()


def what_was_learned_from_is_kept(job, trainings: dict) -> None:
    """The MLflow run names the training set, the set is there, and no sensitive feature is in it."""
    models = registry(job)
    for name, row in trainings.items():
        run = models.client.get_run(models.client.get_model_version(models.registered(name), "1").run_id)
        kept = job.lake.read("ml.examples").where(F.col("model") == name)
        again = read_back(kept, run.data.params["snapshot_id"], ["last_order_days"])
        assert run.data.params["snapshot_id"] == row["snapshot_id"]
        assert (again["part"] == "train").sum() == row["rows"] and len(again) == row["rows"] + row["holdout_rows"]
        assert kept.where("map_contains_key(features, 'age_years')").isEmpty()
        names = {one.path for one in models.client.list_artifacts(run.info.run_id, "report")}
        files = ("card.md", "roc.png", "precision_recall.png", "calibration.png", "lift.png")
        assert {f"report/{file}" for file in files} <= names
        tries = models.client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
        assert len(tries) == 3 and all("log_loss" in one.data.metrics for one in tries)
        card = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="report/card.md"))
        assert "- age_years: sensitive by declaration" in card.read_text()


@pytest.mark.slow
def test_what_was_not_good_enough_is_not_registered_twice_in_a_rerun(spark, lake, conf, monkeypatch):
    monkeypatch.setattr(judge, "baseline", lambda examples, metric: ("last_order_days", 2.0))  # nobody is that good
    shop(spark, lake)
    job = job_on(spark, lake, conf)
    train_due(job)
    first = sorted(map(str, lake.read("ml.trainings").collect()))
    assert first and not lake.read("ml.trainings").where("promoted").count()
    lake.write("silver.orders", lake.read("silver.orders"), on=lake.read("silver.orders").first()["ingest_date"])
    train_due(job)
    assert sorted(map(str, lake.read("ml.trainings").collect())) == first


def test_late_rows_change_no_training_row_and_nobody_is_in_both_parts(spark, lake, conf):
    shop(spark, lake, n=150)
    known = inputs(job_on(spark, lake, conf), past=True)
    frames = {name: frame.localCheckpoint() for name, frame in known.frames.items()}
    specs = {name: conf.features[name] for name in ("last_order_days", "orders_365d", "visit_days_90d")}
    small = [SimpleNamespace(SPEC=replace(m.SPEC, features=tuple(specs)), label=m.label) for m in (churn, propensity)]
    orders = frames["silver.orders"]
    late = orders.withColumn("known_at", F.lit(AS_OF).cast("timestamp")).withColumn(
        "order_id", F.expr("order_id || 'x'")
    )
    future = orders.withColumn("event_time", F.expr(f"timestamp'{AS_OF}' + interval 1 day"))
    more = frames | {"silver.orders": orders.unionByName(late).unionByName(future)}
    dates = sorted({day for model in small for day in snapshots(model.SPEC, AS_OF)})

    def learned_from(rows: dict, model) -> pd.DataFrame:
        frame = features(rows, specs, dates, known.people, known.households)
        return labelled(model, frame, rows["silver.orders"], list(specs), AS_OF).toPandas()

    for model in small:
        order = ["person_id", "as_of"]
        before, after = (learned_from(rows, model).sort_values(order, ignore_index=True) for rows in (frames, more))
        pd.testing.assert_frame_equal(before, after)
        newest = snapshots(model.SPEC, AS_OF)[0]
        held = set(before[(before["as_of"] == newest) & (before["fold"] == HELD_OUT)]["person_id"])
        rows = spark.createDataFrame(before)
        parts = examples(rows, model.SPEC, list(specs), AS_OF)
        learned = before[(before["as_of"] < newest) & (before["fold"] != HELD_OUT)]
        assert len(parts.train) == len(learned) and len(parts.holdout) == len(held)
        assert not held & set(learned["person_id"]) and "person_id" not in parts.train
        assert parts.features == ["last_order_days", "orders_365d"]  # nobody of this shop was ever on the web


MERGED = """
    subject_key string | person_id string | valid_from date | valid_to date
    crm/1              | ann              | 2025-06-01      |
    web/9              | bob              | 2025-06-01      | 2025-12-15
    web/9              | ann              | 2025-12-15      |
    crm/2              | cyd              | 2025-06-01      | 2026-01-10
"""


def test_a_merge_known_after_the_cut_off_does_not_leak(spark):
    orders = table(spark, """
        subject_key string | status string | event_time timestamp | known_at timestamp
        crm/1              | paid          | 2025-09-01 10:00:00  | 2025-09-01 11:00:00
        web/9              | paid          | 2025-09-20 10:00:00  | 2025-09-20 11:00:00
        web/9              | paid          | 2025-11-20 10:00:00  | 2025-11-20 11:00:00
        crm/2              | paid          | 2025-09-20 10:00:00  | 2025-09-20 11:00:00
    """)  # fmt: skip
    members, day = table(spark, MERGED), date(2025, 10, 1)
    seen = members.select("subject_key").distinct().selectExpr("*", "timestamp'2025-05-01' as first_seen")
    rows, people = with_history(orders, members), with_history(seen, members)
    spec = Feature(table="silver.orders", aggregate="count(*)", availability="known_at", default=0)
    known = features({"silver.orders": rows}, {"n": spec}, [day, AS_OF], people)
    found = {(row["person_id"], row["as_of"]): row["n"] for row in known.collect()}
    assert found == {("ann", day): 1, ("bob", day): 1, ("cyd", day): 1, ("ann", AS_OF): 3}
    # the label of October belongs to bob, who it was then, not to ann, who it turned out to be; permission is today's
    toy = SimpleNamespace(SPEC=replace(churn.SPEC, eligible="n > 0"), label=churn.label)
    snapshot = toy.SPEC.observed(AS_OF)
    assert snapshot > day
    known = features({"silver.orders": rows}, {"n": spec}, [snapshot], people)
    labels = labelled(toy, known, rows, ["n"], AS_OF).select("person_id", "label").collect()
    assert dict(map(tuple, labels)) == {"ann": 1, "bob": 0, "cyd": 1}
    yes = spark.createDataFrame([("ann",)], "person_id string")
    assert {row["person_id"] for row in allowed(known, members, yes).collect()} == {"ann", "bob"}
    assert allowed(known, members, yes.where("false")).collect() == []


def test_who_was_two_people_before_a_merge_is_in_one_fold(spark):
    days = {"a": ("2025-12-01", None), "b": ("2025-06-01", "2025-12-01")}  # each bN was found to be aN
    told = [(f"s{n}", f"{which}{n}", *days[which]) for n in range(60) for which in "ab"]
    members = spark.createDataFrame(told, "subject_key string, person_id string, valid_from string, valid_to string")
    ids = spark.range(200).select(F.concat(F.lit("c"), "id").alias("person_id")).withColumn("own", fold()).collect()
    (p, x, *_), b = [row[0] for row in ids if row["own"] == 4], next(row[0] for row in ids if row["own"] == 0)
    chain = [
        ("c1", p, "2025-06-01", None),
        ("c2", p, "2025-06-01", "2025-07-01"),
        ("c2", b, "2025-07-01", None),
        ("c3", x, "2025-06-01", "2025-08-01"),
        ("c3", p, "2025-08-01", None),
    ]  # p loses b, then takes in x
    members = members.unionByName(spark.createDataFrame(chain, members.schema))
    erased = spark.createDataFrame([("gone",)], "person_id string")
    people = members.select("person_id").distinct().unionByName(erased)
    rows = with_fold(people, members).withColumn("own", fold()).toPandas().set_index("person_id")
    one, two = (rows.loc[[f"{which}{n}" for n in range(60)]].reset_index(drop=True) for which in "ab")
    least = pd.concat([one["own"], two["own"]], axis=1).min(axis=1)
    assert (one["fold"] == least).all() and (two["fold"] == least).all() and (one["own"] != two["own"]).any()
    assert (rows.loc[[p, x, b], "fold"] == 0).all()
    assert rows.loc["gone", "fold"] == rows.loc["gone", "own"]


@pytest.mark.slow
def test_a_registry_that_is_away_leaves_old_scores_as_stale_and_trains_nothing(spark, lake, conf, tmp_path):
    shop(spark, lake, n=60)
    away = conf.model_copy(update={"env": conf.env.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"})})
    job = job_on(spark, lake, away)
    day = AS_OF - timedelta(3)
    old = {"model": F.lit("churn"), "as_of": F.lit(day), "score": F.lit(0.5), "percentile": F.lit(0.5),
           "version": F.lit("1"), "snapshot": F.lit("s"), "stale": F.lit(False)}  # fmt: skip
    known = inputs(job).people
    lake.write("ml.scores", padded(known.select("person_id").withColumns(old), lake, "ml.scores"), on=day)
    found = features(inputs(job).frames, conf.features, [AS_OF], known)
    lake.write("gold.features", found, on=AS_OF)
    train_due(job)
    score_all(job)
    assert not lake.exists("ml.trainings")
    assert len(job.warnings) == 3 and all("127.0.0.1:9" in told for told in job.warnings)
    kept = lake.read("ml.scores").toPandas()
    assert len(kept) == 60 and kept["stale"].all() and set(kept["as_of"]) == {day}


def test_the_gate_behind_scoring_closes_on_alarms_of_scores_and_labels_where_it_is_asked_to(spark, lake, conf):
    told = table(spark, """
        model string | kind string | name string | alarm boolean
        churn        | score       | score       | true
        churn        | feature     | orders_30d  | true
        propensity   | label       | of day      | true
        propensity   | realised    | tenth 1     | false
    """)  # fmt: skip
    given = {"as_of": F.lit(AS_OF), "version": F.lit("1"), "rows": F.lit(100).cast("bigint")}
    lake.write("ml.monitoring", padded(told.withColumns(given), lake, "ml.monitoring"), on=AS_OF)
    assert closed(job_on(spark, lake, conf), "score") == []  # nobody asked
    for most, lines in ((2, 0), (1, 1), (0, 1)):
        gates = conf.base.gates.model_copy(update={"drift_alarms_max": most})
        strict = conf.model_copy(update={"base": conf.base.model_copy(update={"gates": gates})})
        why = closed(job_on(spark, lake, strict), "score")
        assert len(why) == lines and (not why or "churn score, propensity label" in why[0])
