"""What can be learned from one flat table? The gates, folds and reports of the pipeline on a table of any origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from cdp_spark.config.models import Decision
from ml import drift, gates
from ml.baseline import compared, rule, warned
from ml.cells import blanked
from ml.decide import decided
from ml.encode import pipeline
from ml.importance import importance
from ml.labels import LabelError, Told, labels, moments
from ml.measures import groups
from ml.table import Kind, Schema, schema, typed
from ml.validate import FOLDS, across, chances, fit, in_time, out_of_fold, repeats

LEAST = 100  # positives and as many negatives to learn from
SUSPECT = 0.97  # a whole model this good is looked at again
WHOLE_GATE = "whole"  # what --allow says of the gate that judges the whole model
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
    decision: Decision | None = None
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
    told = labels(frame[asked.label], asked.label, asked.positive)
    label, unknown = told.values, unlabelled(told.values, asked.label)
    frame, label = frame[label.notna()].reset_index(drop=True), label.dropna().reset_index(drop=True)
    enough(label, asked.least)
    enough_people(label, people(frame[asked.id]) if asked.id else None)
    known = declared(frame, asked)
    typed_rows = typed(frame, known.kinds)
    report = _head(name, frame, label, asked, known, told, typed_rows)
    report["notes"] += unknown
    flags = flagged(typed_rows, label, asked, known.kinds)
    report["leaks"] = [flag._asdict() for flag in flags]
    bad = [flag.column for flag in flags if flag.column]
    kept = known.without(bad, "flagged by a gate")
    if not kept.kinds:
        return Fitted(name, asked, kept, refused(report, flags, "no column is left to learn from"))
    report["baseline"] = rule(typed_rows, label, list(kept.kinds))
    blocked = bool(flags) and not asked.drop_leaks
    rounds = 1 if blocked else asked.repeats or repeats(*typed_rows.shape)
    judged(report, frame, typed_rows[list(kept.kinds)], label, asked, kept, estimator, rounds)
    if blocked:
        report["without_flagged"] = report.pop("cross_validation")
        return Fitted(name, asked, known, refused(report, flags, None))
    late = [] if "time" in asked.allow or "time_split" not in report else gates.too_good(
        report["time_split"]["random_roc_auc"], report["time_split"]["roc_auc"], report["time_split"]["drift"]["alarm"]
    )  # fmt: skip
    if late:
        report["leaks"] += [flag._asdict() for flag in late]
        return Fitted(name, asked, known, refused(report, late, None))
    person = people(frame[asked.id]) if asked.id else None
    made = whole(name, typed_rows[list(kept.kinds)], label, asked, kept, estimator, report, person)
    good, leaning = report["cross_validation"]["roc_auc"], list(report["importance"])[:3]
    if flags := [] if WHOLE_GATE in asked.allow else gates.whole_model(good, leaning):
        report["leaks"] += [flag._asdict() for flag in flags]
        return Fitted(name, asked, known, refused(report, flags, None))
    report["warnings"] = warned(report)
    report["beats_baseline"] = report["baseline"]["beaten"]
    report["notes"][:0] = report["warnings"]
    return made


def fitted_or_refused(name: str, frame: pd.DataFrame, asked: Asked, estimator: Callable[[int], Any]) -> Fitted:
    """As `fitted`; what a label or too few rows refuse is a refused report too, with the reason alone."""
    try:
        return fitted(name, frame, asked, estimator)
    except LabelError as error:
        return Fitted(name, asked, Schema({}, {}), refused({"model": name}, [], str(error)))


def unlabelled(values: pd.Series, name: str) -> list[str]:
    """A note on the rows that nothing can be learned from, as nobody knows their label."""
    count = int(values.isna().sum())
    return [f"{count} rows without a label ({name}) are left out"] if count else []


def enough(label: pd.Series, least: int) -> None:
    """Raises LabelError where a class has fewer than `least` rows."""
    positives = int(label.sum())
    if min(positives, len(label) - positives) < max(least, FOLDS):
        raise LabelError(
            f"{positives} positives and {len(label) - positives} negatives: at least {max(least, FOLDS)} of each are "
            "needed for a model that can be judged (--least changes that)"
        )


def enough_people(label: pd.Series, person: pd.Series | None) -> None:
    """Raises LabelError where the rows of a class are of fewer people than folds."""
    if person is None:
        return
    for value, kind in ((1, "positives"), (0, "negatives")):
        if (fewest := person[label == value].nunique()) < FOLDS:
            raise LabelError(f"all {kind} are rows of {fewest} different people; {FOLDS} folds need at least as many")


def declared(frame: pd.DataFrame, asked: Asked) -> Schema:
    """Kinds of the columns to learn from, without those that have a role."""
    roles = asked.roles()
    found = schema(frame.drop(columns=[name for name in roles if name in frame]))
    return replace(found, left_out=found.left_out | {n: w for n, w in roles.items() if n != asked.label})


def flagged(rows: pd.DataFrame, label: pd.Series, asked: Asked, kinds: dict[str, Kind]) -> list[gates.Flag]:
    """The gates' words on each column: its availability where any is declared, then what the values tell."""
    names = [name for name in rows.columns if name not in asked.allow]
    found = [] if asked.availability is None else gates.undeclared(list(rows.columns), asked.availability)
    named = {flag.column for flag in found}
    found += [flag for flag in gates.leaks(rows, label, names) if flag.column not in named]
    named = {flag.column for flag in found}
    texts = [name for name in names if kinds[name] == "text" and name not in named]
    return found + [flag for name in texts if (flag := told_by_words(rows[[name]], label, asked.seed))]


