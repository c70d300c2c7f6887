"""The estimators of flat tables: no number is too large, lines and thresholds are weighed, rare values are not kept."""

from __future__ import annotations

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from ml import drift, encode, learn
from ml.encode import pipeline
from ml.measures import calibration, measured
from ml.models import propensity
from ml.table import schema, typed
from ml.validate import chances, fit


@pytest.mark.parametrize("name", ["churn", "propensity"])
def test_huge_and_tiny_numbers_are_learned_from(name):
    rng, n = np.random.default_rng(0), 600
    hint = rng.normal(size=n)
    rows = pd.DataFrame({
        "hint": hint * 1e300, "span": 10.0 ** rng.integers(-300, 300, n), "tiny": rng.choice([0, 1e-320], n),
        "big": rng.integers(0, 2**62, n).astype(float), "edge": rng.choice([-1.7e308, 1.7e308, np.nan], n),
        "moment": 1.7e9 + rng.integers(0, 1e6, n), "none": np.nan,
    })  # fmt: skip
    truth = (rng.random(n) < 1 / (1 + np.exp(-2 * hint))).astype(int)
    model = fit(pipeline(rows, dict.fromkeys(rows, "number"), learn.estimator(name)(1), 1), rows, truth)
    assert measured(truth, chances(model, rows))["roc_auc"] > 0.8
    later = rows.assign(moment=-1e308, hint=1e308, none=5.0)  # beyond all that was learned from
    assert np.isfinite(chances(model, later)).all()


def apart(lines: bool) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(rng.normal(size=(3000, 4)), columns=list("abcd"))
    odds = rows["a"] + rows["b"] - 1 if lines else 1.5 * np.sign(rows["a"] * rows["b"]) - 1
    return rows, (rng.random(3000) < 1 / (1 + np.exp(-odds))).astype(int)


@pytest.mark.parametrize("lines", [True, False])
def test_lines_and_thresholds_are_weighed_so_that_few_rows_are_calibrated(lines):
    rows, truth = apart(lines)
    blend = propensity.estimator(1)
    old, new = rows[:1500], rows[1500:]
    found = fit(blend, old, truth[:1500])
    chance, trees = chances(found, new), chances(fit(blend.trees, old, truth[:1500]), new)
    assert measured(truth[1500:], chance)["roc_auc"] >= measured(truth[1500:], trees)["roc_auc"] - 0.003
    assert calibration(truth[1500:], chance)["slope"] == pytest.approx(1, abs=0.3)
    line, tree, _ = found.weights_
    assert line > tree if lines else tree > 5 * line
    again = fit(propensity.estimator(1), old.to_numpy(), truth[:1500])
    assert (chances(again, new.to_numpy()) == chance).all()


def test_many_of_each_class_are_the_trees_alone(monkeypatch):
    rows, truth = apart(True)
    monkeypatch.setattr("ml.blend.LARGE", 500)
    blend = propensity.estimator(1)
    alone = chances(fit(blend.trees, rows, truth), rows)
    assert (chances(fit(blend, rows, truth), rows) == alone).all()


def test_rows_of_one_person_stay_in_one_half():
    rng = np.random.default_rng(4)
    trait, who = rng.normal(size=(200, 3)), np.repeat(np.arange(200), 6)
    rows = pd.DataFrame(trait[who] + rng.normal(size=(1200, 3)) * 0.01, columns=list("abc"))
    truth = rng.integers(0, 2, 200)[who]  # nothing tells it but who somebody is
    kinds = dict.fromkeys(rows, "number")
    loose, tied = (
        fit(pipeline(rows, kinds, propensity.estimator(1), 1), rows, truth, person)[-1].weights_[:2].sum()
        for person in (None, pd.Series(who))
    )
    assert tied < 0.5 * loose


@pytest.mark.parametrize("few", [True, False])
def test_rare_values_are_kept_neither_in_the_model_nor_in_its_bins(few):
    rng = np.random.default_rng(5)
    common = [f"town {n}" for n in range(3 if few else encode.FEW + 5)]
    cells = [*common * 40, *(f"Ann Lee {n}" for n in range(200)), *["Bob Ray"] * 19, *[None] * 30]
    rows = pd.DataFrame({"name": cells, "x": rng.normal(size=len(cells))})
    kinds = {"name": "category", "x": "number"}
    rows, truth = typed(rows, kinds), rng.integers(0, 2, len(cells))
    kept = cloudpickle.dumps((fit(pipeline(rows, kinds, learn.estimator("x")(1), 1), rows, truth), drift.frozen(rows)))
    assert b"Ann Lee" not in kept and b"Bob Ray" not in kept and b"town 1" in kept


def test_dates_of_several_forms_are_dates():
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(200), "D")
    forms = ["%Y-%m-%d", "%d/%m/%Y", "%Y%m%d", "%d %b %Y"]
    cells = pd.DataFrame({"joined": [one.strftime(forms[n % 4]) for n, one in enumerate(day)]})
    known = schema(cells)
    assert known.kinds == {"joined": "date"}
    assert typed(cells, known.kinds, known.styles)["joined"].tolist() == list(range(19723, 19923))
