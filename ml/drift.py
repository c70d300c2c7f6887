"""Has the world moved since the fit? Population stability with bins frozen then, and the label's share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ALARM = 0.25  # PSI; the usual reading: below .1 stable, above .25 act
BINS = 10
LEVELS = 30
LEAST_ROWS = 20  # that a category is kept by name for: a rarer one may be somebody's name
SHARES = 1.25  # the label's share must move by a quarter, and by more than luck, to raise the alarm
LUCK = 4.0  # standard errors
LEAST = 50  # rows that a drift is told of
SCORE = "(score)"  # beside columns of any name
FLOOR = 1e-4


def frozen(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Bins and shares of each column: {name: {edges | levels, shares, rows}}, plain enough for JSON.

    Numbers: deciles of the values, and missing. Categories: the LEVELS most frequent that LEAST_ROWS have, all others,
    and missing.
    """
    found = {}
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values):
            inner = (
                np.unique(values.dropna().quantile(np.linspace(0, 1, BINS + 1)[1:-1])) if values.notna().any() else []
            )
            bins: dict[str, Any] = {"edges": [float(edge) for edge in inner]}
        else:
            counts = values.value_counts()
            bins = {"levels": [str(level) for level in counts.index[counts >= LEAST_ROWS][:LEVELS]]}
        found[name] = bins | {"shares": _shares(values, bins).tolist(), "rows": int(values.size)}
    return found


def _shares(values: pd.Series, bins: dict[str, Any]) -> np.ndarray:
    empty = values.isna().to_numpy()
    if "edges" in bins:
        place = np.searchsorted(np.asarray(bins["edges"]), values.to_numpy(dtype=float), side="left")
        size = len(bins["edges"]) + 1
    else:
        number = {level: at for at, level in enumerate(bins["levels"])}
        place = values.astype(str).map(number).fillna(len(number)).to_numpy(dtype=int)
        size = len(number) + 1
    counts = np.bincount(np.where(empty, size, place), minlength=size + 1)
    return counts / max(values.size, 1)


def psi(bins: dict[str, Any], values: pd.Series, rows: int | None = None) -> float:
    """Population stability index: sum over bins of (now - then) ln(now / then), less what luck adds.

    Siddiqi (2006), "Credit Risk Scorecards", ch. 9. Of two samples of one population its mean is about
    (bins - 1) (1/rows + 1/rows then) (Yurdakul & Naranjo 2020); so much is taken off: small tables are silent.
    rows: how many of the values are independent of each other; None: all.
    """
    then, now = np.maximum(bins["shares"], FLOOR), np.maximum(_shares(values, bins), FLOOR)
    raw = float(((now - then) * np.log(now / then)).sum())
    luck = (np.count_nonzero(np.asarray(bins["shares"]) + now > 2 * FLOOR) - 1) * (
        1 / max(rows or values.size, 1) + 1 / bins["rows"]
    )
    return float(max(0.0, raw - luck))


def compared(
    bins: dict[str, dict], frame: pd.DataFrame, share_then: float | None, rows_then: int, label: np.ndarray | None
) -> dict:
    """{psi by column (the largest first), label_share_then and _now, alarm, reasons}. label None: not known yet."""
    found = {name: psi(bins[name], frame[name]) for name in bins if name in frame.columns}
    found = dict(sorted(found.items(), key=lambda item: -item[1]))
    reasons = [f"{name} has drifted: PSI {value:.2f} > {ALARM}" for name, value in found.items() if value > ALARM]
    reasons = reasons if len(frame) >= LEAST else []
    now = float(np.mean(label)) if label is not None and len(label) else None
    if now is not None and share_then is not None and prior_shift(share_then, rows_then, now, len(label)):
        reasons.insert(0, f"the label's share went from {share_then:.1%} to {now:.1%}: calibrate anew")
    return {
        "psi": {name: round(value, 4) for name, value in found.items()},
        "label_share_then": share_then,
        "label_share_now": now,
        "alarm": bool(reasons),
        "reasons": reasons,
    }


def prior_shift(then: float, rows_then: int, now: float, rows: int) -> bool:
    """True where the share of positives moved by a quarter at least and by more than LUCK standard errors."""
    pooled = (then * rows_then + now * rows) / (rows_then + rows)
    error = np.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / rows_then + 1 / rows))
    ratio = max(then, now) / max(min(then, now), 1e-12)
    return bool(abs(now - then) > LUCK * error and ratio > SHARES)
