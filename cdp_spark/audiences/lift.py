"""Did the treatment move the outcome? Effects by arm with intervals, and whether the split itself can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

# Fabijan et al. (2019), "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD: a mismatch below
# p = .001 means that the assignment is broken, and no effect measured on it can be believed.
WARN, REFUSE = 0.01, 0.001


class LiftError(ValueError):
    """The outcome of an experiment cannot be told: says what is missing or wrong, never a row's value."""

    exit_code = 2


class Moments(NamedTuple):
    """What an arm's outcomes come down to: people, mean, and variance with n - 1 below (0 for a single person)."""

    n: int
    mean: float
    variance: float


class Effect(NamedTuple):
    """An arm beside the control: difference of means (arm - control) with its interval, in the outcome's own unit.

    relative is difference / control's mean, null where that is 0. p is two-sided, against no difference.
    """

    n: int
    mean: float
    control_n: int
    control_mean: float
    difference: float
    low: float
    high: float
    p: float
    relative: float | None


class SampleRatio(NamedTuple):
    """Whether the arms are as big as planned: p of the chi-square test, and what to do about it."""

    p: float
    verdict: Literal["fair", "warn", "refuse"]


def moments(values: ArrayLike) -> Moments:
    """Moments of outcomes, shape (n,), booleans as 0 and 1. Raises LiftError where none, or one that is no number."""
    found = np.asarray(values, dtype=float)
    if found.size == 0 or not np.isfinite(found).all():
        raise LiftError("an arm has no outcomes, or one that is not a finite number; fill or drop those rows first")
    return Moments(found.size, float(found.mean()), float(found.var(ddof=1)) if found.size > 1 else 0.0)


def effect(arm: Moments, control: Moments, confidence: float = 0.95) -> Effect:
    """Difference of two means with Welch's interval: unequal variances, unequal sizes.

    Welch (1947), "The generalization of 'Student's' problem when several different population variances are involved".
    Raises LiftError where an arm has fewer than two people.
    """
    if min(arm.n, control.n) < 2:
        raise LiftError(f"an arm has {arm.n} and the control {control.n} people; an interval needs two in each")
    difference = arm.mean - control.mean
    parts = (arm.variance / arm.n, control.variance / control.n)
    error = math.sqrt(sum(parts))
    if not error:  # nobody differs from anybody in their arm: the means are all there is to know
        p, half = float(difference == 0), 0.0
    else:
        freedom = error**4 / sum(part**2 / (m.n - 1) for part, m in zip(parts, (arm, control), strict=True))
        p = float(2 * stats.t.sf(abs(difference) / error, freedom))
        half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    relative = difference / control.mean if control.mean else None
    return Effect(*arm[:2], *control[:2], difference, difference - half, difference + half, p, relative)


def effects(arms: ArrayLike, outcome: ArrayLike, control: str, confidence: float = 0.95) -> dict[str, Effect]:
    """{arm: its effect} for every arm but `control`, in order of name.

    arms: the arm of each row, shape (n,).  outcome: its KPI, shape (n,).
    Raises LiftError where no row is in the control arm, or no row in another.
    """
    arms, outcome = np.asarray(arms).astype(str), np.asarray(outcome, dtype=float)
    if arms.shape != outcome.shape:
        raise LiftError(f"arms and outcome differ in length: {arms.size} and {outcome.size}")
    found = {str(arm): moments(outcome[arms == arm]) for arm in np.unique(arms)}
    if control not in found or len(found) < 2:
        raise LiftError(f"no arm {control!r} to compare with, or nothing beside it; arms: {', '.join(found) or 'none'}")
    return {arm: effect(m, found[control], confidence) for arm, m in found.items() if arm != control}


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float] | None = None) -> SampleRatio:
    """Are the arms as big as planned? Pearson's chi-square test of `counts` against `shares` (equal ones by default).

    warn below p = .01, refuse below p = .001. shares need not sum to 1, only to be positive for the same arms.
    Raises LiftError where the arms of the two differ.
    """
    shares = shares or dict.fromkeys(counts, 1.0)
    if set(counts) != set(shares) or len(counts) < 2 or min(shares.values()) <= 0:
        raise LiftError(f"shares are planned for {sorted(shares)}, but people are in {sorted(counts)}")
    total, whole = sum(counts.values()), sum(shares.values())
    if not total:
        raise LiftError("nobody is in any arm")
    expected = [total * shares[arm] / whole for arm in counts]
    p = float(stats.chisquare(list(counts.values()), expected).pvalue)
    return SampleRatio(p, "refuse" if p < REFUSE else "warn" if p < WARN else "fair")
