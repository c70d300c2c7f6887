"""What can be learned from one flat table? The gates, folds and reports of the pipeline on a table of any origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ml import drift, gates
from ml.encode import pipeline
from ml.measures import groups, measured
from ml.table import LabelError, Schema, labels, moments, schema, typed
from ml.validate import FOLDS, across, chances, details, fit, in_time, out_of_fold, repeats

LEAST = 100  # positives and as many negatives to learn from
SUSPECT = 0.97  # a whole model this good is looked at again
NEARLY_EMPTY = 0.1  # of a row's cells are filled


@dataclass(frozen=True)
class Asked:
    """What the user said about the table: roles of columns by name, and what to do about leaks."""

    label: str
    id: str | None = None
    time: str | None = None
    in_time_order: bool = False
    positive: str | None = None
    availability: dict[str, bool] | None = None
    exclude: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    drop_leaks: bool = False
    least: int = LEAST
    repeats: int | None = None
    seed: int = 42

    def roles(self) -> dict[str, str]:
        """Columns that are not learned from, with the reason."""
        found = dict.fromkeys(self.exclude, "--exclude") | dict.fromkeys(self.sensitive, "sensitive by declaration")
        given = {self.label: "the label", self.id: "the id", self.time: "the time"}
        return found | {name: why for name, why in given.items() if name}


@dataclass(frozen=True)
class Fitted:
    """A model of one flat table. model: None where it was refused; report says why, and is plain enough for JSON."""

    name: str
    asked: Asked
    schema: Schema
    report: dict
    model: Any = None
    bins: dict = field(default_factory=dict)


def fitted(name: str, frame: pd.DataFrame, asked: Asked, estimator: Callable[[int], Any]) -> Fitted:
    """Gates, then folds, then the model of all rows. Refused models have report["status"] "refused" and no model.

    Raises LabelError where the label holds no two classes, or too few rows of one.
    """
    label, told = labels(frame[asked.label], asked.label, asked.positive)
    frame, label = frame[label.notna()].reset_index(drop=True), label.dropna().reset_index(drop=True)
    enough(label, asked.least)
    known = declared(frame, asked)
    typed_rows = typed(frame, known.kinds)
    report = _head(name, frame, label, asked, known, told, typed_rows)
    flags = flagged(typed_rows, label, asked)
    report["leaks"] = [flag._asdict() for flag in flags]
    bad = [flag.column for flag in flags if flag.column]
    kept = known.without(bad, "flagged by a gate")
    if not kept.kinds:
        return Fitted(name, asked, kept, refused(report, flags, "no column is left to learn from"))
    report["baseline"] = rule(typed_rows, label, list(kept.kinds))
    blocked = bool(flags) and not asked.drop_leaks
    rounds = 1 if blocked else asked.repeats or repeats(len(frame))
    judged(report, frame, typed_rows[list(kept.kinds)], label, asked, kept, estimator, rounds)
    if blocked:
        report["without_flagged"] = report.pop("cross_validation")
        return Fitted(name, asked, known, refused(report, flags, None))
    late = [] if "time" in asked.allow or "time_split" not in report else gates.too_good(
        report["cross_validation"]["roc_auc"], report["time_split"]["roc_auc"], report["time_split"]["drift"]["alarm"]
    )  # fmt: skip
    if late:
        report["leaks"] += [flag._asdict() for flag in late]
        return Fitted(name, asked, known, refused(report, late, None))
    return whole(name, typed_rows[list(kept.kinds)], label, asked, kept, estimator, report)


def enough(label: pd.Series, least: int) -> None:
    """Raises LabelError where a class has fewer than `least` rows."""
    positives = int(label.sum())
    if min(positives, len(label) - positives) < max(least, FOLDS):
        raise LabelError(
            f"{positives} positives and {len(label) - positives} negatives: at least {max(least, FOLDS)} of each are "
            "needed for a model that can be judged (--least changes that)"
        )


def declared(frame: pd.DataFrame, asked: Asked) -> Schema:
    """Kinds of the columns to learn from, without those that have a role."""
    roles = asked.roles()
    found = schema(frame.drop(columns=[name for name in roles if name in frame]))
    return Schema(found.kinds, found.left_out | {n: w for n, w in roles.items() if n != asked.label}, found.notes)


def flagged(rows: pd.DataFrame, label: pd.Series, asked: Asked) -> list[gates.Flag]:
    """The gates' words on each column: its availability where any is declared, then what the values tell."""
    names = [name for name in rows.columns if name not in asked.allow]
    found = [] if asked.availability is None else gates.undeclared(list(rows.columns), asked.availability)
    named = {flag.column for flag in found}
    return found + [flag for flag in gates.leaks(rows, label, names) if flag.column not in named]


def refused(report: dict, flags: list[gates.Flag], why: str | None) -> dict:
    """The report of a model that was not kept, with the reasons."""
    return report | {"status": "refused", "reasons": [flag.why for flag in flags] + ([why] if why else [])}


