"""Whom does the treatment move? Learners of a randomised effect, judged on people they have not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from cdp_spark.audiences.lift import effects
from ml import split
from ml.cells import blanked
from ml.encode import pipeline
from ml.flat import Asked, declared, enough, enough_people, flagged, people, refused, unlabelled, when
from ml.labels import LabelError, labels
from ml.table import typed
from ml.validate import chances, fit, folds, newest

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


def lift(
    frame: pd.DataFrame, arm: str, outcomes: list[str], control: str | None, values: Callable,
    shares: dict[str, float] | None = None,
) -> dict:  # fmt: skip
    """Sample ratio and, by outcome, each arm's effect beside the control. values: (cells, name) -> numbers.

    shares: of the arms as planned, None: equal ones. sample_ratio's verdict is the worst of the arms' sizes and of
    who lacks an outcome. Raises LabelError where an arm has fewer than two rows with the outcome.
    """
    arms = blanked(frame[arm])
    known = arms.notna()
    arms = arms[known].astype(str)
    base, told = control_arm(arms, control)
    counts = {name: int(count) for name, count in arms.value_counts().sort_index().items()}
    notes = [told] + ([f"{int((~known).sum())} rows without an arm are left out"] if not known.all() else [])
    found, gone = {}, {}
    ratio, doubts = split.ratio(counts, shares)
    for name in outcomes:
        numbers = values(frame.loc[known, name], name)
        there = numbers.notna()
        some_in_each(arms[there], list(counts), name)
        notes += [f"{name}: {int((~there).sum())} rows without a value are left out"] if not there.all() else []
        gone[name], more = split.missing(arms, there, name)
        doubts += more
        measured = effects(arms[there], numbers[there].to_numpy(dtype=float), base)
        found[name] = {one: effect._asdict() for one, effect in measured.items()}
    ratio["verdict"] = split.worst([ratio["verdict"], *(one["verdict"] for one in gone.values())])
    notes = doubts + notes + split.many(len(outcomes) * (len(counts) - 1))
    return {"arms": counts, "control": base, "sample_ratio": ratio, "missing": gone, "effects": found, "notes": notes}


def some_in_each(arms: pd.Series, wanted: list[str], outcome: str) -> None:
    """Raises LabelError for an arm of `wanted` with fewer than two rows, which no interval can be told from."""
    for arm, rows in arms.value_counts().reindex(wanted, fill_value=0).items():
        if rows < 2:
            few = f"outcome {outcome}: arm {arm!r} has {rows or 'no'} row(s) with a value"
            raise LabelError(f"{few}; an interval needs two in each arm")


def reported(
    name: str, frame: pd.DataFrame, asked: Asked, treatment: str, control: str | None, estimator: Callable,
    shares: dict[str, float] | None = None,
) -> dict:  # fmt: skip
    """Effect of each arm and, from people outside the fold, whom each learner would treat first.

    s_learner: one model with the treatment among its columns; t_learner: one model an arm; response: who is likely
    anyhow, the baseline. shares: of the arms as planned. Raises LabelError as `labels`, `control_arm` and
    `enough_in_each` do.
    """
    told = labels(frame[asked.label], asked.label, asked.positive)
    arms = blanked(frame[treatment])
    notes = unlabelled(told.values, asked.label)
    notes += [f"{int(arms.isna().sum())} rows without an arm are left out"] if arms.isna().any() else []
    labelled, whose = told.values[arms.notna()].notna(), arms.dropna().astype(str)
    there = told.values.notna() & arms.notna()
    frame, label, arms = (part[there].reset_index(drop=True) for part in (frame, told.values, arms))
    arms = arms.astype(str)
    base, how = control_arm(arms, control)
    person = people(frame[asked.id]) if asked.id else None
    enough_in_each(label, arms, person, asked.least)
    sizes, doubts = split.ratio({arm: int(count) for arm, count in whose.value_counts().sort_index().items()}, shares)
    gone, more = split.missing(whose, labelled, asked.label)
    sizes["verdict"] = split.worst([sizes["verdict"], gone["verdict"]])
    known = declared(frame.drop(columns=treatment), asked)
    rows = typed(frame, known.kinds)
    flags = flagged(rows, label, asked, known.kinds)
    kept = known.without([flag.column for flag in flags], "flagged by a gate")
    blocked = bool(flags) and not asked.drop_leaks
    report = {
        "model": name,
        "status": "judged",
        "rows": len(frame),
        "control": base,
        "sample_ratio": sizes,
        "missing": {asked.label: gone},
        "notes": doubts + more + [told.note(asked.label), how, *notes, *split.many(arms.nunique() - 1)],
        "features": known.kinds if blocked else kept.kinds,
        "left_out": known.left_out if blocked else kept.left_out,
        "leaks": [flag._asdict() for flag in flags],
    }
    if blocked or not kept.kinds:
        return refused(report, flags, None if kept.kinds else "no column is left to learn from")
    report |= later(label, arms, when(frame, asked), base)
    return report | told_of(rows[list(kept.kinds)], kept.kinds, label, arms, person, base, asked, estimator)


def enough_in_each(label: pd.Series, arms: pd.Series, person: pd.Series | None, least: int) -> None:
    """Raises LabelError where an arm has fewer than `least` rows of a class, or fewer people of one than folds."""
    for arm in sorted(arms.unique()):
        mine = label[arms == arm]
        try:
            enough(mine, least)
            enough_people(mine, None if person is None else person[mine.index])
        except LabelError as error:
            raise LabelError(f"arm {arm!r}: {error}") from None


def later(label: pd.Series, arms: pd.Series, moment: pd.Series | None, base: str) -> dict:
    """time_split: the arms' effects on the newest fifth, null where one is missing; {} where nothing tells the time."""
    if moment is None:
        return {}
    new = newest(moment)
    if arms[new].value_counts().reindex(arms.unique(), fill_value=0).min() < 2:
        return {"time_split": None}
    told = {arm: effect._asdict() for arm, effect in effects(arms[new], label[new], base).items()}
    return {"time_split": {"test_rows": int(new.sum()), "newest_from": float(moment[new].min()), "effects": told}}


