"""Point in time: a feature sees what had happened and was known before its date, within its window, nothing else."""

from __future__ import annotations

import re
import shutil
from datetime import date

import numpy as np
import pytest
from pyspark.sql import functions as F

from cdp_spark.config.load import ConfError, load
from cdp_spark.config.source import Feature
from cdp_spark.gold.aggregates import aggregated, parsed, within
from cdp_spark.gold.features import features
from cdp_spark.gold.people import with_person
from cdp_spark.gold.sums import exact_sum
from cdp_spark.gold.texts import with_reading
from ml.texts import MOODS, TOPICS, as_yaml, fitted, tickets, tokens
from tests.conftest import ROOT
from tests.tables import table

DAYS = [date(2026, 1, 1), date(2026, 2, 1)]
PAID = {"table": "silver.orders", "where": "status = 'paid'", "availability": "known_at"}
SPECS = {
    "orders_30d": Feature(aggregate="count(distinct order_id)", window_days=30, default=0, **PAID),
    "orders_all": Feature(aggregate="count(distinct order_id)", default=0, **PAID),
    "spend_30d": Feature(aggregate="sum(amount)", window_days=30, default=0, **PAID),
    "last_order_days": Feature(aggregate="datediff(as_of, max(event_time))", **PAID),
    "gap": Feature(
        aggregate="datediff(max(event_time), min(event_time)) / nullif(count(distinct order_id) - 1, 0)", **PAID
    ),
    "views_7d": Feature(
        table="silver.events", aggregate="count(*)", where="not is_bot", window_days=7, default=0,
        availability="known_at",
    ),
}  # fmt: skip
ORDERS = """
    person_id string | order_id string | status string | amount double | event_time timestamp  | known_at timestamp
    ann              | a1              | paid          | 10            | 2025-12-02 00:00:00   | 2025-12-02 01:00:00
    ann              | a1              | paid          | 5             | 2025-12-02 00:00:00   | 2025-12-02 01:00:00
    ann              | a0              | paid          | 7             | 2025-12-01 23:59:59   | 2025-12-02 01:00:00
    ann              | a2              | cancelled     | 99            | 2025-12-20 10:00:00   | 2025-12-20 11:00:00
    ann              | a3              | paid          | 20            | 2026-01-10 10:00:00   | 2026-01-10 11:00:00
    ann              | a4              | paid          | 40            | 2025-12-30 10:00:00   | 2026-01-03 11:00:00
    bob              | b1              | paid          | 8             | 2026-01-01 00:00:00   | 2026-01-01 00:00:00
"""
EVENTS = """
    person_id string | is_bot boolean | event_time timestamp | known_at timestamp
    ann              | false          | 2025-12-31 10:00:00  | 2025-12-31 11:00:00
    ann              | true           | 2025-12-31 10:00:00  | 2025-12-31 11:00:00
    ann              | false          | 2025-12-24 23:00:00  | 2025-12-25 11:00:00
"""
PEOPLE = """
    person_id string | first_seen timestamp
    ann              | 2025-06-01 00:00:00
    bob              | 2025-12-31 23:59:59
    cyd              | 2026-01-01 00:00:00
"""


def frames(spark):
    return {"silver.orders": table(spark, ORDERS), "silver.events": table(spark, EVENTS)}


def rows(frame):
    return sorted(tuple(row) for row in frame.collect())


def test_windows_defaults_and_dates(spark):
    # a1 of midnight 30 days before is in the window, a0 of the second before is not; a4 is known three days late
    expected = table(
        spark,
        """
        person_id string | as_of date | orders_30d double | orders_all double | spend_30d double | last_order_days double | gap double | views_7d double
        ann              | 2026-01-01 | 1                 | 2                 | 15               | 30                     | 1          | 1
        bob              | 2026-01-01 | 0                 | 0                 | 0                |                        |            | 0
        ann              | 2026-02-01 | 1                 | 4                 | 20               | 22                     | 13.3333    | 0
        bob              | 2026-02-01 | 0                 | 1                 | 0                | 31                     |            | 0
        cyd              | 2026-02-01 | 0                 | 0                 | 0                |                        |            | 0
        """,  # noqa: E501
    )
    found = features(frames(spark), SPECS, DAYS, table(spark, PEOPLE)).withColumn("gap", F.round("gap", 4))
    assert found.columns == expected.columns
    assert {kind for name, kind in found.dtypes if name in SPECS} == {"double"}
    assert found.exceptAll(expected).collect() == expected.exceptAll(found).collect() == []


