"""Do `make bench` and `make bench-activation` say so where something asked is not reached?"""

from __future__ import annotations

import pytest

from tests.benchmarks import activation
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
