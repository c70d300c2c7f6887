"""How do people and systems get it wrong? Typos, ways to write a telephone number, rows that are no rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

PHONE_STYLES = (
    "0{0}", "+44{0}", "+44 {1} {2}", "0{1} {2}", "0044 {1} {2}", "(+44) {1} {2}", "+44 (0){1} {2}", "0{1}-{2}",
)  # fmt: skip


def typo(text: str, where: float, kind: int) -> str:
    """`text` with one slip: two letters swapped, one lost or one doubled, never in the first place."""
    if len(text) < 3:
        return text + text[-1:]
    at = 1 + int(where * (len(text) - 2))
    if kind == 0 and text[at] != text[at + 1]:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == 1 else text[:at] + text[at] + text[at:]


def names(rng: np.random.Generator, values: pd.Series, share: float) -> np.ndarray:
    """`values` with a typo in `share` of them."""
    hit, where, kind = rng.random(len(values)) < share, rng.random(len(values)), rng.integers(0, 3, len(values))
    rows = zip(values, hit, where, kind, strict=True)
    return np.array([typo(text, w, k) if h else text for text, h, w, k in rows], dtype=object)


def emails(rng: np.random.Generator, values: pd.Series, share: float, taken: set[str]) -> np.ndarray:
    """`values` with a typo before the @ in `share` of them; a slip never makes somebody else's address."""
    hit, where, kind = rng.random(len(values)) < share, rng.random(len(values)), rng.integers(0, 3, len(values))
    found = []
    for text, h, w, k in zip(values, hit, where, kind, strict=True):
        if h and text:
            local, _, domain = text.partition("@")
            text = f"{typo(local, w, k)}@{domain}"
            while text in taken:
                text = f"x{text}"
            taken.add(text)
        found.append(text)
    return np.array(found, dtype=object)


def loud(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Some addresses as forms send them: upper case, or a blank behind."""
    kind = np.where(rng.random(len(values)) < share, rng.integers(1, 4, len(values)), 0)
    ways = (str, str.upper, str.title, lambda text: f"{text} " if text else text)
    return np.array([ways[k](text) for text, k in zip(values, kind, strict=True)], dtype=object)


def phones(rng: np.random.Generator, national: np.ndarray) -> np.ndarray:
    """National significant numbers (ten digits, or '') as people write British numbers."""
    style = rng.integers(0, len(PHONE_STYLES), len(national))
    return np.array([PHONE_STYLES[s].format(text, text[:4], text[4:]) if text else ""
                     for text, s in zip(national, style, strict=True)], dtype=object)  # fmt: skip


def bad_json(line: str, nature: float) -> str:
    """A truncated line, or one whose time stamp is a word."""
    if nature < 0.6:
        return line[: max(2, int(len(line) * 0.6))]
    head, _, tail = line.partition('"ts": "' if '"ts": "' in line else '"opened_at": "')
    return head + ('"ts": "' if '"ts": "' in line else '"opened_at": "') + "yesterday" + tail[tail.find('"') :]


def bad_csv(line: str, nature: float, separator: str, date_field: int) -> str:
    """A line with too few fields, too many, or a word where `date_field` belongs."""
    fields = line.split(separator)
    if nature < 0.35:
        return separator.join(fields[:3])
    if nature < 0.6:
        return line + separator * 3 + "overflow"
    fields[date_field] = "not available"
    return separator.join(fields)
