"""Models that fail on people's rows, and a registry that goes away: only what depends on them waits, and is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from cdp_spark.identity.matching import match as matching
from cdp_spark.identity.matching.counted import Counted, Size, written
from cdp_spark.identity.matching.links import KEPT, Found
from jobs import match
from ml import judge, keep, score, train
from ml.models import churn, propensity
from ml.tracking import Registry, RegistryError
from ml.train import beside_champion, train_due
from tests.shop import AS_OF, job_on, padded, shop
from tests.test_ml import NAMES, SPEC, TOY, people, toy

KNOWN = ("last_order_days", "orders_365d", "visit_days_90d")


@pytest.fixture
def models(tmp_path):
    return Registry(f"sqlite:///{tmp_path}/m/mlflow.db", str(tmp_path / "artifacts"), "shop")


@pytest.fixture
def job(conf):
    """What the registry's side of a step needs of a job; no Spark."""
    told = []
    return SimpleNamespace(warnings=told, warn=told.append, log=lambda line: None, conf=conf)


def own(models: Registry, name: str, metadata: dict | None = None, names=tuple(NAMES)) -> str:
    """A champion of ours."""
    rows = people(400, 1)
    fitted = TOY.estimator(1).fit(rows[list(names)], rows["label"])
    version = models.log(name, fitted, list(names), {}, {"roc_auc": 0.7}, metadata=metadata)
    models.passed(name, version)
    models.promote(name, version)
    return version


