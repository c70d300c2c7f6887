"""Does a record read alike however it was written: names in every script, places, dates of all notations?"""

from __future__ import annotations

import unicodedata

import pandas as pd

from cdp_spark.identity.matching import records
from cdp_spark.identity.matching.nicknames import roots
from tests.tables import table
from tests.test_matching import customers


def test_a_prepared_record_reads_alike_however_it_was_written(spark):
    people = pd.DataFrame(
        [
            {
                "subject_key": "s|1",
                "first_name": "Dr. Béla",
                "last_name": "O'Neill-Müller Jr.",
                "street": "12 High Street",
            },
            {"subject_key": "s|2", "full_name": "Oneill Muller, Bela", "house_number": "12", "street": "High St"},
            {
                "subject_key": "s|3",
                "first_name": "Bill",
                "last_name": "Smith",
                "birth_text": "19991332",
                "company": "Acme Ltd",
            },
            {"subject_key": "s|4", "first_name": " ", "last_name": None, "company": "ACME"},
        ]
    )
    rows = records.prepared(customers(spark, people), {}).orderBy("subject_key").collect()
    assert [row.given for row in rows] == ["bela", "bela", "bill", None]
    assert [row.family for row in rows[:3]] == ["oneillmuller", "muller", "smith"]
    assert [row.generation for row in rows] == ["2", None, None, None]
    assert rows[0].address == rows[1].address == "12 highst"
    assert rows[2].given_root == "william" and rows[2].birth == "19991332"
    assert rows[2].company == rows[3].company == "acme"


def test_letters_and_their_marks_are_one_name_in_every_script(spark):
    said = {"first_name": "Béla", "last_name": "Müller", "city": "Đồng Hới", "street": "Тверской бульвар"}
    apart = {name: unicodedata.normalize("NFD", text) for name, text in said.items()}
    hindi = {"first_name": "अनिल", "last_name": "शर्मा", "city": "दिल्ली"}
    people = pd.DataFrame(
        [said | {"subject_key": "s|1"}, apart | {"subject_key": "s|2"}, hindi | {"subject_key": "s|3"}]
    )
    rows = records.prepared(customers(spark, people), {}).orderBy("subject_key").collect()
    one, two, three = (tuple(row[name] for name in ("given", "family", "city", "street")) for row in rows)
    assert one == two == ("bela", "muller", "donghoi", "тверскойбульвар")
    assert three == ("अनिल", "शर्मा", "दिल्ली", None)


def test_dates_of_all_notations_become_one_text(spark):
    from cdp_spark.silver.normalise import date_text

    cases = table(
        spark,
        """
        raw string          | gb string | us string
        1985-03-04          | 19850304  | 19850304
        1985-03-04 10:00:00 | 19850304  | 19850304
        19850304            | 19850304  | 19850304
        4/3/1985            | 19850304  | 19850403
        03041985            | 19850403  | 19850304
        2!-07-1954          | 1954072!  | 19542!07
        1985-13-40          | 19851340  | 19851340
        last year           |           |
                            |           |
        """,
    )
    found = cases.select("*", date_text(cases.raw, "GB").alias("a"), date_text(cases.raw, "US").alias("b")).collect()
    assert [(row.raw, row.a, row.b) for row in found] == [(row.raw, row.gb, row.us) for row in found]


def test_every_nickname_has_one_root_that_is_its_own():
    found = roots()
    assert found["bob"] == found["robert"] == "robert" and found["peggy"] == "margaret"
    assert all(len(form) > 1 for form in found)