def test_future_and_late_known_rows_change_nothing(spark):
    before = frames(spark)
    more = table(
        spark,
        """
        person_id string | order_id string | status string | amount double | event_time timestamp  | known_at timestamp
        ann              | f1              | paid          | 1000          | 2026-01-01 00:00:00   | 2026-01-01 00:00:00
        ann              | f2              | paid          | 1000          | 2025-12-15 00:00:00   | 2026-01-01 00:00:00
        bob              | f3              | paid          | 1000          | 2026-03-01 00:00:00   | 2025-12-01 00:00:00
        """,
    )
    after = before | {"silver.orders": before["silver.orders"].unionByName(more)}
    people = table(spark, PEOPLE)
    wanted = rows(features(before, SPECS, DAYS[:1], people))
    assert rows(features(after, SPECS, DAYS[:1], people)) == wanted
    assert rows(features(before, SPECS, DAYS, people).where("as_of = '2026-01-01'")) == wanted


def test_every_shipped_feature_runs(spark, conf, lake):
    tables = {feature.table for feature in conf.features.values()}
    empty = {name: lake.read(name).withColumn("person_id", F.lit("ann")) for name in tables}
    empty["silver.interactions"] = with_reading(empty["silver.interactions"], conf.texts)
    found = features(empty, conf.features, DAYS[:1], table(spark, PEOPLE))
    assert [(f.name, f.dataType.simpleString()) for f in found.schema.fields][2:] == [
        (name, "double") for name in conf.features
    ]
    ann = found.where("person_id = 'ann'").first()
    assert {name: ann[name] for name in conf.features} == {n: f.default for n, f in conf.features.items()}


def test_filter_reaches_every_aggregate_function(spark):
    found = parsed("one", Feature(aggregate="sum(a) / count(distinct b)", window_days=7, **PAID))
    assert [sql.count("FILTER") for sql in found.plain.values()] == [1] and "status = 'paid'" in str(found.plain)
    assert list(found.distinct.values()) == [("b", f"(status = 'paid') AND {within(7)} AND true")]
    with pytest.raises(ConfError, match="no aggregate"):
        parsed("one", Feature(aggregate="amount", **PAID))


def test_distinct_counts_are_those_of_spark(spark):
    """Of one value by many conditions, of several values, of values that are null, beside every other aggregate."""
    rows = spark.range(4000).selectExpr(
        "concat('p', pmod(hash(id), 40)) AS person_id", "date'2026-01-01' AS as_of",
        "nullif(pmod(hash(id, 1), 9), 0) AS a",
        "cast(date_add(date'2025-01-01', pmod(hash(id, 2), 360)) as timestamp) AS event_time",
        "nullif(concat('v', pmod(hash(id, 3), 7)), 'v3') AS b", "cast(pmod(hash(id, 4), 100) as double) / 7 AS x",
    )  # fmt: skip
    asked = {
        "counts": "count(distinct a) + 100 * count(distinct b)",
        "cases": "count(distinct case when x > 5 then a end) - count(distinct case when x <= 5 then b end)",
        "days": "count(distinct to_date(event_time))",
        "most": "max(x) - min(x) + count(*)",
        "mixed": "datediff(as_of, max(event_time)) / nullif(count(distinct a) - 1, 0)",
        "pairs": "count(distinct a, b)",
        "words": "length(max(b)) + size(collect_set(b))",
    }
    table = {"table": "silver.orders", "availability": "known_at"}
    specs = {name: Feature(aggregate=sql, **table) for name, sql in asked.items()}
    specs |= {
        f"a{n}": Feature(aggregate="count(distinct a)", where=f"x > {n / 5}", window_days=n, **table)
        for n in range(1, 71)
    }
    by = ["person_id", "as_of"]
    wanted = rows.groupBy(*by).agg(
        *(F.expr(sql).cast("double").alias(name) for name, sql in asked.items()),
        *(
            F.expr(f"count(distinct case when x > {n / 5} and {within(n)} then a end)").cast("double").alias(f"a{n}")
            for n in range(1, 71)
        ),
    )
    found = aggregated(rows, specs, by)
    assert found.columns == wanted.columns and found.count() == 40
    assert found.exceptAll(wanted).isEmpty()


