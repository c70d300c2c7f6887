"""Which scored pairs stay in one group? Against the definition, and by examples."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_spark.identity.matching.cluster import MOST_BITS, grouped, settled
from cdp_spark.identity.matching.links import within


def scores(*rows: tuple) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["a", "b", "score", "linked"])
    return frame.assign(source_a=None, source_b=None, first_seen=pd.Timestamp("2026-01-01"), rule="birth")


def told(pairs: pd.DataFrame) -> dict[tuple, str | None]:
    """Why each linked pair is refused; None where it links."""
    return {(row.a, row.b): row.refused for row in settled(pairs).itertuples()}


def test_a_bridge_between_two_people_does_not_tie_them():
    pairs = scores(("a", "b", 12, True), ("c", "d", 11, True), ("b", "c", 6, True), ("a", "c", -9, False),
                   ("a", "d", -9, False), ("b", "d", -9, False))  # fmt: skip
    assert grouped(pairs) == {"a": "a", "b": "a", "c": "c", "d": "c"}
    assert told(pairs) == {("a", "b"): None, ("c", "d"): None, ("b", "c"): "outvoted"}
    assert grouped(pairs.sample(frac=1, random_state=2)) == grouped(pairs)


def test_a_source_without_duplicates_stands_once_in_a_group():
    pairs = scores(("l|1", "r|1", 9, True), ("l|1", "r|2", 8, True)).assign(source_a="l", source_b="r")
    assert grouped(pairs) == {"l|1": "l|1", "r|1": "l|1", "r|2": "r|2"}
    assert told(pairs) == {("l|1", "r|1"): None, ("l|1", "r|2"): "one_to_one"}


def naive(pairs: pd.DataFrame) -> dict[str, str]:
    """The same grouping from its definition: all pairs of both parts are looked at before each join."""
    parts = {key: [key] for side in "ab" for key in pairs[side]}
    known = {(row.a, row.b): min(max(row.score, -MOST_BITS), MOST_BITS) for row in pairs.itertuples()}
    links = pairs[pairs["linked"]].sort_values(["score", "a", "b"], ascending=[False, True, True])
    for a, b in zip(links["a"], links["b"], strict=True):
        one, two = parts[a], parts[b]
        if one is not two and sum(known.get((min(x, y), max(x, y)), 0) for x in one for y in two) > 0:
            for key in two:
                parts[key] = one
            one += two
    return {key: min(part) for key, part in parts.items()}


PAIRS = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(-15, 15), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(PAIRS)
def test_groups_equal_those_of_the_definition(known):
    rows = [(f"k{a}", f"k{b}", float(score), score > 3) for (a, b), score in sorted(known.items()) if a < b]
    if rows:
        assert grouped(scores(*rows)) == naive(scores(*rows))


def test_a_large_group_is_compared_where_blocking_proposed_it(spark):
    groups = spark.createDataFrame([(1, "a", 2), (1, "b", 2), *((2, key, 4) for key in "cdef")],
                                   "component long, key string, n long")  # fmt: skip
    known = spark.createDataFrame([("c", "d"), ("d", "e"), ("e", "f"), ("a", "z")], "a string, b string")
    found = {(row.a, row.b) for row in within(groups, known, 3).collect()}
    assert found == {("a", "b"), ("c", "d"), ("d", "e"), ("e", "f")}