def _head(name: str, frame, label, asked: Asked, known: Schema, told: str, rows: pd.DataFrame) -> dict:
    notes = [told, *known.notes]
    empty = int((rows.notna().mean(axis=1) < NEARLY_EMPTY).sum()) if len(rows.columns) else 0
    notes += [f"{empty} rows are nearly empty; they are kept"] if empty else []
    twice = int(frame.duplicated().sum())
    notes += [f"{twice} rows stand there more than once; they are kept"] if twice else []
    return {
        "model": name,
        "status": "fitted",
        "rows": int(len(frame)),
        "positives": int(label.sum()),
        "base_rate": float(label.mean()),
        "features": known.kinds,
        "left_out": known.left_out,
        "notes": notes,
    }


def rule(rows: pd.DataFrame, label: pd.Series, names: list[str]) -> dict:
    """The column that alone ranks best: what a model has to beat."""
    best = {name: gates.knows(rows[name], label) for name in names}
    column = max(best, key=lambda name: best[name])
    return {"column": column, "roc_auc": best[column]}


def judged(report: dict, frame, rows, label, asked: Asked, kept: Schema, estimator, rounds: int) -> None:
    """Adds cross_validation, and time_split and groups where columns for them are named."""
    model, truth = pipeline(rows, kept.kinds, estimator(asked.seed), asked.seed), label.to_numpy(dtype=int)
    person = frame[asked.id] if asked.id and frame[asked.id].duplicated().any() else None
    found = out_of_fold(model, rows, label, asked.seed, rounds, person)
    report["cross_validation"] = across(found, truth, rounds, asked.seed)
    if report["cross_validation"]["roc_auc"] > SUSPECT:
        report["notes"].append(f"a ROC-AUC above {SUSPECT} is seldom honest: look for columns that know the outcome")
    report["groups"] = {name: groups(truth, found.chance, frame[name]) for name in asked.sensitive}
    if asked.time or asked.in_time_order:
        moment = moments(frame[asked.time], asked.time) if asked.time else pd.Series(np.arange(len(frame)), dtype=float)
        dated = moment.notna()
        split = in_time(model, rows[dated], label[dated], moment[dated], asked.seed)
        if split is None:
            report["notes"].append("no time split: the oldest or the newest rows have one class only")
        else:
            report["time_split"] = split


def whole(name: str, rows, label, asked: Asked, kept: Schema, estimator, report: dict) -> Fitted:
    """The model of all rows, with what a later table is compared with."""
    model = fit(pipeline(rows, kept.kinds, estimator(asked.seed), asked.seed), rows, label.to_numpy(dtype=int))
    bins = drift.frozen(rows.assign(**{drift.SCORE: chances(model, rows)}))
    report |= {"features": kept.kinds, "left_out": kept.left_out}
    report["importance"] = importance(model, rows, label, asked.seed)
    return Fitted(name, asked, kept, report, model, bins)


def importance(model: Any, rows: pd.DataFrame, label: pd.Series, seed: int, most: int = 3000) -> dict[str, float]:
    """Loss of ROC-AUC when a column is shuffled over up to `most` rows, the largest first (Breiman 2001, sec. 10)."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(len(rows), min(most, len(rows)), replace=False))
    sample, truth = rows.iloc[at], label.to_numpy(dtype=int)[at]
    whole_auc = gates.auc(truth, chances(model, sample))
    found = {}
    for name in rows.columns:
        mixed = sample.assign(**{name: sample[name].to_numpy()[rng.permutation(len(sample))]})
        found[name] = whole_auc - gates.auc(truth, chances(model, mixed))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def scored(kept: Fitted, frame: pd.DataFrame) -> np.ndarray:
    """Probability of the label, one a row of `frame`. Raises LabelError where the schema has changed."""
    return chances(kept.model, typed(frame, kept.schema.kinds))


def evaluated(kept: Fitted, frame: pd.DataFrame) -> dict:
    """The fitted model on a held-out table: metrics, calibration, lift and drift; drift alone without labels."""
    rows = typed(frame, kept.schema.kinds)
    chance = scored(kept, frame)
    report: dict = {
        "model": kept.name,
        "status": "evaluated",
        "rows": len(frame),
        "mean_probability": float(chance.mean()),
    }
    truth = None
    if kept.asked.label in frame:
        label, told = _held_label(kept, frame)
        known = label.notna().to_numpy()
        truth, report["notes"] = label[known].to_numpy(dtype=int), [told]
        report |= {"labelled": int(known.sum()), "positives": int(truth.sum())}
        if 0 < truth.sum() < truth.size:
            report |= (
                {"roc_auc": None} | measured(truth, chance[known]) | details(truth, chance[known], kept.asked.seed)
            )
        else:
            report["notes"].append("one class only: nothing can be ranked, so there are no metrics")
    then = kept.report
    now = rows.assign(**{drift.SCORE: chance})
    report["drift"] = drift.compared(kept.bins, now, then["base_rate"], then["rows"], truth)
    return report


def _held_label(kept: Fitted, frame: pd.DataFrame) -> tuple[pd.Series, str]:
    wanted = kept.report["notes"][0].split("'")[1]
    try:
        return labels(frame[kept.asked.label], kept.asked.label, wanted)
    except LabelError:  # one class in a small held-out table is no mistake
        text = frame[kept.asked.label].astype("string").str.strip().str.lower().str.removesuffix(".0")
        return (text == wanted).astype("float64").mask(text.isna()), f"label {kept.asked.label}: one class only"
