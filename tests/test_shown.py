"""What a message may say of a table's columns, where the first line may have been a row of somebody's data."""

from __future__ import annotations

import pytest

from cdp_spark.shown import named


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (["Customer ID", "Price (net)", "first.seen"], "Customer ID, Price (net), first.seen"),
        (["ann@example.com", "Ann Smith", "42"], "3 that look like data and are not shown"),
        (["b", "a", "+44 20 7946 0958"], "a, b, 1 that look like data and are not shown"),
        (["born 1980-01-31", "a"], "a, 1 that look like data and are not shown"),
        ([f"c{n:02}" for n in range(23)], ", ".join(f"c{n:02}" for n in range(20)) + ", 3 more"),
    ],
)
def test_names_are_shown_and_values_are_counted(fields, told):
    assert named(fields) == told
