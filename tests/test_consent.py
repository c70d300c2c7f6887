"""No word is a no: who may be addressed, by legal basis, policy, time, shared identifiers, merges and splits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.activation import Purpose
from cdp_spark.governance.consent import consent_state, consented
from tests.tables import table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PURPOSES = {
    "mail": Purpose(description="", basis="consent", channels=["email"]),
    "both": Purpose(description="", basis="consent", channels=["email", "sms"]),
    "ads": Purpose(description="", basis="consent", policy="latest", expires_after="365 days"),
    "models": Purpose(description="", basis="legitimate_interest"),
    "invoice": Purpose(description="", basis="contract"),
    "ranked": Purpose(description="", basis="consent", policy="source_precedence", precedence=["d", "c"]),
    "agree": Purpose(description="", basis="consent", policy="conflict_denies"),
    "tcf": Purpose(description="", basis="consent", categories=["tcf_3", "tcf_4"]),
    "worded": Purpose(description="", basis="consent", texts=["v2"]),
}
PEOPLE = """
    subject_key string | person_id string | valid_from date | valid_to date
    k1                 | ann              | 2026-01-01      |
    k2                 | bob              | 2026-01-01      |
    k3                 | cyn              | 2026-01-01      |
    k4                 | dan              | 2026-01-01      |
    k5                 | whole            | 2026-01-01      |
    k6                 | whole            | 2026-01-01      | 2026-03-01
    k6                 | part             | 2026-03-01      |
"""
IDENTIFIERS = """
    subject_key string | namespace string | value string
    k1                 | email            | ann@x.org
    k1                 | user_id          | u1
    k2                 | email            | home@x.org
    k2                 | user_id          | u2
    k3                 | email            | home@x.org
    k3                 | user_id          | u3
    k5                 | user_id          | u5
    k6                 | user_id          | u6
