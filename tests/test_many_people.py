"""Does `make bench-scale` name the step that outgrows the others, and are many people made of a few as they should?"""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.load import load
from cdp_spark.demo.retailer import generate
from cdp_spark.demo.show import START
from cdp_spark.silver.normalise import NORMALISERS
from cdp_spark.sources.read import raw_rows
from tests.benchmarks.grow import grow
from tests.benchmarks.scale import origin, table
from tests.conftest import ROOT


def account(seconds: float, rows: int) -> dict:
    return {"seconds": seconds, "rows": {"t": rows}, "shuffle_bytes": 90 * rows, "spill_bytes": 0, "gib": 1.0}


def test_a_step_that_outgrows_n_log_n_at_the_largest_sizes_is_named(capsys):
    """However small it is between the first two, where what is fixed of its cost weighs most."""
    took = ((10, 50), (50, 500), (1000, 5_000))
    runs = [{"match": account(seconds, n), "kpis": account(3, n)} for seconds, n in took]
    assert table([50, 500, 5_000], runs, cores=2) == ["match"]
    assert "| match | 10, 50, 1000 | 2, 5, 2 | 1.30 |" in capsys.readouterr().out
    assert origin(500_000) == (50_000, 10)
    with pytest.raises(ValueError, match="give a multiple of 50000"):
        origin(75_001)


def test_copies_of_a_retailer_have_the_same_rows_and_share_nothing_that_names_anybody(spark, tmp_path):
    """Every value that any source carries as an identifier, and every home and key of a row."""
    generate(tmp_path, 60, 1, 7, START)
    grow(spark, tmp_path / "drops", tmp_path / "grown", 60, 3)
    sources = load(ROOT / "conf").sources
    named = {"crm": "concat(STREET, POSTCODE)", "orders": "order_id", "consents": "id", "web": "event_id"}
    seen = {}
    for name, source in sources.items():
        one, all_ = (rows_of(spark, folder, name, source) for folder in (tmp_path / "drops", tmp_path / "grown"))
        assert all_.count() == one.count() * (1 if name == "adspend" else 3), name
        for kind, sql in (source.identifiers | {f"key of {name}": named.get(name, "null")}).items():
            if kind == "birth_date":
                continue
            value = NORMALISERS[kind](F.expr(sql)) if kind in ("email", "phone") else F.expr(sql)
            for index, rows in enumerate((one, all_)):
                found = {row[0] for row in rows.select(fields_of(source)).select(value).distinct().collect()} - {None}
                seen.setdefault(kind, (set(), set()))[index].update(found)
    for kind, (once, thrice) in seen.items():
        assert len(thrice) == 3 * len(once) and once <= thrice, kind
    assert all(len(seen[kind][0]) > 5 for kind in ("email", "phone", "user_id", "device_id", "loyalty_card"))


def rows_of(spark, drops, name, source):
    files = [str(path) for path in drops.glob(source.path.replace("{date}", str(START)))]
    return raw_rows(spark, name, source, files).rows.where("rule IS NULL")


def fields_of(source):
    return [F.col("data")[name].alias(name) for name in source.fields]
