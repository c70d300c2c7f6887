"""Do measures of probabilities agree with others', and does drift speak up for a shift alone?"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from ml import drift, measures
from ml.measures import calibration, deciles, differences, drawn, measured

SCORES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.05, 0.2, 0.2001, 0.5, 0.9])), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SCORES)
def test_measures_equal_scikit_learns(rows):
    truth, chance = np.array([0, 1, *(t for t, _ in rows)]), np.array([0.3, 0.3, *(p for _, p in rows)])
    weights = drawn(truth.size, 3, seed=len(rows))
    weights[:, :2] += 1  # both classes are there
    many = measured(truth, chance, weights)
    cases = [(np.ones(truth.size, dtype=int), measured(truth, chance))]
    cases += [(w, {name: value[i] for name, value in many.items()}) for i, w in enumerate(weights)]
    for w, got in cases:
        y, p = np.repeat(truth, w), np.repeat(chance, w)
        wanted = (roc_auc_score(y, p), average_precision_score(y, p), log_loss(y, p), brier_score_loss(y, p))
        assert list(got.values()) == pytest.approx(wanted)


def test_differences_in_batches_are_those_of_all_draws_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    truth, odds = rng.integers(0, 2, 400), rng.normal(size=400)
    ours, theirs = (1 / (1 + np.exp(-(odds + weight * truth))) for weight in (1.2, 1.0))
    for metric, sign in (("roc_auc", 1), ("log_loss", -1)):
        weights = drawn(400, measures.DRAWS, 7)
        gain = sign * (measured(truth, ours, weights)[metric] - measured(truth, theirs, weights)[metric])
        sizes = []

        def noted(rows, draws, seed, sizes=sizes):
            sizes.append(draws)
            return drawn(rows, draws, seed)

        monkeypatch.setattr(measures, "drawn", noted)
        found = differences(truth, ours, theirs, metric, 7)
        assert sizes == [measures.BATCH] * (measures.DRAWS // measures.BATCH)
        assert found["interval"] == pytest.approx(list(np.quantile(gain, [0.025, 0.975])), abs=1e-12)
        assert found["share_better"] == (gain > 0).mean()
        assert found["interval"][0] < found["difference"] < found["interval"][1]


def test_calibration_tells_what_is_wrong():
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1.5, 40_000)
    truth = (rng.random(odds.size) < 1 / (1 + np.exp(-odds))).astype(int)
    good = calibration(truth, 1 / (1 + np.exp(-odds)))
    assert (good["slope"], good["intercept"], good["in_the_large"]) == pytest.approx((1, 0, 0), abs=0.06)
    bold = calibration(truth, 1 / (1 + np.exp(-(2 * odds + 1))))
    assert (bold["slope"], bold["intercept"]) == pytest.approx((0.5, -0.5), abs=0.06) and bold["in_the_large"] < -0.3
    lifts = [part["lift"] for part in deciles(truth, odds)]
    assert lifts == sorted(lifts, reverse=True) and lifts[0] > 2


def test_groups_of_few_rows_are_one_line_and_no_name_is_told():
    rng = np.random.default_rng(0)
    names = pd.Series([f"Ann {n}" for n in range(200)] + ["plus"] * 100 + [None] * 60, dtype=object)
    found = measures.groups(rng.integers(0, 2, 360), rng.random(360), names)
    assert [(one["value"], one["rows"]) for one in found] == [
        ("(200 rarer values)", 200),
        ("(missing)", 60),
        ("plus", 100),
    ]
    many = pd.Series([f"town {n}" for n in range(90)] * 20)
    assert len(measures.groups(rng.integers(0, 2, 1800), rng.random(1800), many)) == measures.GROUPS + 1


def test_drift_is_raised_for_a_shift_and_silent_for_luck():
    rng = np.random.default_rng(0)
    then = pd.DataFrame({"spend": rng.gamma(2, 50, 900), "plan": rng.choice(["a", "b"], 900)})
    bins = json.loads(json.dumps(drift.frozen(then)))  # as it is kept
    same = pd.DataFrame({"spend": rng.gamma(2, 50, 300), "plan": rng.choice(["a", "b"], 300)})
    assert not drift.compared(bins, same, 0.3, 900, rng.random(300) < 0.33)["alarm"]
    moved = drift.compared(bins, same.assign(spend=same["spend"] * 3, plan="c"), 0.3, 900, rng.random(300) < 0.6)
    assert [word in " ".join(moved["reasons"]) for word in ("spend", "plan", "label's share")] == [True] * 3
    assert drift.compared(bins, same.assign(spend=np.nan), 0.3, 900, None)["psi"]["spend"] > 1
