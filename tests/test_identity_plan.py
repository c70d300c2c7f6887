"""A plan: what other rules would do to people, audiences and consent, and when that is too much."""

from __future__ import annotations

import pytest

from cdp_spark.config.identity import Plan
from cdp_spark.config.source import Identity
from cdp_spark.identity.plan import audiences_changed, beyond, consent_conflicts, moves, people_changed
from cdp_spark.identity.state import rules_hash
from tests.tables import table

BEFORE = """
    subject_key string | person_id string
    a/1                | p1
    a/2                | p2
    a/3                | p3
    a/4                | p3
    a/5                | p5
    a/6                | p6
"""
AFTER = """
    subject_key string | person_id string
    a/1                | p1
    a/2                | p1
    a/3                | p3
    a/4                | p4
    a/5                | p5
    a/7                | p7
"""


def test_the_difference_is_told_in_people_audiences_and_consent(spark):
    before, after = (table(spark, text) for text in (BEFORE, AFTER))
    moved = moves(before, after).localCheckpoint()
    assert people_changed(moved) == {"before": 5, "after": 5, "kept": 1, "merged": 1, "split": 1}
    inside = table(
        spark,
        """
        audience string | person_id string
        loyal           | p1
        loyal           | p2
        lapsed          | p3
        lapsed          | p6
    """,
    )
    assert audiences_changed(moved, inside) == {
        "lapsed": {"members": 2, "gained": 1, "lost": 1},
        "loyal": {"members": 2, "gained": 0, "lost": 1},
    }
    state = table(
        spark,
        """
        person_id string | purpose string | granted boolean | consent_id string
        p1               | email          | true            | crm/1
        p2               | email          | false           | crm/2
        p2               | profiling      | false           |
        p1               | profiling      | true            | crm/1
        p3               | email          | true            | crm/3
    """,
    )
    assert consent_conflicts(moved, state) == 1


FOUND = {
    "people": {"before": 100, "merged": 1, "split": 0},
    "largest": [5, 3],
    "audiences": {"loyal": {"members": 100, "gained": 2, "lost": 3}},
    "consent_conflicts": 0,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"people": {"before": 100, "merged": 2, "split": 0}}, "2 of 100 people merged (2.0%; max_merged_share 1.0%)"),
        ({"people": {"before": 100, "merged": 0, "split": 2}}, "people split"),
        ({"largest": [1001]}, "a person of 1001 records (max_cluster 1000)"),
        ({"audiences": {"loyal": {"members": 100, "gained": 3, "lost": 3}}}, "audience loyal: 6.0% of members change"),
        ({"consent_conflicts": 1}, "1 consent conflicts"),
    ],
)
def test_a_plan_beyond_a_threshold_says_which(change, told):
    found = beyond(FOUND | change, Plan())
    assert found == [] if told is None else len(found) == 1 and told in found[0]


def test_only_what_decides_who_is_who_is_a_change_of_rules():
    rules = Identity.model_validate({"identifiers": {"email": {"limit": "5 annually"}}})
    how = rules.model_copy(update={"engine": "scipy", "incremental": "never", "plan": Plan(required=True)})
    assert rules_hash(rules) == rules_hash(how)
    assert rules_hash(rules) != rules_hash(rules.model_copy(update={"max_records": 7}))


def test_unique_is_a_limit_of_one_for_ever():
    one = Identity.model_validate({"identifiers": {"a": {"unique": True}, "b": {"limit": "1 ever"}}}).identifiers
    assert one["a"].limit == one["b"].limit
    with pytest.raises(ValueError, match="give one of them"):
        Identity.model_validate({"identifiers": {"a": {"unique": True, "limit": "2 ever"}}})
