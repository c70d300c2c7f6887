"""Normalisers and subjects: input and expectation side by side."""

from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.contract import Normaliser
from cdp_spark.silver.normalise import NORMALISERS, normalised
from tests.tables import table

CASES = {
    "email": """
        raw string        | expected string
        ' Ada@B.co '      | ada@b.co
        a.b+c@x-y.org     | a.b+c@x-y.org
        ü@exämple.de      | ü@exämple.de
        not-an-address    |
        a@b               |
        two@at@x.de       |
        a b@x.de          |
                          |
    """,
    "phone": """
        raw string        | expected string
        07400 123456      | +447400123456
        '+44 (0)7400 123456' | +447400123456
        0044 7400 123456  | +447400123456
        +49 30 901820     | +4930901820
        12                |
        none              |
                          |
    """,
    "name": """
        raw string        | expected string
        '  Zoë   Anne '   | Zoë Anne
        李小龙            | 李小龙
        '   '             |
                          |
    """,
    "postcode": """
        raw string        | expected string
        sw1a 1aa          | SW1A1AA
        12345-678         | 12345678
        '!'               |
                          |
    """,
    "country": """
        raw string        | expected string
        gb                | GB
        United Kingdom    | GB
        Atlantis          |
                          |
    """,
    "money": """
        raw string        | expected string
        12.5              | 12.5
        1.0E7             | 1.0E7
        -12,50            | -12.50
        '1.234,56 €'      | 1234.56
        '£1,234.56'       | 1234.56
        1,234             | 1234
        (12.50)           | -12.50
        12 EUR            | 12
        1.234.567         | 1234567
        twelve            |
        1,2,3             |
                          |
    """,
    "digits": """
        raw string        | expected string
        0012-34 56.78     | 0012345678
        12a4              |
                          |
    """,
}


@pytest.mark.parametrize("name", CASES)
def test_normaliser(spark, name):
    cases = table(spark, CASES[name])
    wrong = cases.withColumn("got", normalised(F.col("raw"), name, "GB")).where("not (got <=> expected)")
    assert wrong.collect() == []


def test_control_characters_name_nobody(spark):
    frame = spark.createDataFrame([("a\u0000b@x.de",), ("a\u0007",)], "raw string")
    for name in ("email", "exact", "name"):
        assert frame.where(normalised(F.col("raw"), name, "GB").isNotNull()).count() == 0


def test_a_name_is_written_with_one_sign_a_letter_whatever_wrote_it(spark):
    """macOS writes letters and their marks apart; in Hindi, vowels are marks that no letter can do without."""
    names = ["Béla Müller", "Nguyễn", "Андрей", "김철수", "अनिल", "สมชาย"]
    apart = [(text, unicodedata.normalize("NFD", text)) for text in names]
    assert [a != b for a, b in apart] == [True] * 4 + [False] * 2
    frame = spark.createDataFrame(apart, "a string, b string")
    got = frame.select(*(normalised(F.col(side), "name", "GB").alias(side) for side in "ab")).collect()
    assert [row.a for row in got] == [row.b for row in got] == names


def test_conf_may_name_exactly_the_normalisers_that_are_there():
    assert set(get_args(Normaliser)) == set(NORMALISERS)