def foreign(models: Registry, name: str, names, at_nulls: str) -> str:
    """A champion from elsewhere, a pyfunc: .25 for everybody; or else, at missing values, `at_nulls`: raise or nan."""

    class Theirs(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            empty = model_input.isna().any(axis=1).to_numpy()
            if at_nulls == "raise" and empty.any():
                raise KeyError(f"cannot read {model_input.iloc[0].to_dict()}")
            return np.where(empty & (at_nulls == "nan"), np.nan, 0.25)

    signature = mlflow.models.infer_signature(pd.DataFrame([[0.0] * len(names)], columns=list(names)), np.zeros(1))
    mlflow.set_tracking_uri(models.uri)
    with mlflow.start_run(experiment_id=models._experiment()):
        told = mlflow.pyfunc.log_model(
            name="m", python_model=Theirs(), registered_model_name=models.registered(name), signature=signature,
            pip_requirements=[],
        )  # fmt: skip
    models.promote(name, str(told.registered_model_version), ungated=True)
    return str(told.registered_model_version)


@pytest.fixture(scope="module")
def good():
    """(examples, a verdict whose probabilities are near the truth)."""
    found = toy(400, 800)
    odds = found.holdout["mood"].fillna(0) - found.holdout["last_order_days"] / 60
    return found, judge.Verdict(400, 100, 800, 200, None, fitted=object(), chance=(1 / (1 + np.exp(-odds))).to_numpy())


@pytest.mark.parametrize("fault", ["tampered", "lost column", "raise", "nan"])
def test_a_champion_that_cannot_be_used_is_followed_with_a_warning(models, job, good, tmp_path, fault):
    found, verdict = good
    wanted = {"tampered": "SHA-256", "lost column": "mood", "raise": "it raises", "nan": "no probability"}[fault]
    version = foreign(models, "toy", NAMES, fault) if fault in ("raise", "nan") else own(models, "toy")
    if fault == "tampered":
        for path in (tmp_path / "artifacts").rglob("model.pkl"):
            path.write_bytes(path.read_bytes() + b" ")
    if fault == "lost column":
        found = found._replace(holdout=found.holdout.drop(columns="mood"))
    assert beside_champion(job, models, SPEC, found, verdict) is None
    assert len(job.warnings) == 1 and f"toy version {version}" in job.warnings[0] and wanted in job.warnings[0]
    assert "cannot read" not in job.warnings[0]  # a model's own words may hold somebody's values


def test_a_champion_that_cannot_be_reached_is_not_replaced(models, job, good, tmp_path):
    own(models, "toy")
    assert beside_champion(job, models, SPEC, *good) is None and job.warnings == []  # the new one is better
    shutil.move(tmp_path / "artifacts", tmp_path / "unplugged")
    reason = beside_champion(job, models, SPEC, *good)
    assert reason.startswith("it cannot be compared with the champion: toy version 1: none of its files is where")
    shutil.move(tmp_path / "m", tmp_path / "unplugged")
    (tmp_path / "m").write_text("no database any more")
    with pytest.raises(RegistryError, match="MLflow at"):  # and then nothing can be kept either
        beside_champion(job, models, SPEC, *good)
    assert job.warnings == []


def test_the_matching_model_is_kept_as_soon_as_mlflow_is_there_and_once(models, job, monkeypatch):
    model = {"model_id": "a1", "trained_on": AS_OF, "records": 9, "partners": 0.2, "settings": json.dumps({"m": 0.9})}
    away = Registry("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere", "shop")
    for place, warnings, kept in ((away, 1, 0), (models, 1, 1), (models, 1, 1)):
        monkeypatch.setattr(keep, "registry", lambda job, place=place: place)
        keep.keep_matching(job, model)
        runs = models.client.search_runs([models._experiment()])
        assert (len(job.warnings), len(runs)) == (warnings, kept)
    keep.keep_matching(job, model | {"model_id": "b2"})
    assert len(models.client.search_runs([models._experiment()])) == 2
    assert mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/matching.json") == {"m": 0.9}


def test_the_step_offers_a_known_matching_model_every_day(spark, lake, conf, models, monkeypatch):
    rules = conf.identity.model_copy(update={"matching": conf.identity.matching.model_copy(update={"enabled": True})})
    job = job_on(spark, lake, conf.model_copy(update={"identity": rules}))
    plan = matching.plan_of(job.conf)
    counted = Counted(Size(9, 36.0), {}, {})
    known = [(plan.model_id, AS_OF, 9, 0.2, 0.1, written(counted), json.dumps({"m": 0.9}))]
    lake.write("identity.models", spark.createDataFrame(known, lake.read("identity.models").schema))
    links, rows = spark.createDataFrame([], KEPT), lake.read("identity.blocking")
    found = Found(links, rows, {}, 0.2, 0.1, counted, 0, 0)  # the search itself is another test's
    monkeypatch.setattr(matching, "matched", lambda *told: found)
    monkeypatch.setattr(matching, "report", lambda *told: rows)
    monkeypatch.setattr(matching, "_tell", lambda *told: None)
    away = Registry("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere", "shop")
    for place in (away, models):
        monkeypatch.setattr(keep, "registry", lambda job, place=place: place)
        match.run(job)
    assert len(job.warnings) == 1 and "the next run tries again: MLflow at" in job.warnings[0]
    (run,) = models.client.search_runs([models._experiment()])
    assert run.data.params["model_id"] == plan.model_id


def test_a_promotion_that_was_broken_off_can_be_done_again(models, monkeypatch):
    first = own(models, "toy")
    second = models.log("toy", TOY.estimator(1).fit(*split(people(200, 2))), NAMES, {}, {})
    models.passed("toy", second)
    monkeypatch.setattr(type(models.client), "set_registered_model_alias", broken)
    with pytest.raises(RegistryError):
        models.promote("toy", second)
    monkeypatch.undo()
    models.promote("toy", second)
    assert models.rollback("toy") == first
    with pytest.raises(RegistryError, match="nothing to go back to"):
        models.rollback("toy")


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    return rows[NAMES], rows["label"]


def broken(*told, **named):
    raise ConnectionError("the line is cut")


def test_one_failing_champion_costs_no_other_model_its_scores(spark, lake, conf, monkeypatch):
    job = job_on(spark, lake, conf)
    asking = {name: SimpleNamespace(SPEC=replace(SPEC, name=name)) for name in ("churn", "propensity", "steady")}
    monkeypatch.setattr(score, "applicable", lambda job: asking)
    rows = people(80, 3).drop(columns=["label", "mood"]).assign(person_id=[f"p{n:02}" for n in range(80)])
    rows.loc[rows.index[::7], "last_order_days"] = None
    told = spark.createDataFrame(rows.replace({np.nan: None})).withColumn("as_of", F.lit(AS_OF))
    lake.write("gold.features", padded(told, lake, "gold.features"), on=AS_OF)
    day, asked = AS_OF - timedelta(3), rows["orders_365d"].gt(0).sum()
    old = {"model": F.explode(F.array(F.lit("churn"), F.lit("propensity"))), "as_of": F.lit(day), "score": F.lit(0.5),
           "percentile": F.lit(0.5), "version": F.lit("0"), "snapshot": F.lit("s"), "stale": F.lit(False)}  # fmt: skip
    before = spark.createDataFrame(rows[["person_id"]]).select("person_id", *(v.alias(n) for n, v in old.items()))
    lake.write("ml.scores", padded(before, lake, "ml.scores"), on=day)
    models = keep.registry(job)
    own(models, "propensity", names=NAMES[:2])
    foreign(models, "steady", NAMES[:2], "nothing")
    for at_nulls, fault in (("raise", "it raises "), ("nan", "it gives what is no probability")):
        job.warnings.clear()
        version = foreign(models, "churn", NAMES[:2], at_nulls)
        score.score_all(job)
        (warning,) = job.warnings
        assert f"churn: no new scores: version {version} fails on people's rows: {fault}" in warning
        assert "cannot read" not in warning
        found = lake.read("ml.scores").toPandas().groupby(["model", "as_of"])["stale"].agg(["size", "sum"])
        assert found.loc[("churn", day)].tolist() == [80, 80] and ("churn", AS_OF) not in found.index
        assert found.loc[("propensity", day)].tolist() == [80, 0]
        assert found.loc[("propensity", AS_OF)].tolist() == [asked, 0]
    found = lake.read("ml.scores").where("model = 'steady'").toPandas()  # a pyfunc that can do it
    assert found["score"].tolist() == [0.25] * asked and set(found["as_of"]) == {AS_OF}


def test_a_registry_that_goes_away_amid_training_costs_one_model_a_day(spark, lake, conf, monkeypatch):
    monkeypatch.setattr(judge, "baseline", lambda examples, metric: ("last_order_days", 0.0))  # all are promoted
    shop(spark, lake)
    job = job_on(spark, lake, conf.model_copy(update={"features": {name: conf.features[name] for name in KNOWN}}))
    learners = {"churn": churn, "propensity": propensity, "later": propensity}
    small = {name: SimpleNamespace(SPEC=replace(one.SPEC, name=name), label=one.label, estimator=one.estimator)
             for name, one in learners.items()}  # fmt: skip

    class Flaky(Registry):
        def log(self, model, *told, **named):
            if model == "churn":
                raise RegistryError("MLflow is away")
            return super().log(model, *told, **named)

        def promote(self, model, version, ungated=False):
            if model == "later":
                raise RuntimeError("this is a bug of ours")
            return super().promote(model, version, ungated)

    monkeypatch.setattr(train, "applicable", lambda job: small)
    place = (job.mlflow_uri, job.mlflow_artifacts, job.conf.base.name)
    monkeypatch.setattr(train, "registry", lambda job: Flaky(*place))
    with pytest.raises(RuntimeError):
        train_due(job)
    assert [told for told in job.warnings if "churn: its training is not kept" in told] == job.warnings != []
    noted = {row["model"]: row["promoted"] for row in lake.read("ml.trainings").collect()}
    assert noted == {"propensity": True}  # whatever befell the others
    job.warnings.clear()
    monkeypatch.setattr(train, "registry", keep.registry)
    train_due(job)
    noted = {row["model"]: row["promoted"] for row in lake.read("ml.trainings").collect()}
    assert noted == {"churn": True, "propensity": True, "later": True} and job.warnings == []