def told_of(rows, kinds: dict, label, arms, person, base: str, asked: Asked, estimator: Callable) -> dict:
    """effects and uplift of `reported`, by arm."""
    truth, arms = label.to_numpy(dtype=int), arms.to_numpy()
    top = (asked.decision and asked.decision.capacity) or TOP
    uplift = {}
    for arm in sorted(set(arms) - {base}):
        part = np.isin(arms, [arm, base])
        one = None if person is None else person[part]
        treated = arms[part] == arm
        uplift[arm] = learned(rows[part], kinds, truth[part], treated, estimator, asked.seed, one, top)
    whole = {arm: effect._asdict() for arm, effect in effects(arms, truth, base).items()}
    return {"effects": whole, "uplift": uplift}


def learned(
    rows: pd.DataFrame, kinds: dict, truth: np.ndarray, treated: np.ndarray, estimator: Callable, seed: int,
    person: pd.Series | None = None, top: float = TOP,
) -> dict:  # fmt: skip
    """By learner: the effect in its `top` share, with interval and permutation p, beside everybody's effect."""
    scores = out_of_fold(rows, kinds, truth, treated, estimator, seed, person)
    everybody = difference(truth, treated)
    found = {name: top_effect(score, truth, treated, seed, top) for name, score in scores.items()}
    return {"share": top, "everybody": everybody, "learners": found}


def out_of_fold(rows, kinds, truth, treated, estimator, seed: int, person=None) -> dict[str, np.ndarray]:
    """Each learner's score of each row, by models that have not seen the row, nor another one of its person."""
    found = {name: np.empty(len(rows)) for name in ("s_learner", "t_learner", "response")}
    with_arm, one = rows.assign(**{TREATED: treated.astype(float)}), kinds | {TREATED: "number"}
    single = pipeline(with_arm, one, estimator(seed), seed)
    each = pipeline(rows, kinds, estimator(seed), seed)
    for here, held in folds(truth + 2 * treated, seed, person):
        model = fit(clone(single), with_arm.iloc[here], truth[here])
        yes, no = (chances(model, with_arm.iloc[held].assign(**{TREATED: value})) for value in (1.0, 0.0))
        found["s_learner"][held], found["response"][held] = yes - no, no
        apart = Difference(each, each).fit(rows.iloc[here], truth[here], treated[here])
        found["t_learner"][held] = apart.predict_proba(rows.iloc[held])[:, 1]
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


class Difference(BaseEstimator):
    """What the treatment adds to the probability, by a T-learner: P(label) of the treated's model minus the others'."""

    def __init__(self, treated, others):
        self.treated, self.others = treated, others

    def fit(self, rows: pd.DataFrame, truth: np.ndarray, arm: np.ndarray) -> Difference:
        """Each model learns from its own arm's rows. arm: True for the treated."""
        self.treated, self.others = (
            fit(clone(model), rows[here], truth[here]) for model, here in ((self.treated, arm), (self.others, ~arm))
        )
        return self

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        """Shape (n, 2): its second column is the difference, -1 to 1."""
        with_it, without = (chances(model, rows) for model in (self.treated, self.others))
        return np.column_stack([without - with_it, with_it - without])
