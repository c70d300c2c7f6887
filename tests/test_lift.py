"""An effect with its interval is what counting by hand gives, and a split that went wrong is told before it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_spark.audiences.lift import LiftError, Moments, effect, effects, moments, sample_ratio
from tests.conftest import ROOT

DATA = ROOT.parent / "shared" / "data" / "ml"


def real(name: str) -> pd.DataFrame:
    path = DATA / name / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip(f"shared data not found: ../shared/data/ml/{name}")
    return pd.read_csv(path)


@pytest.mark.parametrize(
    ("arm", "outcome", "scale", "expected", "half"),
    [
        ("Mens E-Mail", "visit", 100, 7.66, 0.66),
        ("Mens E-Mail", "conversion", 100, 0.68, 0.18),
        ("Mens E-Mail", "spend", 1, 0.770, 0.285),
        ("Womens E-Mail", "visit", 100, 4.52, 0.63),
        ("Womens E-Mail", "conversion", 100, 0.31, 0.16),
        ("Womens E-Mail", "spend", 1, 0.424, 0.255),
    ],
)
def test_a_published_experiment(arm, outcome, scale, expected, half):
    rows = real("hillstrom")
    found = effects(rows["segment"], rows[outcome], "No E-Mail")[arm]
    digits = 2 if scale == 100 else 3
    assert round(found.difference * scale, digits) == expected
    assert round((found.high - found.low) / 2 * scale, digits) == pytest.approx(half, abs=10**-digits)
    assert sample_ratio(dict(rows["segment"].value_counts())).verdict == "fair"


def test_a_published_broken_split_is_told_before_its_effect():
    rows = real("cookie_cats")
    ratio = sample_ratio(dict(rows["version"].value_counts()))
    assert ratio.verdict == "warn" and round(ratio.p, 3) == 0.009
    found = effects(rows["version"], rows["retention_7"], "gate_30")["gate_40"]
    assert round(found.difference * 100, 2) == -0.82 and found.high < 0


@pytest.mark.parametrize(
    ("counts", "shares", "verdict"),
    [
        ({"a": 500, "b": 500}, None, "fair"),
        ({"a": 900, "b": 100}, {"a": 0.9, "b": 0.1}, "fair"),
        ({"a": 900, "b": 100}, {"a": 9, "b": 1}, "fair"),
        ({"a": 560, "b": 440}, None, "refuse"),
        ({"a": 545, "b": 455}, None, "warn"),
        ({"a": 1000, "b": 0}, {"a": 0.5, "b": 0.5}, "refuse"),
    ],
)
def test_sample_ratio(counts, shares, verdict):
    assert sample_ratio(counts, shares).verdict == verdict


@settings(max_examples=200, deadline=None, derandomize=True)
@given(*[st.lists(st.integers(0, 9), min_size=2, max_size=30)] * 2)
def test_moments_are_all_that_an_effect_needs(arm, control):
    found = effects(["t"] * len(arm) + ["c"] * len(control), arm + control, "c")["t"]
    assert found.difference == pytest.approx(sum(arm) / len(arm) - sum(control) / len(control))
    assert found.low <= found.difference <= found.high
    assert (found.n, found.control_n) == (len(arm), len(control))
    assert found == effect(moments(arm), moments(control))


def test_the_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(3)
    inside = 0
    for _ in range(1000):
        found = effect(moments(draws.exponential(2.0, 60) + 0.5), moments(draws.exponential(1.0, 40)))
        inside += found.low <= 1.5 <= found.high
    assert 925 <= inside <= 965  # 950 expected; exponential tails cost a little


def test_what_cannot_be_told_is_refused():
    with pytest.raises(LiftError, match="no arm 'control'"):
        effects(["a", "b"], [1, 2], "control")
    with pytest.raises(LiftError, match="two in each"):
        effect(Moments(1, 1.0, 0.0), Moments(5, 1.0, 1.0))
    with pytest.raises(LiftError, match="not a finite number"):
        effects(["a", "a", "b", "b"], [1, np.nan, 2, 3], "b")
    with pytest.raises(LiftError, match="shares are planned"):
        sample_ratio({"a": 1, "b": 2}, {"a": 0.5, "c": 0.5})
    assert effect(Moments(5, 1.0, 0.0), Moments(5, 1.0, 0.0)).p == 1.0
