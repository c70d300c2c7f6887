"""Which linked records stay together? Strongest links first, against the evidence of all pairs between two groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

# bits beyond which a pair says no more: one number all the world copies must not outvote three plain differences
MOST_BITS = 12.0
ONE_TO_ONE, OUTVOTED = "one_to_one", "outvoted"  # why a pair that is good enough links nobody


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
    between = _between(pairs)
    links = pairs[pairs["linked"]].sort_values(["score", "a", "b"], ascending=[False, True, True], kind="stable")
    for a, b in zip(links["a"], links["b"], strict=True):
        one, two = group[a], group[b]
        if one == two or sources[one] & sources[two] or not between[one][two] > 0:
            continue
        if (len(members[one]), two) < (len(members[two]), one):  # the larger part takes the smaller one in
            one, two = two, one
        for key in members[two]:
            group[key] = one
        members[one] += members.pop(two)
        sources[one] |= sources.pop(two)
        _take_in(between, one, two)
    smallest = {name: min(keys) for name, keys in members.items()}
    return {key: smallest[name] for key, name in group.items()}


def _between(pairs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of each record and each other that it was compared with: the sum of their scores, to grow with the groups."""
    found: dict[str, dict[str, float]] = {}
    scores = np.clip(pairs["score"].to_numpy(float), -MOST_BITS, MOST_BITS)
    for a, b, score in zip(pairs["a"], pairs["b"], scores.tolist(), strict=True):
        found.setdefault(a, {})[b] = score
        found.setdefault(b, {})[a] = score
    return found


def _take_in(between: dict[str, dict[str, float]], one: str, two: str) -> None:
    """Add what `two` has between itself and others to `one`: of a sum only the sign matters, as of a mean."""
    for other, score in between.pop(two).items():
        del between[other][two]
        if other != one:
            total = between[one].get(other, 0.0) + score
            between[one][other] = between[other][one] = total


def settled(pairs: pd.DataFrame) -> pd.DataFrame:
    """The linked pairs: a, b, score, first_seen, rule, and refused, null where both ends stay together.

    one_to_one: together a source that holds each person once would stand twice in the group.  outvoted: what is known
    of all pairs between the two groups speaks against it.
    """
    group, links = grouped(pairs), pairs[pairs["linked"]]
    one, two = links["a"].map(group), links["b"].map(group)
    ends = pd.concat([pairs[[side, f"source_{side}"]].set_axis(["key", "source"], axis=1) for side in ("a", "b")])
    ends = ends[ends["source"].notna()]
    sources = ends.groupby(ends["key"].map(group))["source"].agg(set).to_dict()
    refused = [
        None if a == b else ONE_TO_ONE if sources.get(a, set()) & sources.get(b, set()) else OUTVOTED
        for a, b in zip(one, two, strict=True)
    ]
    return links[["a", "b", "score", "first_seen", "rule"]].assign(refused=pd.Series(refused, links.index, object))
