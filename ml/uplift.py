"""Whom does the treatment move? Learners of a randomised effect, judged on people they have not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from cdp_spark.audiences.lift import effects, sample_ratio
from ml.cells import blanked
from ml.encode import pipeline
from ml.flat import Asked, declared, enough, flagged, refused
from ml.labels import LabelError, labels
from ml.table import typed
from ml.validate import FOLDS, chances, fit

NONE = ("no ", "no_", "no-", "control", "holdout", "none", "untreated", "placebo", "baseline")
NOT_TREATED = {"no", "0", "0.0", "false", "f", "n"}
TREATED = "(treated)"  # beside columns of any name
TOP = 0.3
MOST_ARMS = 20
DRAWS = 500


def control_arm(arms: pd.Series, wanted: str | None = None) -> tuple[str, str]:
    """(the arm that got nothing, how we know). Raises LabelError where `wanted` is no arm, or there is one arm only."""
    known = sorted(arms.dropna().unique())
    if not 2 <= len(known) <= MOST_ARMS:
        raise LabelError(f"treatment: {len(known)} arm(s) in the table; an experiment has 2 to {MOST_ARMS}")
    if wanted is not None:
        wanted = next((arm for arm in known if arm.lower() == wanted.strip().lower()), wanted)
        if wanted not in known:
            raise LabelError(f"no arm {wanted!r}; there are: {', '.join(known)}")
        return wanted, f"{wanted!r} is the control, as told"
    lower = {arm: arm.lower() for arm in known}
    named = [arm for arm in known if lower[arm] in NOT_TREATED or lower[arm].startswith(NONE)]
    if len(named) == 1:
        return named[0], f"{named[0]!r} is taken as the control by its name"
    return known[0], f"{known[0]!r} is taken as the control, the first by name; --control names another"


def lift(frame: pd.DataFrame, arm: str, outcomes: list[str], control: str | None, values: Callable) -> dict:
    """Sample ratio and, by outcome, each arm's effect beside the control. values: (cells, name) -> numbers."""
    arms = blanked(frame[arm])
    known = arms.notna()
    arms = arms[known].astype(str)
    base, told = control_arm(arms, control)
    counts = {name: int(count) for name, count in arms.value_counts().sort_index().items()}
    notes = [told] + ([f"{int((~known).sum())} rows without an arm are left out"] if not known.all() else [])
    found: dict[str, dict] = {}
    for name in outcomes:
        numbers = values(frame.loc[known, name], name)
        there = numbers.notna()
        notes += [f"{name}: {int((~there).sum())} rows without a value are left out"] if not there.all() else []
        measured = effects(arms[there], numbers[there].to_numpy(dtype=float), base)
        found[name] = {one: effect._asdict() for one, effect in measured.items()}
    ratio = sample_ratio(counts)._asdict()
    if ratio["verdict"] != "fair":
        notes.insert(
            0, f"the arms are not as big as equal shares would be (p = {ratio['p']:.2g}): mistrust the effects"
        )
    return {"arms": counts, "control": base, "sample_ratio": ratio, "effects": found, "notes": notes}


