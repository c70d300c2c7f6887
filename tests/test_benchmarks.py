"""Do `make bench` and its companions say so where something asked is not reached?"""

from __future__ import annotations

import pytest

from tests.benchmarks import activation, identity, matching
from tests.benchmarks.run import missed

GOOD = {"identity": {"ceiling_f1": 0.955, "pairwise": {"f1": 0.94}, "over_merged_share": 0.01}}


@pytest.mark.parametrize(
    ("identity", "ratio", "gib", "changed", "told"),
    [
        ({}, 5.0, 8.0, [], []),
        ({}, 5.01, 1.0, [], ["time grew 5.01 x"]),
        ({}, 1.0, 8.2, [], ["8.2 GiB were held"]),
        ({"pairwise": {"f1": 0.93}}, 1.0, 1.0, [], ["F1 is 0.0250 below the ceiling"]),
        ({"over_merged_share": 0.02}, 1.0, 1.0, ["gold.kpis"], ["2.00% of the records", "a rerun changed gold.kpis"]),
    ],
)
def test_what_is_not_reached_is_told(identity, ratio, gib, changed, told):
    found = missed({"identity": GOOD["identity"] | identity}, ratio, gib, changed)
    assert len(found) == len(told) and all(line.startswith(start) for line, start in zip(found, told, strict=True))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ((8.0, 10.0, 2.5), []),
        ((7.9, 10.0, 2.5), ["0.79 of plain Parquet's throughput"]),
        ((8.0, 10.0, 2.6), ["a difference takes 0.26 of a full delivery"]),
    ],
)
def test_a_slow_delivery_is_told(seconds, told):
    found = activation.missed(*seconds)
    assert len(found) == len(told) and all(line.startswith(start) for line, start in zip(found, told, strict=True))


@pytest.mark.parametrize(
    ("kind", "engine", "size", "ratio", "equal", "told"),
    [
        ("people", "auto", 4_000_000, 7.0, True, []),
        ("people", "auto", 4_000_000, 6.9, True, ["6.90 x as fast as plain, asked are 7"]),
        ("sparse", "auto", 1_000_000, 4.9, True, ["asked are 5"]),
        ("people", "graphframes", 1_000_000, 1.9, True, ["asked are 2"]),
        ("star", "graphframes", 4_000_000, 1.9, True, ["asked are 2"]),
        ("chain", "graphframes", 20_000, 0.92, True, []),
        ("chain", "graphframes", 20_000, 0.9, False, ["asked are 0.91", "another partition"]),
        ("people", "scipy", 4_000_000, 50.0, False, ["another partition than plain's"]),
    ],
)
def test_an_engine_that_is_too_slow_or_errs_is_told(kind, engine, size, ratio, equal, told):
    found = identity.missed(kind, engine, size, ratio, equal)
    assert len(found) == len(told) and all(words in line for words, line in zip(told, found, strict=True))


RAN = {"keys": 5_000_000, "full_s": 100.0, "incremental_s": 25.0, "rows_into_components": 300, "touched_rows": 100,
       "same": True, "incremental": True}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "gib", "told"),
    [
        ({}, 8.0, []),
        ({"incremental_s": 26.0}, 8.0, ["26% of the full run's time"]),
        ({"incremental_s": 90.0, "keys": 50_000}, 8.0, []),  # a small run is mostly what does not grow
        ({"rows_into_components": 301}, 8.1, ["3.01 x the rows", "8.1 GiB"]),
        ({"same": False, "incremental": False}, 1.0, ["a full one", "other people"]),
    ],
)
def test_an_incremental_run_that_is_no_gain_is_told(change, gib, told):
    found = identity.lacking(RAN | change, gib)
    assert len(found) == len(told) and all(words in line for words, line in zip(told, found, strict=True))


def test_scoring_has_to_be_three_times_as_fast_on_the_same_pairs(capsys):
    assert [matching.verdict(3.0, True), matching.verdict(2.9, True), matching.verdict(9.0, False)] == [0, 1, 1]
    assert "MISSED: 2.90 x" in capsys.readouterr().out
