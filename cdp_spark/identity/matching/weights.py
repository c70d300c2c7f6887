"""What does a trained model say of a pair? The weight of each level in bits, and SQL that adds them up."""

from __future__ import annotations

from math import log2
from typing import NamedTuple

from sklearn.isotonic import isotonic_regression

from cdp_spark.identity.matching.comparisons import Comparison

# agreement on a rare value counts at most this many bits more than on an ordinary one: typing errors are rare too
RARE_BITS = 5.0
# a level that training never saw: agreement says nothing, a difference in what tells relatives apart says a little
UNSEEN_DIFFERENCE = -4.0
FLOOR = 1e-6
ASSUMED_REST = 0.1


class Weighted(NamedTuple):
    """A comparison with the weights of its levels (the last: differ), and log2 u of each for rarity."""

    comparison: Comparison
    weights: tuple[float, ...]
    log_u: tuple[float | None, ...]


def weighted(model: dict, comparisons: list[Comparison]) -> list[Weighted]:
    """Weights log2(m/u) of `comparisons` in a Splink model, smoothed so that a better agreement never weighs less.

    Smoothed by isotonic regression weighted with m (Ayer et al. 1955): levels that few pairs reach are noisy.
    """
    trained = {one["output_column_name"]: one["comparison_levels"] for one in model["comparisons"]}
    found = []
    for one in comparisons:
        levels = [level for level in trained[one.name] if not level.get("is_null_level")]
        if not any(level.get("m_probability") for level in levels):
            levels = _assumed(levels)
        raw = [_weight(level, last=n == len(levels) - 1, own=one.own) for n, level in enumerate(levels)]
        mass = [max(level.get("m_probability") or 0, 1e-4) for level in levels]
        smooth = isotonic_regression(raw, sample_weight=mass, increasing=False)
        log_u = [log2(u) if (u := level.get("u_probability")) else None for level in levels]
        found.append(Weighted(one, tuple(round(float(w), 4) for w in smooth), tuple(log_u)))
    return found


def _assumed(levels: list[dict]) -> list[dict]:
    """Levels of a comparison that no session could train: nine of ten matches agree, the rest is shared out."""
    rest = ASSUMED_REST / (len(levels) - 1)
    return [level | {"m_probability": rest if n else 1 - ASSUMED_REST} for n, level in enumerate(levels)]


def _weight(level: dict, *, last: bool, own: bool) -> float:
    m, u = level.get("m_probability"), level.get("u_probability")
    if not m or (m and not u and last):
        return UNSEEN_DIFFERENCE if last and own else 0.0
    return log2(max(m, FLOOR) / max(u or FLOOR, FLOOR)) if u else 0.0


def similarities_sql(model: list[Weighted]) -> dict[str, str]:
    """Each similarity once, by its name."""
    return {name: sql for one in model for name, sql in one.comparison.similarities.items()}


def weight_sql(one: Weighted) -> str:
    """CASE over similarities and columns: the weight of one comparison, 0 where a value is missing."""
    cases = [f"WHEN {one.comparison.null} THEN 0.0D"]
    for level, weight, log_u in zip(one.comparison.levels, one.weights, one.log_u, strict=False):
        cases.append(f"WHEN {level.when} THEN {_with_rarity(level.tf, weight, log_u)}")
    return "CASE " + " ".join(cases) + f" ELSE {one.weights[-1]}D END"


def _with_rarity(column: str | None, weight: float, log_u: float | None) -> str:
    if column is None or log_u is None:
        return f"{weight}D"
    rarity = f"{log_u:.4f}D - log2(greatest(tf_{column}_l, tf_{column}_r))"
    return f"{weight}D + least({RARE_BITS}D, {rarity})"


def total_sql(model: list[Weighted]) -> str:
    return " + ".join(f"w_{one.comparison.name}" for one in model)


def own_sql(model: list[Weighted]) -> str:
    """Sum of what tells one member of a household from another."""
    parts = []
    for one in model:
        if not one.comparison.own:
            continue
        name, most, apart = f"w_{one.comparison.name}", one.comparison.most, one.comparison.apart
        part = name if most is None else f"least({most}D, {name})"
        if apart is not None and one.weights[-1] < 0:
            part = f"CASE WHEN {name} <= {one.weights[-1]}D THEN least({apart}D, {name}) ELSE {part} END"
        parts.append(part)
    return " + ".join(parts) or "0.0D"


def tf_columns(model: list[Weighted]) -> list[str]:
    """Columns whose values' shares among all records the weights need."""
    return sorted({level.tf for one in model for level in one.comparison.levels if level.tf})