def told_by_words(rows: pd.DataFrame, label: pd.Series, seed: int) -> gates.Flag | None:
    """A flag where a text's words alone know the answer, as single_feature has it for values. rows: one column."""
    name, truth = str(rows.columns[0]), label.to_numpy(dtype=int)
    model = pipeline(rows, {name: "text"}, LogisticRegression(max_iter=200), seed)
    known = gates.auc(truth, out_of_fold(model, rows, label, seed, 1).chance)
    if known <= gates.LEAK:
        return None
    why = f"{name}: its words alone have a ROC-AUC of {known:.3f}, more than {gates.LEAK:.2f}"
    return gates.Flag("single_feature", name, why, known)


def refused(report: dict, flags: list[gates.Flag], why: str | None) -> dict:
    """The report of a model that was not kept, with the reasons."""
    return report | {"status": "refused", "reasons": [flag.why for flag in flags] + ([why] if why else [])}


def _head(name: str, frame, label, asked: Asked, known: Schema, told: Told, rows: pd.DataFrame) -> dict:
    notes = [told.note(asked.label), *known.notes]
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
        "positive_value": told.positive,
        "other_values": told.others,
        "features": known.kinds,
        "left_out": known.left_out,
        "notes": notes,
    }


def judged(report: dict, frame, rows, label, asked: Asked, kept: Schema, estimator, rounds: int) -> None:
    """Adds cross_validation, and time_split and groups where columns for them are named."""
    model, truth = pipeline(rows, kept.kinds, estimator(asked.seed), asked.seed), label.to_numpy(dtype=int)
    person = people(frame[asked.id]) if asked.id else None
    found = out_of_fold(model, rows, label, asked.seed, rounds, person)
    report["cross_validation"] = across(found, truth, rounds, asked.seed)
    report["baseline"] |= compared(rows, truth, found.chance, report["baseline"]["column"], asked.seed)
    if asked.decision:
        report["decision"] = decided(asked.decision, truth, found.chance)
    if report["cross_validation"]["roc_auc"] > SUSPECT:
        report["notes"].append(f"a ROC-AUC above {SUSPECT} is seldom honest: look for columns that know the outcome")
    report["groups"] = {name: groups(truth, found.chance, frame[name]) for name in asked.sensitive}
    if (moment := when(frame, asked)) is not None:
        dated = moment.notna()
        if not dated.all():
            report["notes"].append(f"{int((~dated).sum())} rows without a time are in no part of the time split")
        split = in_time(model, rows[dated], label[dated], moment[dated], asked.seed)
        if split is None:
            report["notes"].append("no time split: the oldest or the newest rows have one class only")
        else:
            ours = report["cross_validation"]["roc_auc"]  # of the same rows: those without a time may be easier
            ours = ours if dated.all() else gates.auc(truth[dated], found.chance[dated])
            report["time_split"] = split | {"random_roc_auc": ours}


def when(frame: pd.DataFrame, asked: Asked) -> pd.Series | None:
    """The moment of each row as a number that sorts, null where it is not known; None where nothing tells it."""
    if asked.time:
        return moments(frame[asked.time], asked.time)
    return pd.Series(np.arange(len(frame)), frame.index, dtype=float) if asked.in_time_order else None


def people(ids: pd.Series) -> pd.Series | None:
    """A group number a row: rows of one id are of one group, a row without id is one by itself; None: each has its own.

    Raises LabelError where there are fewer people than folds.
    """
    known = blanked(ids)
    groups = pd.Series(pd.factorize(known)[0], ids.index)
    if not known.dropna().duplicated().any():
        return None
    alone = groups < 0
    groups[alone] = np.arange(int(alone.sum())) + int(groups.max()) + 1
    if groups.nunique() < FOLDS:
        raise LabelError(f"id {ids.name}: {groups.nunique()} different people; {FOLDS} folds need at least as many")
    return groups


def whole(name: str, rows, label, asked: Asked, kept: Schema, estimator, report: dict, person=None) -> Fitted:
    """The model of all rows, with what a later table is compared with."""
    model = pipeline(rows, kept.kinds, estimator(asked.seed), asked.seed)
    model = fit(model, rows, label.to_numpy(dtype=int), person)
    bins = drift.frozen(rows.assign(**{drift.SCORE: chances(model, rows)}))
    report |= {"features": kept.kinds, "left_out": kept.left_out}
    report["importance"] = importance(model, rows, label, asked.seed)
    return Fitted(name, asked, kept, report, model, bins)
