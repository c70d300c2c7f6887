"""How often will a customer buy again, and for how much? BG/NBD and Gamma-Gamma on plain transactions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, minimize
from scipy.special import gammaln, hyp2f1

STARTS = (0.0, 1.0, -1.0)  # log-parameters of the tries: the likelihood has flat ridges
FLOOR = 1e-6
LIMIT = 8.0  # of log-parameters, beyond which nothing changes but the last digits


class ClvError(Exception):
    """The customers tell too little, or the likelihood has no maximum that can be trusted. Exit code 3."""

    exit_code = 3


class BgNbd(NamedTuple):
    """Purchase rates are Gamma(r, alpha) over customers; dropout after a purchase is Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float


class GammaGamma(NamedTuple):
    """Values of one customer are Gamma(p, nu); nu is Gamma(q, v) over customers."""

    p: float
    q: float
    v: float
    log_likelihood: float


def customers(orders: pd.DataFrame, until: pd.Timestamp, unit_days: float = 7.0) -> pd.DataFrame:
    """One row per customer seen until then, inclusive: x repeat days, t_x, T (in units of `unit_days`), m.

    orders: customer, day (timestamps), value. Orders of one day are one purchase. t_x: from the first purchase to the
    last; T: from the first to `until`; m: mean value of the repeat purchases that have one above 0, null without.
    """
    days = orders[orders["day"] <= until].groupby(["customer", "day"], as_index=False)["value"].sum()
    first = days.groupby("customer")["day"].transform("min")
    repeats = days[days["day"] > first]
    grouped, again = days.groupby("customer")["day"], repeats.groupby("customer")
    found = pd.DataFrame({"first": grouped.min(), "last": grouped.max()})
    found["x"] = again.size().reindex(found.index, fill_value=0).astype(float)
    found["t_x"] = (found["last"] - found["first"]).dt.days / unit_days
    found["T"] = (until - found["first"]).dt.days / unit_days
    found["m"] = repeats[repeats["value"] > 0].groupby("customer")["value"].mean().reindex(found.index)
    return found[["x", "t_x", "T", "m"]]


def log_likelihood(r, alpha, a, b, x, t_x, T) -> np.ndarray:
    """Log-likelihood of each customer, shape (n,). Fader, Hardie & Lee (2005), Marketing Science 24(2), eq. (6)."""
    rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    alive = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    stays = -(r + x) * np.log(alpha + T)
    left = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
    return rate + alive + np.where(x > 0, np.logaddexp(stays, left), stays)


def bg_nbd(found: pd.DataFrame) -> BgNbd:
    """Maximum likelihood over `customers`. Raises ClvError where there is no repeat purchase or no convergence."""
    if len(found) < 10 or found["x"].sum() < 10:
        raise ClvError(
            f"{len(found)} customers with {found['x'].sum():.0f} repeat purchases: too few to fit BG/NBD (10)"
        )
    x, t_x, T = (found[name].to_numpy(dtype=float) for name in ("x", "t_x", "T"))
    scale = max(float(T.max()), FLOOR) / 10  # times near 1 make the search well conditioned; alpha is scaled back

    def loss(logs: np.ndarray) -> float:
        return -float(log_likelihood(*np.exp(logs), x, t_x / scale, T / scale).mean())

    best = _maximum(loss, 4, "BG/NBD")
    r, alpha, a, b = np.exp(best.x)
    total = log_likelihood(r, alpha * scale, a, b, x, t_x, T).sum()
    return BgNbd(float(r), float(alpha * scale), float(a), float(b), float(total))


def _maximum(loss, size: int, what: str) -> OptimizeResult:
    tries = []
    for start in STARTS:
        rough = minimize(loss, np.full(size, start), method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6})
        tries.append(minimize(loss, rough.x, method="L-BFGS-B", bounds=[(-LIMIT, LIMIT)] * size))
    best = min(tries, key=lambda one: one.fun)
    if not np.isfinite(best.fun):
        raise ClvError(f"{what} did not converge; take a longer calibration period or more customers")
    return best


def alike(model: BgNbd | GammaGamma) -> list[str]:
    """Notes on parameters at their limits: there, customers hardly differ in rate, dropout or value.

    The likelihood is flat then and single parameters mean nothing; what is expected of a customer still does.
    """
    ends = [name for name in model._fields if name in ("a", "b", "p", "q") and _at_end(getattr(model, name))]
    return [f"{', '.join(ends)} at the limit: customers hardly differ in it; the forecast holds"] if ends else []


def _at_end(value: float) -> bool:
    return abs(abs(np.log(value)) - LIMIT) < 0.01


