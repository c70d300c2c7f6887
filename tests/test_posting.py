"""The ledger of an HTTP destination through failures: the right people are at the receiver at last."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.activation.objects import DeliveryError
from jobs import audiences as audiences_job
from tests.forty import DAY, PEOPLE, on, says, with_destinations
from tests.receiver import HOW, receiver, rows  # noqa: F401  a fixture


@pytest.fixture
def posting(job, receiver):
    """The forty people, and a destination that posts them in batches of at most ten."""
    how = HOW | {"endpoint": "crm", "backoff_seconds": 0}
    body = {"protocol": "http", "sync": "mirror", "http": how, "fields": {"person_id": {"column": "person_id"}}}
    found = with_destinations(job, {"crm": body}, endpoints={"crm": receiver["url"]})
    audiences_job.run(found)
    return found


def there(receiver) -> set[str]:
    """Who is at the receiver after all that it took."""
    found: set[str] = set()
    for operation, row in receiver["taken"]:
        found = found | {row["person_id"]} if operation == "upsert" else found - {row["person_id"]}
    return found


def test_the_ledger_stays_true_through_failures(posting, receiver):
    """A run that fails half-way, a no in between, refused rows offered again: the right people are there at last."""
    receiver["plan"] = ["ok"] + ["500"] * 4
    with pytest.raises(DeliveryError, match="crm: .*sent again under the same key"):
        deliver_all(posting)
    sent = {row["person_id"] for _, row in receiver["taken"]}
    assert 5 <= len(sent) <= 10
    gone = sorted(sent)[0]
    says(posting, gone, "withdrawn", DAY)  # may have arrived, and must go
    receiver["plan"] = ["ok", "half"]
    deliver_all(posting)
    refused = posting.lake.read("activation.sent").where("op = 'refused'").count()
    assert 0 < refused <= 5
    later = receiver["taken"][len(sent) :]
    assert later[0][0] == "remove" and {op for op, _ in later[1:]} == {"upsert"}
    assert {n for n in Counter(row["row_id"] for op, row in later if op == "upsert").values()} == {1}
    second, before = on(posting, DAY + timedelta(1)), len(receiver["taken"])
    audiences_job.run(second)
    deliver_all(second)  # offers the refused again, and nothing else
    assert len(receiver["taken"][before:]) == refused
    assert there(receiver) == set(PEOPLE[1:29]) - {gone}
    before = receiver["requests"]
    deliver_all(second)
    assert receiver["requests"] == before


def test_a_run_of_another_day_goes_on_under_the_same_keys(posting, receiver):
    receiver["plan"] = ["ok", "ok"] + ["500"] * 4
    with pytest.raises(DeliveryError):
        deliver_all(posting)
    half = len(receiver["taken"])
    assert 0 < half < 28
    deliver_all(on(posting, DAY + timedelta(1)))
    assert Counter(row["person_id"] for _, row in receiver["taken"]) == dict.fromkeys(PEOPLE[1:29], 1)


def test_refusals_before_a_failure_are_kept(posting, receiver):
    """The receiver answers a known key with a plain yes: only the ledger knows who was refused. Whether the later try
    was taken nobody knows: who was refused and has to go is removed."""
    receiver["plan"] = ["half"] + ["500"] * 4
    with pytest.raises(DeliveryError):
        deliver_all(posting)
    refused = posting.lake.read("activation.sent").where("op = 'refused'").orderBy("person_id").collect()
    deliver_all(posting)
    assert refused and len(there(receiver)) == 28 - len(refused)
    one, before, second = refused[0]["person_id"], len(receiver["taken"]), on(posting, DAY + timedelta(1))
    says(second, one, "withdrawn", second.date)
    deliver_all(second)
    assert ("remove", one) in [(op, row["person_id"]) for op, row in receiver["taken"][before:]]
    assert there(receiver) == set(PEOPLE[1:29]) - {one}


def test_who_came_back_between_two_failures_is_told_anew(posting, receiver):
    """Added, removed and added again, and no delivery was ever whole: the third word must not pass for the first."""
    words = ["ok"] * 2 + ["500"] * 4
    receiver["plan"] = list(words)
    with pytest.raises(DeliveryError):
        deliver_all(posting)
    one = receiver["taken"][0][1]["person_id"]
    says(posting, one, "withdrawn", DAY)
    receiver["plan"] = ["ok"] + ["500"] * 4
    with pytest.raises(DeliveryError):
        deliver_all(posting)
    assert one not in there(receiver)
    says(on(posting, DAY + timedelta(1)), one, "granted", DAY + timedelta(1))
    second = on(posting, DAY + timedelta(1))
    audiences_job.run(second)
    deliver_all(second)
    assert there(receiver) == set(PEOPLE[1:29])
