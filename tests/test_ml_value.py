"""Lifetime value and effects: formulas against brute force, planted effects found, noise not."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import gamma

from cdp_spark.cli import main
from ml import clv, uplift
from ml.files import read_table
from ml.labels import LabelError
from ml.models import churn
from ml.models.clv import SURE, share_better
from ml.transactions import orders, reported
from ml.validate import folds
from tests.test_ml_flat import shared


def simulated(n: int, r: float, alpha: float, a: float, b: float, weeks: float, seed: int) -> list[list[float]]:
    """Repeat purchase times of each customer in `weeks`, by the story of BG/NBD told step by step."""
    rng, found = np.random.default_rng(seed), []
    for rate, leaves in zip(rng.gamma(r, 1 / alpha, n), rng.beta(a, b, n), strict=True):
        time, times = 0.0, []
        while (time := time + rng.exponential(1 / rate)) <= weeks:
            times.append(time)
            if rng.random() < leaves:
                break
        found.append(times)
    return found


def summary(times: list[list[float]], until: float) -> pd.DataFrame:
    before = [[t for t in one if t <= until] for one in times]
    x = [float(len(one)) for one in before]
    return pd.DataFrame({"x": x, "t_x": [max(one, default=0.0) for one in before], "T": until, "m": np.nan})


def test_parameters_and_forecast_of_simulated_customers_come_back():
    truth = (0.8, 6.0, 0.9, 3.0)
    times = simulated(6000, *truth, weeks=78, seed=1)
    found = summary(times, 39)
    model = clv.bg_nbd(found)
    assert model[:2] == pytest.approx(truth[:2], rel=0.15)
    assert model.a / (model.a + model.b) == pytest.approx(0.9 / 3.9, rel=0.15)
    later = np.array([sum(39 < t <= 78 for t in one) for one in times])
    known = clv.BgNbd(*truth, 0.0)
    assert clv.expected_purchases(known, found, 39).sum() == pytest.approx(later.sum(), rel=0.05)
    gone = clv.alive(known, found)
    busy = (found["x"] > 3).to_numpy()
    assert clv.expected_purchases(known, found, 39)[busy].sum() == pytest.approx(later[busy].sum(), rel=0.1)
    assert gone[(found["x"] == 0).to_numpy()].min() == 1 and 0 < gone[busy].min() < gone[busy].max() < 1


def test_likelihood_equals_the_papers_formula():
    r, alpha, a, b = 0.24, 4.4, 0.8, 2.4
    for x, t_x, T in ((0, 0.0, 30.0), (1, 3.0, 38.9), (4, 20.0, 38.9)):
        beta = gamma(a + b) * gamma(b + x) / (gamma(b) * gamma(a + b + x))
        inner = (alpha + T) ** -(r + x) + ((a / (b + x - 1)) * (alpha + t_x) ** -(r + x) if x else 0)
        wanted = np.log(gamma(r + x) * alpha**r / gamma(r) * beta * inner)
        assert clv.log_likelihood(r, alpha, a, b, np.array([x]), np.array([t_x]), np.array([T]))[0] == pytest.approx(
            wanted
        )


def test_values_come_back_and_degenerate_customers_are_refused():
    rng = np.random.default_rng(2)
    p, q, v, x = 6.0, 4.0, 15.0, rng.integers(1, 8, 4000).astype(float)
    mean = rng.gamma(p * x, 1 / (rng.gamma(q, 1 / v, 4000) * x))
    found = pd.DataFrame({"x": x, "t_x": 1.0, "T": 9.0, "m": mean})
    model = clv.gamma_gamma(found)
    assert model.p * model.v / (model.q - 1) == pytest.approx(p * v / (q - 1), rel=0.05)
    shrunk = clv.expected_value(model, found)
    assert np.abs(shrunk - 30).mean() < np.abs(mean - 30).mean()
    with pytest.raises(clv.ClvError, match="q > 1"):
        clv.expected_value(model._replace(q=0.9), found)
    with pytest.raises(clv.ClvError, match="too few"):
        clv.bg_nbd(found.assign(x=0.0))
    same = pd.DataFrame({"x": [5.0] * 50, "t_x": 9.0, "T": 9.0})  # nobody differs: the parameters run to their limits
    model = clv.bg_nbd(same)
    assert clv.alike(model) and clv.expected_purchases(model, same, 9.0) == pytest.approx(5, rel=0.1)


def test_a_forecast_that_one_customer_makes_better_is_not_surely_better():
    actual = np.random.default_rng(3).poisson(1, 500).astype(float)
    rule, one = actual + 0.5, np.arange(500) == 7
    assert share_better(actual + 0.4, rule, actual, 1) == 1
    lucky = np.where(one, actual, actual + 0.5 + 1e-4)
    rule[one] += 3
    assert np.mean((lucky - actual) ** 2) < np.mean((rule - actual) ** 2)
    assert 0.5 < share_better(lucky, rule, actual, 1) < SURE  # who is not drawn does not help


def test_a_cut_off_hides_later_rows_and_one_day_is_one_purchase():
    rows = pd.DataFrame(
        {"customer_id": ["1", "1", "1", "2", "3"], "amount": ["10", "5", "8", "-4", "7"],
         "date": ["20240101", "20240101", "20240110", "20240102", "20240301"]}
    )  # fmt: skip
    found = orders(rows, None, None, None, "2024-01-31")
    base = clv.customers(found, pd.Timestamp("2024-01-31"))
    assert base.to_dict("index") == {"1": {"x": 1.0, "t_x": 9 / 7, "T": 30 / 7, "m": 8.0}}
    assert any("below 0" in note for note in found.attrs["notes"])


def experiment(effect: float, n: int = 6000, seed: int = 0) -> pd.DataFrame:
    """Half are mailed; the mail moves those with a basket by `effect`, nobody else."""
    rng = np.random.default_rng(seed)
    basket, mailed, age = rng.random(n) < 0.4, rng.random(n) < 0.5, rng.normal(40, 10, n)
    bought = rng.random(n) < 0.2 + effect * (basket & mailed)
    return pd.DataFrame({"arm": np.where(mailed, "mail", "No mail"), "basket": np.where(basket, "y", "n"), "age": age,
                         "bought": bought.astype(int)})  # fmt: skip


def asked():
    from ml.flat import Asked

    return Asked(label="bought")


def test_a_planted_effect_is_found_where_it_is_and_noise_is_not():
    report = uplift.reported("u", experiment(0.3), asked(), "arm", None, churn.estimator)
    assert (
        report["control"] == "No mail" and report["effects"]["mail"]["low"] < 0.12 < report["effects"]["mail"]["high"]
    )
    trees = uplift.reported("u", experiment(0.3), asked(), "arm", None, lambda seed: forest(seed))
    found = trees["uplift"]["mail"]["learners"]
    for learner in ("s_learner", "t_learner"):
        assert found[learner]["low"] > 0.2 and found[learner]["permutation_p"] < 0.01
    none = uplift.reported("u", experiment(0.0), asked(), "arm", None, lambda seed: forest(seed))
    learners = none["uplift"]["mail"]["learners"]
    assert learners["t_learner"]["permutation_p"] > 0.02 and learners["t_learner"]["low"] < 0


def test_rows_of_one_person_stay_in_one_fold_of_an_experiment(monkeypatch):
    frame = experiment(0.3, 1500)
    twice = pd.concat([frame, frame.assign(age=frame["age"] + 1)], ignore_index=True)
    twice["customer"] = [f"c{n % 1500}" for n in range(3000)]
    kept = []

    def seen(strata, seed, person=None):
        for learned, held in folds(strata, seed, person):
            kept.append((set(person.iloc[learned]), set(person.iloc[held])))
            yield learned, held

    monkeypatch.setattr(uplift, "folds", seen)
    report = uplift.reported("u", twice, replace(asked(), id="customer"), "arm", None, lambda seed: forest(seed))
    assert "customer" not in report["features"] and report["left_out"]["customer"] == "the id"
    assert len(kept) == 5 and not any(learned & held for learned, held in kept)
    assert set.union(*(held for _, held in kept)) == set(range(1500))


def test_an_experiment_that_nothing_can_be_learned_from_is_refused_in_words():
    frame = experiment(0.3, 1500)
    bare = uplift.reported("u", frame[["arm", "bought"]].assign(country="GB"), asked(), "arm", None, churn.estimator)
    assert bare["status"] == "refused" and bare["reasons"] == ["no column is left to learn from"]
    assert bare["left_out"]["country"] == "constant"
    mailed = frame["arm"] == "mail"
    few = frame.assign(bought=np.where(mailed & (frame["bought"].cumsum() > 60), 0, frame["bought"]))
    assert few["bought"].sum() > 100  # enough in all, and too few in one arm
    with pytest.raises(LabelError, match=r"arm 'mail': \d\d positives and \d+ negatives: at least 100"):
        uplift.reported("u", few, asked(), "arm", None, churn.estimator)
    buyers = np.where(mailed & (frame["bought"] == 1), "one big household", frame.index.astype(str))
    with pytest.raises(LabelError, match="arm 'mail': all positives are rows of 1 different people"):
        uplift.reported("u", frame.assign(id=buyers), replace(asked(), id="id"), "arm", None, churn.estimator)


def test_capacity_and_time_of_an_experiment_count(tmp_path, monkeypatch, capsys):
    frame = experiment(0.0, 2000)
    later, mailed = np.arange(2000) >= 1600, frame["arm"] == "mail"
    frame["bought"] = np.where(later & mailed, 1, frame["bought"])  # the newest are moved, all others not
    frame.assign(week=np.arange(2000) // 10).to_csv(tmp_path / "e.csv", index=False)
    words = ["cdp", "model", "fit", "u", "--table", str(tmp_path / "e.csv"), "--label", "bought", "--treatment", "arm",
             "--time", "week", "--capacity", "0.5", "--repeats", "1", "--json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    report = json.loads(capsys.readouterr().out)
    assert report["uplift"]["mail"]["share"] == 0.5 and report["left_out"]["week"] == "the time"
    newest = report["time_split"]
    assert newest["test_rows"] == 400 and newest["effects"]["mail"]["low"] > 0.6
    assert report["effects"]["mail"]["high"] < 0.4


def forest(seed: int):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=6, random_state=seed)


def test_lift_from_the_shell(tmp_path, monkeypatch, capsys):
    experiment(0.3).assign(bought=lambda t: np.where(t["bought"] == 1, "Yes", "No")).to_csv(
        tmp_path / "e.csv", index=False
    )
    words = [
        "cdp",
        "model",
        "lift",
        "--table",
        str(tmp_path / "e.csv"),
        "--arm",
        "arm",
        "--outcome",
        "bought",
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    report = json.loads(capsys.readouterr().out)
    assert report["control"] == "No mail" and report["sample_ratio"]["verdict"] == "fair"
    assert report["effects"]["bought"]["mail"]["low"] < 0.12 < report["effects"]["bought"]["mail"]["high"]


@pytest.mark.real
def test_bg_nbd_of_the_published_sample():
    found = orders(read_table(shared("cdnow/cdnow_sample.csv")), None, None, None, "1997-09-30")
    report, _ = reported(found, "1997-09-30", 7.0, 273)
    model = report["bg_nbd"]
    assert [model[name] for name in ("r", "alpha", "a", "b")] == pytest.approx([0.243, 4.414, 0.793, 2.426], rel=0.01)
    held = report["holdout"]
    assert held["bg_nbd"]["actual_total"] == 1882 and held["bg_nbd"]["total"] == pytest.approx(1653, abs=10)
    assert held["bg_nbd"]["mae"] == pytest.approx(0.785, abs=0.002)
