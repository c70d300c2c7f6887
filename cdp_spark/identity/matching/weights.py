"""What does a trained model say of a pair? The weight of each level in bits, and SQL that adds them up."""

from __future__ import annotations

from math import log2
from typing import NamedTuple

from sklearn.isotonic import isotonic_regression

from cdp_spark.identity.matching.comparison import Comparison, Level

# agreement on a rare value counts at most this many bits more than on an ordinary one: typing errors are rare too
RARE_BITS = 5.0
# a level that training never saw: agreement says nothing, a difference in what tells relatives apart says a little
UNSEEN_DIFFERENCE = -4.0
FLOOR = 1e-6
# pairs, and records, that the ordinary population stands for beside those that were counted
ASSUMED_PAIRS = 300
ASSUMED_RECORDS = 50
# however clean the sample: one of five hundred true pairs may differ in anything
LEAST_M = 0.002
ASSUMED_REST = 0.1


class Weighted(NamedTuple):
    """A comparison with the weights of its levels (the last: differ), and log2 u of each for rarity."""

    comparison: Comparison
    weights: tuple[float, ...]
    log_u: tuple[float | None, ...]


def weighted(model: dict, comparisons: list[Comparison]) -> list[Weighted]:
    """Weights log2(m/u) of `comparisons` in a Splink model, smoothed so that a better agreement never weighs less.

    Smoothed by isotonic regression weighted with m (Ayer et al. 1955): levels that few pairs reach are noisy. A small
    sample's u is drawn towards what agreement says in an ordinary population (`says`).
    """
    pairs = model.get("u_pairs", 0)
    trained = {one["output_column_name"]: one["comparison_levels"] for one in model["comparisons"]}
    found = []
    for one in comparisons:
        levels = [level for level in trained[one.name] if not level.get("is_null_level")]
        if not any(level.get("m_probability") for level in levels):
            levels = _assumed(levels)
        seen = pairs if any(level.get("u_probability") for level in levels) else 0
        levels = [*(_drawn(*both, one.says, seen) for both in zip(levels, one.levels, strict=False)), levels[-1]]
        raw = [_weight(level, last=n == len(levels) - 1, own=one.own) for n, level in enumerate(levels)]
        mass = [max(level.get("m_probability") or 0, 1e-4) for level in levels]
        caps = [level.most for level in one.levels] + [None]
        raw = [w if most is None else min(w, most) for w, most in zip(raw, caps, strict=True)]
        smooth = isotonic_regression(raw, sample_weight=mass, increasing=False)
        log_u = [log2(u) if (u := level.get("u_probability")) else None for level in levels]
        found.append(Weighted(one, tuple(round(float(w), 4) for w in smooth), tuple(log_u)))
    return found


def _assumed(levels: list[dict]) -> list[dict]:
    """Levels of a comparison that no session could train: nine of ten matches agree, the rest is shared out."""
    rest = ASSUMED_REST / (len(levels) - 1)
    return [level | {"m_probability": rest if n else 1 - ASSUMED_REST} for n, level in enumerate(levels)]


def _drawn(level: dict, known: Level, says: float, pairs: float) -> dict:
    """`level` with u between that of `pairs` counted pairs and that of ASSUMED_PAIRS ordinary ones."""
    ordinary = 2.0 ** -(says if known.says is None else known.says)
    counted = pairs * (level.get("u_probability") or 0)
    return level | {"u_probability": (counted + ASSUMED_PAIRS * ordinary) / (pairs + ASSUMED_PAIRS)}


def _weight(level: dict, *, last: bool, own: bool) -> float:
    m, u = level.get("m_probability"), level.get("u_probability")
    if not m or (m and not u and last):
        return UNSEEN_DIFFERENCE if last and own else 0.0
    return log2(max(m, LEAST_M) / max(u, FLOOR)) if u else 0.0


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
    parts, there = [], {one.comparison.name for one in model}
    for one in model:
        if not one.comparison.own:
            continue
        name, most, apart = f"w_{one.comparison.name}", one.comparison.most, one.comparison.apart
        part = name if most is None else f"least({most}D, {name})"
        if most is not None and one.comparison.unless in there:
            part = f"CASE WHEN w_{one.comparison.unless} > 0 THEN {name} ELSE {part} END"
        if apart is not None and one.weights[-1] < 0:
            part = f"CASE WHEN {name} <= {one.weights[-1]}D THEN least({apart}D, {name}) ELSE {part} END"
        parts.append(part)
    return " + ".join(parts) or "0.0D"


def named_sql(model: list[Weighted]) -> str:
    """Does anything that is somebody's own speak for the pair? An address alone names nobody, however rare it is."""
    own = [f"w_{one.comparison.name} > 0" for one in model if one.comparison.own]
    return " OR ".join(own) or "true"


def tf_columns(model: list[Weighted]) -> dict[str, float]:
    """Columns whose values' shares among all records the weights need, with the u of their agreement."""
    found: dict[str, float] = {}
    for one in model:
        for level, log_u in zip(one.comparison.levels, one.log_u, strict=False):
            if level.tf and log_u is not None:
                found[level.tf] = min(found.get(level.tf, 1.0), 2.0**log_u)
    return dict(sorted(found.items()))


def share_sql(records: str, everybody: int, u: float) -> str:
    """The share of strangers with a value that `records` of `everybody` have, two of whom are the pair itself.

    ASSUMED_RECORDS more are taken to agree with chance u, so that in a short file a value seen twice is not common.
    """
    return f"(greatest({records} - 2, 0) + {ASSUMED_RECORDS * u}D) / {_strangers(everybody)}D"


def rest_share(everybody: int, u: float) -> float:
    """`share_sql` of a value that the pair alone has."""
    return ASSUMED_RECORDS * u / _strangers(everybody)


def _strangers(everybody: int) -> float:
    return float(max(everybody - 2, 0) + ASSUMED_RECORDS)