def test_sums_do_not_depend_on_the_order_of_rows(spark):
    amounts = [0.1, 1e9, 0.7, 12.34, -1e9, 0.2]
    assert sum(amounts) != sum(amounts[::-1])  # as floating-point numbers they do
    (total,) = parsed("n", Feature(table="silver.orders", aggregate="sum(a)", availability="known_at")).plain.values()
    frames = [spark.createDataFrame([(a,) for a in rows], "a double").coalesce(1) for rows in (amounts, amounts[::-1])]
    for column in (F.expr(total), exact_sum("a")):
        assert [frame.agg(column.alias("n")).first()["n"] for frame in frames] == [13.34, 13.34]


def test_only_current_members_get_rows(spark):
    members = table(spark, """
        subject_key string | person_id string | valid_to date
        shop/user_id:1     | old              | 2026-01-01
        shop/user_id:1     | ann              |
    """)  # fmt: skip
    orders = table(spark, """
        subject_key string | amount double
        shop/user_id:1     | 5
        shop/user_id:2     | 6
    """)  # fmt: skip
    assert [row["person_id"] for row in with_person(orders, members).collect()] == ["ann"]


def test_people_who_live_together_share_a_household_only_while_they_do(spark):
    homes = table(spark, """
        household_id string | person_id string | valid_from date | valid_to date
        h1                  | ann              | 2025-06-01      |
        h1                  | bob              | 2025-06-01      | 2026-01-15
    """)  # fmt: skip
    told = {"table": "silver.orders", "of": "household", "availability": "known_at", "where": "status = 'paid'"}
    specs = {
        "home_orders": Feature(aggregate="count(distinct order_id)", default=0, **told),
        "home_buyers": Feature(aggregate="count(distinct person_id)", default=0, **told),
        "own_orders": Feature(aggregate="count(distinct order_id)", default=0, **PAID),
    }
    found = features(frames(spark), specs, DAYS, table(spark, PEOPLE), homes)
    got = {(row["person_id"], str(row["as_of"])[5:7]): tuple(row[n] for n in specs) for row in found.collect()}
    assert got == {
        ("ann", "01"): (2, 1, 2),
        ("bob", "01"): (2, 1, 0),
        ("ann", "02"): (4, 1, 4),
        ("bob", "02"): (1, 1, 1),
        ("cyd", "02"): (0, 0, 0),
    }


def test_texts_are_read_in_spark_as_the_model_that_was_trained(spark, conf):
    told = tickets(40, seed=9)["text"].tolist()
    told += ["Thank you for the quick delivery, all is well.", "TERRIBLE service, I want my money back!!", "",
             "12345", None, "é", "Die Lampe kam kaputt an"]  # fmt: skip
    rows = spark.createDataFrame([(n, text) for n, text in enumerate(told)], "n int, text string")
    read = {row["n"]: row for row in with_reading(rows, conf.texts).collect()}
    for number, text in enumerate(told):
        words = tokens(text or "")
        if not words:
            assert read[number]["text_topic"] is None and read[number]["text_mood"] is None
            continue
        scores = np.sum([conf.texts.start, *(conf.texts.words[w] for w in words if w in conf.texts.words)], axis=0)
        upset, _, glad = np.exp(scores[-3:]) / np.exp(scores[-3:]).sum()
        assert read[number]["text_mood"] == pytest.approx(glad - upset, abs=1e-9)
        assert read[number]["text_topic"] == conf.texts.topics[int(np.argmax(scores[:-3]))]
    assert read[40]["text_mood"] > 0.5 and read[40]["text_topic"] == "delivery"
    assert read[41]["text_mood"] < -0.3


def test_the_shipped_weights_are_what_training_gives():
    assert (ROOT / "conf" / "texts.yml").read_text() == as_yaml(fitted(tickets()))
    unseen = tickets(300, seed=5)
    assert set(unseen["topic"]) == set(TOPICS) and set(unseen["mood"]) == set(MOODS)


def test_sensitive_and_undeclared_features_are_refused(tmp_path):
    home = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", home)
    age = "age_2: {table: silver.customers, aggregate: max(year(BIRTH_DATE)), availability: known_at}"
    points = "points: {table: silver.customers, aggregate: max(points), availability: known_at}"
    for line, told in (
        ("late: {table: silver.orders, aggregate: count(*)}", "late, availability: Field required"),
        (age, "age_2: it reads birth_date of silver.customers, which is sensitive; add `sensitive: true`"),
        (
            points,
            "points: silver.customers holds rows that their sources overwrite (crm, enrichment, loyalty): what was",
        ),
    ):
        (home / "features.yml").write_text((ROOT / "conf" / "features.yml").read_text() + line + "\n")
        with pytest.raises(ConfError, match=re.escape(told)):
            load(home)