def reported(
    name: str, frame: pd.DataFrame, asked: Asked, treatment: str, control: str | None, estimator: Callable
) -> dict:
    """Effect of each arm and, from people outside the fold, whom each learner would treat first.

    s_learner: one model with the treatment among its columns; t_learner: one model an arm; response: who is likely
    anyhow, the baseline. Raises LabelError as `labels` and `control_arm` do.
    """
    told = labels(frame[asked.label], asked.label, asked.positive)
    label, arms = told.values, blanked(frame[treatment])
    there = (label.notna() & arms.notna()).to_numpy()
    frame, label, arms = frame[there].reset_index(drop=True), label[there], arms[there].astype(str)
    enough(label, asked.least)
    base, how = control_arm(arms, control)
    known = declared(frame.drop(columns=treatment), asked)
    rows = typed(frame, known.kinds)
    flags = flagged(rows, label.reset_index(drop=True), asked, known.kinds)
    report = {
        "model": name,
        "status": "judged",
        "rows": len(frame),
        "control": base,
        "notes": [told.note(asked.label), how],
        "features": known.kinds,
        "left_out": known.left_out,
        "leaks": [flag._asdict() for flag in flags],
    }
    if flags and not asked.drop_leaks:
        return refused(report, flags, None)
    kept = known.without([flag.column for flag in flags], "flagged by a gate")
    report |= {"features": kept.kinds, "left_out": kept.left_out}
    rows, truth, arms = rows[list(kept.kinds)], label.to_numpy(dtype=int), arms.to_numpy()
    report["sample_ratio"] = sample_ratio({arm: int((arms == arm).sum()) for arm in sorted(set(arms))})._asdict()
    report["effects"] = {arm: effect._asdict() for arm, effect in effects(arms, truth, base).items()}
    report["uplift"] = {}
    for arm in sorted(set(arms) - {base}):
        part = np.isin(arms, [arm, base])
        report["uplift"][arm] = learned(rows[part], kept.kinds, truth[part], arms[part] == arm, estimator, asked.seed)
    return report


def learned(rows: pd.DataFrame, kinds: dict, truth: np.ndarray, treated: np.ndarray, estimator, seed: int) -> dict:
    """By learner: the effect in its top 30 %, with interval and permutation p, beside everybody's effect."""
    scores = out_of_fold(rows, kinds, truth, treated, estimator, seed)
    everybody = difference(truth, treated)
    found = {name: top_effect(score, truth, treated, seed) for name, score in scores.items()}
    return {"share": TOP, "everybody": everybody, "learners": found}


def out_of_fold(rows, kinds, truth, treated, estimator, seed: int) -> dict[str, np.ndarray]:
    """Each learner's score of each row, by models that have not seen the row."""
    found = {name: np.empty(len(rows)) for name in ("s_learner", "t_learner", "response")}
    with_arm, one = rows.assign(**{TREATED: treated.astype(float)}), kinds | {TREATED: "number"}
    single = pipeline(with_arm, one, estimator(seed), seed)
    each = pipeline(rows, kinds, estimator(seed), seed)
    for here, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, truth + 2 * treated):
        model = fit(clone(single), with_arm.iloc[here], truth[here])
        yes, no = (chances(model, with_arm.iloc[held].assign(**{TREATED: value})) for value in (1.0, 0.0))
        found["s_learner"][held], found["response"][held] = yes - no, no
        arms = [fit(clone(each), rows.iloc[part], truth[part]) for part in (here[treated[here]], here[~treated[here]])]
        found["t_learner"][held] = chances(arms[0], rows.iloc[held]) - chances(arms[1], rows.iloc[held])
    return found


def difference(truth: np.ndarray, treated: np.ndarray) -> float:
    """Mean outcome of the treated minus that of the others; null where either is nobody."""
    if not treated.any() or treated.all():
        return float("nan")
    return float(truth[treated].mean() - truth[~treated].mean())


def top_effect(score: np.ndarray, truth: np.ndarray, treated: np.ndarray, seed: int, top: float = TOP) -> dict:
    """Effect among the `top` share by score: value, 95 % bootstrap interval, p of a score that knows nothing.

    p: the share of DRAWS random rankings whose top has as large an effect (one is added to both, so p is never 0).
    """
    rng, size = np.random.default_rng(seed), int(round(top * score.size))
    best = np.argsort(-score, kind="stable")[:size]
    value = difference(truth[best], treated[best])
    draws, random = [], []
    for _ in range(DRAWS):
        again = rng.integers(0, score.size, score.size)
        order = again[np.argsort(-score[again], kind="stable")[:size]]
        draws.append(difference(truth[order], treated[order]))
        mixed = rng.permutation(score.size)[:size]
        random.append(difference(truth[mixed], treated[mixed]))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    p = (1 + np.sum(np.array(random) >= value)) / (1 + DRAWS)
    return {"uplift": value, "low": float(low), "high": float(high), "permutation_p": float(p)}