"""
# Name: purpose, who may be addressed for it, the facts.
CASES = {
    "silence is a no": ("mail", ""),
    "silence is a yes under legitimate interest": ("models", "ann bob cyn dan part whole"),
    "a contract asks for nothing": ("invoice", "ann bob cyn dan part whole"),
    "granted": ("mail", "ann", "c|1|email|ann@x.org|mail|email|granted|2026-05-01"),
    "denied": ("mail", "", "c|1|email|ann@x.org|mail|email|denied|2026-05-01"),
    "withdrawn": ("mail", "", "c|1|email|ann@x.org|mail|email|granted|2026-04-01",
                  "c|2|email|ann@x.org|mail|email|withdrawn|2026-05-01"),
    "withdrawn, then granted again": ("mail", "ann", "c|1|email|ann@x.org|mail|email|withdrawn|2026-04-01",
                                      "c|2|email|ann@x.org|mail|email|granted|2026-05-01"),
    "at the same moment the refusal stands": ("mail", "", "c|1|email|ann@x.org|mail|email|withdrawn|2026-05-01",
                                              "c|2|email|ann@x.org|mail|email|granted|2026-05-01"),
    "expired": ("mail", "", "c|1|email|ann@x.org|mail|email|expired|2026-05-01"),
    "not yet said": ("mail", "", "c|1|email|ann@x.org|mail|email|granted|2026-06-02"),
    "another purpose": ("mail", "", "c|1|email|ann@x.org|ads|email|granted|2026-05-01"),
    "another channel grants nothing": ("mail", "", "c|1|email|ann@x.org|mail|sms|granted|2026-05-01"),
    "another channel refuses nothing": ("mail", "ann", "c|1|email|ann@x.org|mail|email|granted|2026-05-01",
                                        "c|2|email|ann@x.org|mail|sms|denied|2026-05-02"),
    "any channel refuses": ("mail", "", "c|1|email|ann@x.org|mail|email|granted|2026-05-01",
                            "c|2|email|ann@x.org|mail|any|denied|2026-05-02"),
    "withdrawn everywhere, then granted again for e-mail": (
        "mail", "ann", "c|1|email|ann@x.org|mail|any|withdrawn|2026-04-02",
        "c|2|email|ann@x.org|mail|email|granted|2026-05-01"),
    "withdrawn everywhere, then granted at another source": (
        "mail", "", "c|1|email|ann@x.org|mail|any|withdrawn|2026-04-02",
        "d|2|email|ann@x.org|mail|email|granted|2026-05-01"),
    "refused for e-mail, then a word about any channel": (
        "mail", "", "c|1|email|ann@x.org|mail|email|denied|2026-04-02",
        "c|2|email|ann@x.org|mail|any|granted|2026-05-01"),
    "withdrawn everywhere, then granted for one channel of two": (
        "both", "", "c|1|email|ann@x.org|both|any|withdrawn|2026-04-02",
        "c|2|email|ann@x.org|both|email|granted|2026-05-01"),
    "most restrictive between sources": ("mail", "", "c|1|email|ann@x.org|mail|email|denied|2026-04-01",
                                         "d|2|user_id|u1|mail|email|granted|2026-05-01"),
    "latest between sources": ("ads", "ann", "c|1|email|ann@x.org|ads|any|denied|2026-04-01",
                               "d|2|user_id|u1|ads|any|granted|2026-05-01"),
    "latest is a no": ("ads", "", "c|1|email|ann@x.org|ads|any|granted|2026-04-01",
                       "d|2|user_id|u1|ads|any|denied|2026-05-01"),
    "a grant grows old": ("ads", "", "c|1|email|ann@x.org|ads|any|granted|2025-05-01"),
    "an objection": ("models", "bob cyn dan part whole", "c|1|user_id|u1|models|any|objected|2026-05-01"),
    "an expired grant is no objection": ("models", "ann bob cyn dan part whole",
                                         "c|1|user_id|u1|models|any|expired|2026-05-01"),
    "a shared e-mail grants for both": ("mail", "bob cyn", "c|1|email|home@x.org|mail|email|granted|2026-05-01"),
    "one of two refuses for herself": ("mail", "cyn", "c|1|email|home@x.org|mail|email|granted|2026-05-01",
                                       "c|2|user_id|u2|mail|email|denied|2026-05-02"),
    "a refusal before a split holds for all parts": ("models", "ann bob cyn dan",
                                                     "c|1|user_id|u5|models|any|objected|2026-02-01"),
    "a part that says yes itself after the split": ("mail", "part", "c|1|user_id|u5|mail|email|withdrawn|2026-02-01",
                                                    "c|2|user_id|u6|mail|email|granted|2026-04-01"),
    "a part that had said yes before the refusal": ("mail", "", "c|1|user_id|u5|mail|email|withdrawn|2026-02-01",
                                                    "c|2|user_id|u6|mail|email|granted|2026-01-15"),
    "a refusal after it for one": ("models", "ann bob cyn dan part", "c|1|user_id|u5|models|any|objected|2026-04-01"),
    "a grant before a split for its identifier": ("mail", "part", "c|1|user_id|u6|mail|email|granted|2026-02-01"),
    "the better source decides": ("ranked", "ann", "c|1|email|ann@x.org|ranked|any|denied|2026-05-02",
                                  "d|2|user_id|u1|ranked|any|granted|2026-05-01"),
    "the better source refuses": ("ranked", "", "c|1|email|ann@x.org|ranked|any|granted|2026-05-02",
                                  "d|2|user_id|u1|ranked|any|denied|2026-05-01"),
    "a source without a rank comes last": ("ranked", "", "e|1|email|ann@x.org|ranked|any|granted|2026-05-02",
                                           "c|2|user_id|u1|ranked|any|denied|2026-05-01"),
    "sources that agree": ("agree", "ann", "c|1|email|ann@x.org|agree|any|granted|2026-05-02",
                           "d|2|user_id|u1|agree|any|granted|2026-05-01"),
    "sources that disagree": ("agree", "", "c|1|email|ann@x.org|agree|any|granted|2026-05-02",
                              "d|2|user_id|u1|agree|any|denied|2026-05-01"),
    "a source that changed its word": ("agree", "ann", "c|1|email|ann@x.org|agree|any|denied|2026-05-01",
                                       "c|2|user_id|u1|agree|any|granted|2026-05-02"),
    "all categories": ("tcf", "ann", "c|1|email|ann@x.org|tcf_3|any|granted|2026-05-01",
                       "c|2|email|ann@x.org|tcf_4|any|granted|2026-05-01"),
    "one category of two": ("tcf", "", "c|1|email|ann@x.org|tcf_3|any|granted|2026-05-01"),
    "a category refused beside the purpose granted": ("tcf", "", "c|1|email|ann@x.org|tcf|any|granted|2026-05-02",
                                                      "c|2|email|ann@x.org|tcf_4|any|denied|2026-05-01"),
    "the purpose itself": ("tcf", "ann", "c|1|email|ann@x.org|tcf|any|granted|2026-05-01"),
    "a text that counts": ("worded", "ann", "c|1|email|ann@x.org|worded|any|granted|2026-05-01|v2"),
    "an old text": ("worded", "", "c|1|email|ann@x.org|worded|any|granted|2026-05-01|v1"),
    "no text": ("worded", "", "c|1|email|ann@x.org|worded|any|granted|2026-05-01"),
    "nobody's identifier": ("mail", "", "c|1|email|who@x.org|mail|email|granted|2026-05-01"),
}  # fmt: skip
FACTS = "source string, record_id string, namespace string, value string, purpose string, channel string, " \
        "status string, event_time string"  # fmt: skip


@pytest.fixture(scope="module")
def world(spark):
    """All cases in one frame: every case has people, identifiers and facts of its own, told apart by a prefix."""
    names = list(CASES)
    cases = spark.createDataFrame([(f"{i}/",) for i in range(len(names))], "case string")
    rows = [
        tuple((f"{i}/{cell}" if at in (1, 3) else cell) for at, cell in enumerate(fact.split("|")))
        for i, name in enumerate(names)
        for fact in CASES[name][2:]
    ]
    rows = [row if len(row) == 9 else (*row, None) for row in rows]
    facts = spark.createDataFrame(rows, f"{FACTS}, text_version string").withColumn(
        "event_time", F.col("event_time").cast("timestamp")
    )
    facts = facts.withColumns({"known_at": F.col("event_time"), "deleted": F.lit(False)})

    def each(text: str, *columns: str):
        frame = table(spark, text).crossJoin(cases)
        return frame.withColumns({c: F.concat("case", c) for c in columns}).drop("case")

    identifiers, members = each(IDENTIFIERS, "subject_key", "value"), each(PEOPLE, "subject_key", "person_id")
    return consent_state(facts, identifiers, members, PURPOSES, NOW).collect()


@pytest.mark.parametrize("number, name", list(enumerate(CASES)), ids=list(CASES))
def test_polarity(world, number, name):
    purpose, expected = CASES[name][:2]
    mine = [r for r in world if r["person_id"].startswith(f"{number}/") and r["purpose"] == purpose]
    assert all(r["granted"] is not None for r in mine)
    assert len(mine) == 6
    assert sorted(r["person_id"].split("/")[1] for r in mine if r["granted"]) == expected.split()


def test_one_row_per_person_and_purpose(world):
    assert len(world) == len({(r["person_id"], r["purpose"]) for r in world}) == 6 * len(PURPOSES) * len(CASES)


def test_the_door_is_shut_by_default(spark):
    people = table(spark, "person_id string | consent_id string\n ann | old\n bob |\n cyn |\n dan |")
    state = table(
        spark,
        """
        person_id string | purpose string | granted boolean | consent_id string
        ann              | mail           | true            | c-1
        bob              | mail           | false           | c-2
        cyn              | mail           |                 | c-3
        dan              | ads            | true            | c-4
        """,
    )
    assert [tuple(r) for r in consented(people, state, purpose="mail").collect()] == [("ann", "c-1")]


def test_a_deleted_record_grants_nothing_but_a_refusal_stays(spark):
    rows = [
        ("c", "1", "email", "ann@x.org", "mail", "email", "granted", NOW - timedelta(9), False),
        ("c", "1", "email", "ann@x.org", "mail", "email", "granted", NOW - timedelta(8), True),
        ("c", "2", "user_id", "u2", "models", "any", "objected", NOW - timedelta(8), True),
    ]
    facts = spark.createDataFrame(rows, FACTS.replace("event_time string", "event_time timestamp, deleted boolean"))
    facts = facts.withColumn("known_at", F.col("event_time"))
    state = consent_state(facts, table(spark, IDENTIFIERS), table(spark, PEOPLE), PURPOSES, NOW)
    yes = {(r["person_id"], r["purpose"]) for r in state.where("granted").collect()}
    assert ("ann", "mail") not in yes
    assert ("bob", "models") not in yes
    assert ("ann", "models") in yes
