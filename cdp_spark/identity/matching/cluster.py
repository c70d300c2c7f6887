"""Which linked records stay together? Strongest links first, against the evidence of all pairs between two groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

# bits beyond which a pair says no more: one number all the world copies must not outvote three plain differences
MOST_BITS = 12.0


def grouped(pairs: pd.DataFrame) -> dict[str, str]:
    """Group of each record of one component: the group's smallest key.

    pairs: a, b (keys), source_a, source_b (null unless the source holds each person once), score (log odds in bits),
    linked (may this pair join two groups?). Links are taken strongest first, ties by name. Two groups join where the
    mean score of all known pairs between them is positive (average linkage; the greedy form of correlation clustering,
    Bansal, Blum and Chawla 2004) and no source that holds each person once would stand in the group twice.
    """
    members, sources, group = {}, {}, {}
    for side in ("a", "b"):
        for key, source in zip(pairs[side], pairs[f"source_{side}"], strict=True):
            members[key], group[key] = [key], key
            sources[key] = {source} if isinstance(source, str) else set()
    known = {
        (a, b): float(score)
        for a, b, score in zip(pairs["a"], pairs["b"], np.clip(pairs["score"], -MOST_BITS, MOST_BITS), strict=True)
    }
    links = pairs[pairs["linked"]].sort_values(["score", "a", "b"], ascending=[False, True, True], kind="stable")
    for a, b in zip(links["a"], links["b"], strict=True):
        one, two = sorted((group[a], group[b]))
        if one == two or sources[one] & sources[two] or not _mean(known, members[one], members[two]) > 0:
            continue
        for key in members[two]:
            group[key] = one
        members[one] += members.pop(two)
        sources[one] |= sources.pop(two)
    return group


def _mean(known: dict[tuple[str, str], float], one: list[str], two: list[str]) -> float:
    """Mean score of the known pairs between two groups."""
    found = [known[pair] for x in one for y in two if (pair := (x, y) if x < y else (y, x)) in known]
    return sum(found) / len(found)


def kept(pairs: pd.DataFrame) -> pd.DataFrame:
    """The linked pairs whose ends stay together: a, b, score, first_seen, rule."""
    group = grouped(pairs)
    together = pairs["a"].map(group) == pairs["b"].map(group)
    return pairs.loc[pairs["linked"] & together, ["a", "b", "score", "first_seen", "rule"]]
