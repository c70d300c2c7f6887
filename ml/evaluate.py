"""How good is a fitted model on a table it has not seen, and what does that table hold that the fit did not know?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml import drift
from ml.cells import blanked, numbers
from ml.flat import Fitted
from ml.labels import held_out
from ml.measures import measured
from ml.table import typed
from ml.validate import chances, details


def scored(kept: Fitted, frame: pd.DataFrame) -> np.ndarray:
    """Probability of the label, one a row of `frame`. Raises LabelError where the schema has changed."""
    return chances(kept.model, typed(frame, kept.schema.kinds, kept.schema.styles))


def evaluated(kept: Fitted, frame: pd.DataFrame) -> dict:
    """The fitted model on a held-out table: metrics, calibration, lift and drift; drift alone without labels."""
    rows, then, label = typed(frame, kept.schema.kinds, kept.schema.styles), kept.report, kept.asked.label
    chance, notes, truth = chances(kept.model, rows), strange(kept, frame, rows), None
    report: dict = {
        "model": kept.name,
        "status": "evaluated",
        "rows": len(frame),
        "mean_probability": float(chance.mean()),
    }
    if label in frame:
        known = held_out(frame[label], label, then["positive_value"], then["other_values"])
        there = known.notna().to_numpy()
        truth = known[there].to_numpy(dtype=int)
        notes.insert(0, f"label {label}: {then['positive_value']!r} counts as 1")
        report |= {"labelled": int(there.sum()), "positives": int(truth.sum())}
        if 0 < truth.sum() < truth.size:
            report |= measured(truth, chance[there]) | details(truth, chance[there], kept.asked.seed)
        else:
            notes.append("one class only: nothing can be ranked, so there are no metrics")
    else:
        notes.append(f"no column {label}: scores and drift alone")
    moved = drift.compared(kept.bins, rows.assign(**{drift.SCORE: chance}), then["base_rate"], then["rows"], truth)
    return report | {"notes": notes, "drift": moved}


def strange(kept: Fitted, frame: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What a later table holds that the fit did not know, and how it is taken. rows: `frame`, typed."""
    notes = []
    for name, kind in kept.schema.kinds.items():
        levels = kept.bins[name].get("levels", [])
        if kind == "category" and len(levels) < drift.LEVELS:
            new = int((rows[name].notna() & ~rows[name].astype(str).isin(levels)).sum())
            notes += (
                [f"{name}: {new} rows of categories that the fit did not know, or hardly; they count as rare ones"]
                if new
                else []
            )
        if kind == "number":
            found = numbers(frame[name], kept.schema.styles.get(name))
            lost = found.strange + found.infinite
            notes += [f"{name}: {lost} cells are no finite numbers and count as missing"] if lost else []
        if kind == "date":
            lost = int((rows[name].isna() & blanked(frame[name]).notna()).sum())
            notes += [f"{name}: {lost} cells are no dates and count as missing"] if lost else []
    learned = {*kept.schema.kinds, *kept.schema.left_out, *kept.asked.roles()}
    more = [name for name in frame.columns if name not in learned]
    return notes + ([f"not looked at, as the fit did not know them: {', '.join(more)}"] if more else [])