def alive(model: BgNbd, found: pd.DataFrame) -> np.ndarray:
    """Probability that each customer has not left; 1 without repeats. Fader, Hardie & Lee (2008), note on P(alive)."""
    r, alpha, a, b, _ = model
    x, t_x, T = (found[name].to_numpy(dtype=float) for name in ("x", "t_x", "T"))
    odds = np.log(a) - np.log(b + np.maximum(x, 1) - 1) + (r + x) * (np.log(alpha + T) - np.log(alpha + t_x))
    return np.where(x > 0, 1 / (1 + np.exp(np.clip(odds, -700, 700))), 1.0)


def expected_purchases(model: BgNbd, found: pd.DataFrame, t: float) -> np.ndarray:
    """Expected purchases of each customer in the next `t` units, shape (n,). Fader, Hardie & Lee (2005), eq. (10)."""
    r, alpha, a, b, _ = model
    a = a + FLOOR if abs(a - 1) < FLOOR else a  # the formula's only hole
    x, T = found["x"].to_numpy(dtype=float), found["T"].to_numpy(dtype=float)
    series = hyp2f1(r + x, b + x, a + b + x - 1, t / (alpha + T + t))
    rest = 1 - np.exp((r + x) * (np.log(alpha + T) - np.log(alpha + T + t))) * series
    return (a + b + x - 1) / (a - 1) * rest * alive(model, found)


def gamma_gamma(found: pd.DataFrame) -> GammaGamma:
    """Maximum likelihood over customers with repeats of a value. Fader & Hardie (2013), Gamma-Gamma note, eq. (1a)."""
    known = found[(found["x"] > 0) & (found["m"] > 0)]
    if len(known) < 10:
        raise ClvError(f"{len(known)} customers have repeat purchases with a value: too few to fit Gamma-Gamma (10)")
    x, m = known["x"].to_numpy(dtype=float), known["m"].to_numpy(dtype=float)
    scale = float(m.mean())

    def loss(logs: np.ndarray) -> float:
        return -float(_values(*np.exp(logs), x, m / scale).mean())

    p, q, v = np.exp(_maximum(loss, 3, "Gamma-Gamma").x)
    return GammaGamma(float(p), float(q), float(v * scale), float(_values(p, q, v * scale, x, m).sum()))


def _values(p, q, v, x, m) -> np.ndarray:
    shape = gammaln(p * x + q) - gammaln(p * x) - gammaln(q)
    return shape + q * np.log(v) + (p * x - 1) * np.log(m) + p * x * np.log(x) - (p * x + q) * np.log(v + m * x)


def expected_value(model: GammaGamma, found: pd.DataFrame) -> np.ndarray:
    """Expected value of each customer's next purchase, in the currency of m. Fader & Hardie (2013), eq. (5).

    Raises ClvError where q <= 1: the mean over customers, v p / (q - 1), does not exist then.
    """
    p, q, v, _ = model
    if q <= 1:
        raise ClvError(f"Gamma-Gamma: q = {q:.3f}, but a mean value needs q > 1; too few repeat buyers?")
    m = found["m"].fillna(0).to_numpy(dtype=float)
    x = np.where(m > 0, found["x"].to_numpy(dtype=float), 0)
    return p * (v + x * m) / (p * x + q - 1)


def judged(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Total beside the actual one, mean absolute error and root mean squared error a customer."""
    error = predicted - actual
    return {
        "total": float(predicted.sum()),
        "actual_total": float(actual.sum()),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def holdout(model: BgNbd, found: pd.DataFrame, orders: pd.DataFrame, until, end, unit_days: float) -> dict:
    """Days with a purchase in (until, end] beside the model, nothing, the same count again, and the hiatus rule.

    hiatus rule: who bought in the last 8 weeks goes on at the own rate, the others have left.
    """
    later = orders[(orders["day"] > until) & (orders["day"] <= end)].drop_duplicates(["customer", "day"])
    actual = later.groupby("customer").size().reindex(found.index, fill_value=0).to_numpy(dtype=float)
    t, x, T = (end - until).days / unit_days, found["x"].to_numpy(), found["T"].to_numpy()
    recent = (found["T"] - found["t_x"]).to_numpy() * unit_days < 56
    rate = np.where(recent, x / np.maximum(T, FLOOR), 0)
    return {
        "days": (end - until).days,
        "customers": len(found),
        "bg_nbd": judged(expected_purchases(model, found, t), actual),
        "zero": judged(np.zeros(len(found)), actual),
        "same_count": judged(x * t / max(float(T.max()), FLOOR), actual),
        "hiatus_rule": judged(rate * t, actual),
    }
