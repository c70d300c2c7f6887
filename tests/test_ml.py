"""Models and their registry: nobody judged on who trained, nothing promoted that is not better."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier

from cdp_spark.cli import main
from cdp_spark.config.models import Decision
from ml import judge
from ml.dataset import Examples, snapshots
from ml.decide import decided, with_selected
from ml.models import churn
from ml.score import Champion, champion, scores
from ml.spec import ModelSpec, shipped
from ml.tracking import Registry, RegistryError
from tests.postgres import MISSING, execute, postgres
from tests.shop import AS_OF

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
    usual = {"mood": 0.0, "last_order_days": 60.0}
    ready = [Champion(SPEC, version, fitted, wanted, {"usual": usual, "cut": 0.5}),
             Champion(replace(SPEC, name="all", eligible="true"), "7", fitted, wanted, {})]  # fmt: skip
    both = scores(frame, ready, "gold.features@0", {"toy": Decision(cost=1, gain=4)}).toPandas()
    everybody = both[both["model"] == "all"]
    assert len(everybody) == 50 and set(everybody["version"]) == {"7"} and everybody["selected"].isna().all()
    assert everybody["reasons"].isna().all()  # a model from elsewhere has no memory of what is usual
    got = both[both["model"] == "toy"].set_index("person_id")
    asked = new[new["orders_365d"] > 0].set_index("person_id")
    expected = pd.Series(verdict.fitted.predict_proba(asked[NAMES])[:, 1], asked.index)
    assert sorted(got.index) == sorted(asked.index) and 0 < len(asked) < 50
    assert np.allclose(got["score"].sort_index(), expected.sort_index(), atol=1e-12)
    assert (got["selected"].astype(bool) == (got["score"] >= 0.25)).all()
    assert (got["reasons"].notna() == (got["score"] >= 0.5)).all() and got["reasons"].notna().any()
    for person, told in got["reasons"].dropna().items():
        row = new.set_index("person_id").loc[[person], NAMES]
        drops = {name: got.loc[person, "score"] - fitted.predict_proba(row.assign(**{name: value}))[0, 1]
                 for name, value in usual.items()}  # fmt: skip
        best = sorted((name for name in drops if drops[name] >= 0.005), key=lambda name: -drops[name])
        assert [one.split(" ")[0] for one in told] == best
    ranks = got.sort_values("score")["percentile"]
    assert ranks.iloc[0] == 0 and ranks.iloc[-1] == 1 and ranks.is_monotonic_increasing
    with pytest.raises(ValueError, match="mood"):
        champion(models, SPEC, frame.drop("mood").columns)
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
    monkeypatch.setattr("ml.registry_cli.opened", lambda *asked: (models, {"churn": True, "clv": False}))
    assert cli(monkeypatch, "list", *lake, "--json") == 0
    listed = json.loads(capsys.readouterr().out)["churn"]
    assert [(v["version"], v["aliases"]) for v in listed] == [("3", ["champion"]), ("2", ["challenger"]), ("1", [])]
    assert cli(monkeypatch, "list", *lake) == 0 and "nothing was kept yet" in capsys.readouterr().out  # of clv
    assert cli(monkeypatch, "rollback", "churn", *lake) == 0 and models.champion("churn") == "1"
    assert cli(monkeypatch, "promote", "chrun", "1", *lake) == 2 and "Known: churn" in capsys.readouterr().err
    assert cli(monkeypatch, "rollback", "clv", *lake) == 2 and "fitted anew" in capsys.readouterr().err

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
    nothing = judge.judged(TOY, found._replace(features=[]), 1)  # constant and all-null ones are left out before
    assert "one value only" in nothing.reason and nothing.fitted is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_feature_that_has_seen_the_answer_is_refused(sign):
    found = toy()
    leak = sign * (found.train["label"] + np.random.default_rng(0).normal(scale=0.3, size=2000))
    verdict = judge.judged(TOY, found._replace(train=found.train.assign(mood=leak)), 1)
    assert "feature mood: alone" in verdict.reason and verdict.fitted is None


@pytest.mark.parametrize("part", ["train", "holdout"])
@pytest.mark.parametrize("endless", [np.inf, -np.inf])
def test_infinite_values_are_refused_wherever_they_stand(part, endless):
    found = toy(600, 300)
    frame = getattr(found, part).copy()
    frame.loc[5, "mood"] = endless
    verdict = judge.judged(TOY, found._replace(**{part: frame}), 1)
    assert verdict.reason == "features mood hold infinite values; mend their expressions in conf/features.yml"
    assert verdict.fitted is None


def test_who_knows_the_days_of_training_but_not_the_later_ones_is_not_promoted():
    found, grid = toy(3000, 800), ({"max_iter": 30}, {"max_iter": 10})
    estimator = lambda seed, max_iter: TOY.estimator(seed).set_params(max_iter=max_iter)  # noqa: E731
    tuned = SimpleNamespace(SPEC=SPEC, GRID=grid, estimator=estimator)
    train = found.train.assign(fold=np.arange(3000) % 4)
    assert judge.judged(tuned, found._replace(train=train), 1).reason is None
    turned = found.holdout.assign(label=1 - found.holdout["label"])
    verdict = judge.judged(tuned, found._replace(train=train, holdout=turned), 1)
    assert verdict.reason.startswith("random split far above time split") and verdict.fitted is not None
    assert judge.too_early(0.95, 0.7, (3000, 900, 60, 20)) is None  # so few are no proof


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


@pytest.mark.skipif(MISSING, reason="no PostgreSQL programs here (initdb, pg_ctl)")
def test_the_registry_lives_in_postgresql_as_well(tmp_path):
    found = toy(400, 200)
    fitted = TOY.estimator(1).fit(found.train[NAMES], found.train["label"])
    with postgres() as port:
        execute(port, "CREATE DATABASE mlflow")
        models = Registry(f"postgresql+pg8000://cdp@127.0.0.1:{port}/mlflow", str(tmp_path / "artifacts"), "shop")
        version = models.log("churn", fitted, NAMES, {"snapshot_id": "s1"}, {"roc_auc": 0.7}, tries=[{"log_loss": 0.5}])
        models.passed("churn", version)
        models.promote("churn", version)
        models.attach("churn", version, "monitoring/2026-02-01.png", b"png")
        again = Registry(models.uri, models.artifacts, "shop")
        kept, wanted = again.load("churn", again.champion("churn"))
        rows = found.holdout[NAMES]
        assert wanted == NAMES and np.array_equal(kept.predict_proba(rows), fitted.predict_proba(rows))
        run = again.client.get_run(again.client.get_model_version("shop-churn", version).run_id)
        assert run.data.params["snapshot_id"] == "s1"
        pictures = again.client.list_artifacts(run.info.run_id, "monitoring")
        assert [one.path for one in pictures] == ["monitoring/2026-02-01.png"]
    with pytest.raises(RegistryError, match=f"127.0.0.1:{port}/mlflow: cannot ask for the champion"):
        again.champion("churn")


def test_decisions_by_cost_and_by_capacity():
    truth, chance = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0]), np.linspace(0.95, 0.05, 10)
    by_cost = decided(Decision(cost=2, gain=4), truth, chance)
    assert by_cost["threshold"] == 0.5 and by_cost["share"] == 0.5
    assert by_cost["precision"] == 0.4 and by_cost["recall"] == pytest.approx(2 / 3)
    assert by_cost["profit_per_row"] == pytest.approx((2 * 4 - 5 * 2) / 10)
    some = decided(Decision(capacity=0.3), truth, chance)
    assert some["share"] == 0.3 and some["recall"] == pytest.approx(2 / 3) and "profit_per_row" not in some
    for wrong in ({}, {"capacity": 0.1, "cost": 1}, {"cost": 1}, {"cost": 2, "gain": 1}):
        with pytest.raises(ValueError, match="capacity|gain"):
            Decision(**wrong)


def test_who_is_selected_by_a_share_of_each_group_or_by_cost(spark):
    rows = spark.createDataFrame(
        [(f"p{n}", "ab"[n % 2], n / 10) for n in range(10)], "person_id string, g string, s double"
    )

    def chosen(rule: Decision | None) -> set[str] | None:
        found = with_selected(rows, rule, "s", ["g"]).where("selected IS NOT NULL").collect()
        return {row["person_id"] for row in found if row["selected"]} if found else None

    assert chosen(Decision(capacity=0.2)) == {"p8", "p9"} and chosen(Decision(cost=1, gain=2)) == {
        f"p{n}" for n in range(5, 10)
    }
    assert chosen(None) is None
