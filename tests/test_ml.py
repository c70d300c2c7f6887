"""Training and scoring: nothing from the future, nobody judged on who trained, nothing promoted that is not better."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier

from cdp_spark.cli import main
from cdp_spark.gold.features import features, inputs
from cdp_spark.job import Job
from ml import judge
from ml.dataset import HELD_OUT, Examples, examples, labelled, snapshots
from ml.models import churn, propensity
from ml.score import champion, score_all, scores
from ml.spec import ModelSpec, shipped
from ml.tracking import Registry, RegistryError
from ml.train import train_due
from tests.tables import table

AS_OF = date(2026, 2, 1)
NAMES = ["last_order_days", "orders_365d", "mood"]
SPEC = ModelSpec(name="toy", eligible="orders_365d > 0", horizon_days=30, metric="roc_auc")
TOY = SimpleNamespace(SPEC=SPEC, estimator=lambda seed: HistGradientBoostingClassifier(max_iter=30, random_state=seed))


def people(n: int, seed: int) -> pd.DataFrame:
    """Rows whose label hangs on recency and, unknown to the rule, on mood; some features are null."""
    rng = np.random.default_rng(seed)
    days, orders, mood = rng.exponential(60, n), rng.poisson(3, n).astype(float), rng.normal(size=n)
    chance = 1 / (1 + np.exp(days / 60 - mood))
    label = (rng.random(n) < chance).astype(int)
    mood[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame({"label": label, "last_order_days": days, "orders_365d": orders, "mood": mood})


def toy(train=2000, holdout=800) -> Examples:
    return Examples(people(train, 1), people(holdout, 2), NAMES)


@pytest.fixture
def models(tmp_path):
    return Registry(f"sqlite:///{tmp_path}/m/mlflow.db", str(tmp_path / "artifacts"), "shop")


def test_champion_scores_in_spark_as_in_this_process(spark, models, tmp_path):
    found = toy()
    verdict = judge.judged(TOY, found, seed=1)
    assert verdict.reason is None and verdict.baseline_rule == "last_order_days"
    assert verdict.metrics["roc_auc"] > verdict.baseline > 0.6
    assert models.champion("toy") is None
    version = models.log("toy", verdict.fitted, NAMES, {"seed": 1}, verdict.metrics)
    assert models.champion("toy") is None  # registered is not promoted
    with pytest.raises(RegistryError, match="has not passed the gate"):
        models.promote("toy", version)
    models.passed("toy", version)
    models.promote("toy", version)
    assert models.champion("toy") == version == "1"

    fitted, wanted = models.load("toy", version)
    assert wanted == NAMES
    new = people(50, 3).drop(columns="label").assign(person_id=[f"p{i:02}" for i in range(50)])
    frame = spark.createDataFrame(new.replace({np.nan: None})).withColumn("as_of", F.lit(AS_OF))
    got = scores(frame, SPEC, fitted, wanted, version, "gold.features@0").toPandas().set_index("person_id")
    asked = new[new["orders_365d"] > 0].set_index("person_id")
    expected = pd.Series(verdict.fitted.predict_proba(asked[NAMES])[:, 1], asked.index)
    assert sorted(got.index) == sorted(asked.index) and 0 < len(asked) < 50
    assert np.allclose(got["score"].sort_index(), expected.sort_index(), atol=1e-12)
    ranks = got.sort_values("score")["percentile"]
    assert ranks.iloc[0] == 0 and ranks.iloc[-1] == 1 and ranks.is_monotonic_increasing
    with pytest.raises(ValueError, match="mood"):
        champion(models, "toy", frame.drop("mood").columns)
    examples = [path.read_text() for path in (tmp_path / "artifacts").rglob("input_example.json")]
    assert [json.loads(text)["data"] for text in examples] == [[[0.0, 0.0, 0.0]]]  # nobody's row


def test_life_of_champions(models, monkeypatch, capsys, tmp_path):
    found = toy(600, 300)
    first = TOY.estimator(1).fit(found.train[NAMES], found.train["label"])
    one, two = (models.log("churn", first, NAMES, {}, {"roc_auc": 0.7}) for _ in range(2))
    for version in (one, two):
        models.passed("churn", version)
        models.promote("churn", version)
    assert (models.champion("churn"), models.rollback("churn"), models.champion("churn")) == ("2", "1", "1")
    with pytest.raises(RegistryError, match="nothing to go back to"):
        models.rollback("churn")
    with pytest.raises(RegistryError, match="version 9"):
        models.promote("churn", "9")

    class Steady(mlflow.pyfunc.PythonModel):  # a model from elsewhere: any pyfunc with a signature
        def predict(self, context, model_input, params=None):
            return np.full(len(model_input), 0.25)

    shape = pd.DataFrame([[0.0, 0.0]], columns=NAMES[:2])
    mlflow.set_tracking_uri(models.uri)
    with mlflow.start_run(experiment_id=models._experiment()):
        signature = mlflow.models.infer_signature(shape, np.zeros(1))
        mlflow.pyfunc.log_model(
            name="m",
            python_model=Steady(),
            registered_model_name="shop-churn",
            signature=signature,
            pip_requirements=[],
        )
    models.promote("churn", "3", ungated=True)
    theirs, wanted = models.load("churn", "3")
    assert wanted == NAMES[:2] and theirs.predict_proba(shape).tolist() == [[0.75, 0.25]]

    lake = ["--conf", "conf", "--lake", str(tmp_path)]
    monkeypatch.setattr("ml.cli.registry", lambda *asked: models)
    assert cli(monkeypatch, "list", *lake, "--json") == 0
    listed = json.loads(capsys.readouterr().out)["churn"]
    assert [(v["version"], v["aliases"]) for v in listed] == [("3", ["champion"]), ("2", ["challenger"]), ("1", [])]
    assert cli(monkeypatch, "rollback", "churn", *lake) == 0 and models.champion("churn") == "1"
    assert cli(monkeypatch, "promote", "chrun", "1", *lake) == 2 and "Known: churn" in capsys.readouterr().err

    for path in (tmp_path / "artifacts").rglob("model.pkl"):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RegistryError, match="SHA-256"):
        models.load("churn", "1")


def cli(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cdp", "model", *words])
    return main()


def test_a_registry_that_is_down_is_told_by_its_place(tmp_path):
    down = Registry("http://user:secret@127.0.0.1:9", str(tmp_path), "shop")
    with pytest.raises(RegistryError, match="127.0.0.1:9") as told:
        down.champion("churn")
    assert "secret" not in str(told.value)


def test_only_a_better_challenger_follows_the_champion():
    holdout = people(4000, 5)
    odds = holdout["mood"].fillna(0) - holdout["last_order_days"] / 60
    good, noise = 1 / (1 + np.exp(-odds)), np.random.default_rng(0).normal(size=4000)
    weak = 1 / (1 + np.exp(-(odds + 1.5 * noise) / 2))
    assert judge.against(weak, good, holdout, "roc_auc", 1) is None
    assert "beside the champion's" in judge.against(good, weak, holdout, "roc_auc", 1)
    shifted = 1 / (1 + np.exp(-(odds + 1)))
    assert "off by" in judge.against(weak, shifted, holdout, "roc_auc", 1)
    far = (holdout["last_order_days"].rank(pct=True) > 2 / 3).to_numpy()
    blind = np.where(far, 0.25 * good.mean(), good)  # better on the whole than a weak one, blind to one third
    base = np.where(far, good, weak)
    assert "third by last_order_days" in judge.against(base, blind, holdout, "average_precision", 1)


def test_too_few_positives_are_a_reason():
    found = toy()
    few = found.train.assign(label=(np.arange(2000) < 99).astype(int))
    assert "99 positives of 2000" in judge.judged(TOY, found._replace(train=few), 1).reason
    none = found.holdout.assign(label=0)
    assert judge.judged(TOY, found._replace(holdout=none), 1).reason.startswith("holdout: 0 positives")
    empty = found._replace(train=found.train.head(0))
    assert judge.judged(TOY, empty, 1).fitted is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_feature_that_has_seen_the_answer_is_refused(sign):
    found = toy()
    leak = sign * (found.train["label"] + np.random.default_rng(0).normal(scale=0.3, size=2000))
    verdict = judge.judged(TOY, found._replace(train=found.train.assign(mood=leak)), 1)
    assert "feature mood: alone" in verdict.reason and verdict.fitted is None


def test_who_does_not_beat_the_rule_is_not_promoted():
    noise = SimpleNamespace(SPEC=SPEC, estimator=lambda seed: HistGradientBoostingClassifier(max_iter=1, max_depth=1))
    found = toy()
    blind = [frame.assign(mood=0.0, orders_365d=0.0) for frame in (found.train, found.holdout)]
    verdict = judge.judged(noise, Examples(*blind, NAMES), 1)
    assert "does not beat" in verdict.reason and verdict.fitted is not None
    strict = SimpleNamespace(SPEC=replace(SPEC, minimum=0.99), estimator=TOY.estimator)
    assert "below the model's minimum" in judge.judged(strict, found, 1).reason


def test_snapshots_end_before_as_of_and_folds_keep_people_apart():
    dates = snapshots(churn.SPEC, AS_OF)
    assert dates == sorted(dates, reverse=True) and len(dates) == 4
    assert churn.SPEC.window(dates[0])[1] == AS_OF - timedelta(1)
    assert set(shipped()) == {"churn", "propensity"}


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


def shop(spark, lake, n=600, seed=5):
    """Write orders of `n` people over two years, each with a rate and an end, their members and profiles."""
    rng = np.random.default_rng(seed)
    rate, end = rng.gamma(1.2, 1 / 40, n), 730 - rng.exponential(500, n) * (rng.random(n) < 0.6)
    who, day = np.nonzero(rng.random((n, 730)) < rate[:, None] * (np.arange(730)[None, :] < end[:, None]))
    moment = pd.Timestamp(AS_OF) - pd.to_timedelta(730 - day, "D") + pd.Timedelta("10h")
    keys = [f"shop|user_id:{i}" for i in who]
    pdf = pd.DataFrame(
        {
            "source": "shop",
            "record_id": [f"o{i}" for i in range(len(who))],
            "subject_key": keys,
            "event_time": moment,
            "known_at": moment + pd.Timedelta("1h"),
            "amount": rng.gamma(2, 20, len(who)),
        }
    )
    orders = spark.createDataFrame(pdf).selectExpr("*", f"date'{AS_OF}' - interval 1 day as ingest_date")
    given = {"landing": F.lit(1).cast("bigint"), "deleted": F.lit(False), "order_id": F.col("record_id"),
             "quantity": F.lit(1.0), "currency": F.lit("GBP"), "status": F.lit("paid"), "category": F.lit("tea"),
             "ingest_date": F.col("ingest_date").cast("date")}  # fmt: skip
    orders = padded(orders.withColumns(given), lake, "silver.orders")
    lake.write("silver.orders", orders, on=AS_OF - timedelta(1))
    ids = pd.DataFrame(
        {"subject_key": [f"shop|user_id:{i}" for i in range(n)], "person_id": [f"p{i}" for i in range(n)]}
    )
    seen = {"source": F.lit("shop"), "record_id": F.col("subject_key"), "valid_from": F.lit(date(2024, 1, 1))}
    members = spark.createDataFrame(ids).withColumns(seen)
    lake.write("identity.members", padded(members, lake, "identity.members"))
    start = F.lit(date(2024, 1, 1)).cast("timestamp")
    known = {"sources": F.array(F.lit("shop")), "records": F.lit(1), "first_seen": start, "last_seen": start}
    lake.write("gold.profiles", padded(members.select("person_id").withColumns(known), lake, "gold.profiles"))


def padded(frame, lake, name):
    wanted = lake.read(name).schema.fields
    missing = {f.name: F.lit(None).cast(f.dataType) for f in wanted if f.name not in frame.columns}
    return frame.withColumns(missing).select(*(f.name for f in wanted))


def job_on(spark, lake, conf):
    return Job(spark, lake, conf, "conf", "local", AS_OF - timedelta(1), datetime.now(UTC), "r1", "drops", "exports")


def test_from_silver_to_scores(spark, lake, conf, monkeypatch):
    monkeypatch.setattr(judge, "baseline", lambda examples, metric: ("last_order_days", 0.0))  # all are promoted
    shop(spark, lake)
    job = job_on(spark, lake, conf)
    frames, everybody = inputs(job)
    lake.write("gold.features", features(frames, conf.features, [AS_OF], everybody), on=AS_OF)
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
    frames, everybody = inputs(job_on(spark, lake, conf))
    frames = {name: frame.localCheckpoint() for name, frame in frames.items()}
    specs = {name: conf.features[name] for name in ("last_order_days", "orders_365d", "visit_days_90d")}
    small = [SimpleNamespace(SPEC=replace(m.SPEC, features=tuple(specs)), label=m.label) for m in (churn, propensity)]
    orders = frames["silver.orders"]
    late = orders.withColumn("known_at", F.lit(AS_OF).cast("timestamp")).withColumn(
        "order_id", F.expr("order_id || 'x'")
    )
    future = orders.withColumn("event_time", F.expr(f"timestamp'{AS_OF}' + interval 1 day"))
    more = frames | {"silver.orders": orders.unionByName(late).unionByName(future)}
    for model in small:
        before = labelled(model, frames, specs, everybody, AS_OF).toPandas()
        after = labelled(model, more, specs, everybody, AS_OF).toPandas()
        order = ["person_id", "as_of"]
        left, right = (f.sort_values(order, ignore_index=True) for f in (before, after))
        pd.testing.assert_frame_equal(left, right)
        newest = snapshots(model.SPEC, AS_OF)[0]
        held = set(before[(before["as_of"] == newest) & (before["fold"] == HELD_OUT)]["person_id"])
        rows = spark.createDataFrame(before)
        parts = examples(rows, model.SPEC, list(specs), AS_OF)
        learned = before[(before["as_of"] < newest) & (before["fold"] != HELD_OUT)]
        assert len(parts.train) == len(learned) and len(parts.holdout) == len(held)
        assert not held & set(learned["person_id"]) and "person_id" not in parts.train
