"""Batches to a receiver that fails in all usual ways: nothing is lost or taken twice, and errors say what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter

import pytest

from cdp_spark.activation.http import batches, send
from cdp_spark.activation.objects import DeliveryError
from cdp_spark.config.activation import Http
from tests.conftest import ROOT
from tests.receiver import HOW, receiver, rows  # noqa: F401  a fixture


@pytest.mark.parametrize(
    ("plan", "waits"),
    [
        ([], []),
        (["500", "500", "ok"], [1, 2]),
        (["503"], [7]),
        (["reset", "ok", "500"], [1, 1]),
        (["taken, then reset"], [1]),
        (["taken, then late"], [1]),
    ],
    ids=str,
)
def test_every_row_is_taken_once(receiver, plan, waits):
    receiver["plan"] = list(plan)
    waited = []
    assert send(rows(35), "upsert", "d1", receiver["url"], Http(**HOW), sleep=waited.append) == []
    assert Counter(row["row_id"] for _, row in receiver["taken"]) == {f"r{i:03}": 1 for i in range(35)}
    assert len(receiver["keys"]) == len(list(batches(rows(35), 10))) and waited == waits
    assert not any("_person_id" in row for _, row in receiver["taken"])


def test_rows_that_are_refused_are_named(receiver):
    receiver["plan"] = ["ok", "half"]
    found = send(rows(20), "upsert", "d1", receiver["url"], Http(**HOW))
    second = list(batches(rows(20), 10))[1]
    assert [(r.row_id, r.person_id, r.reason) for r in found] == [
        (row["_row_id"], row["_person_id"], "bad_row") for row in second[::2]
    ]
    assert len(receiver["taken"]) == 20 - len(found)


def test_batches_are_bounded_and_one_row_less_changes_few_of_them():
    whole = list(batches(rows(2000), 40))
    assert [row for batch in whole for row in batch] == rows(2000)
    assert all(20 <= len(batch) <= 40 for batch in whole[:-1])
    for missing in (0, 700, 1999):
        rest = rows(2000)[:missing] + rows(2000)[missing + 1 :]
        changed = [batch for batch in batches(rest, 40) if batch not in whole]
        assert len(changed) <= 5
    assert [len(batch) for batch in batches(rows(3), 1)] == [1, 1, 1]


def test_an_answer_that_says_nothing_of_rows_is_a_yes(receiver):
    receiver["plan"] = ["null", "words"]
    assert send(rows(20), "upsert", "d1", receiver["url"], Http(**HOW)) == []


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (["500"] * 4, r"no answer that counts in 4 attempts \(last: status 500\)"),
        (["reset"] * 4, "no answer that counts in 4 attempts"),
        (["401"], "credentials refused.*TEST_TOKEN"),
        (["413"], "lower http.batch_rows"),
        (["422"], "refused as a whole"),
        (["302"], "no redirect is followed"),
        (["page"], "the answer is a page"),
        (["odd"], "`errors` are not understood"),
        (["odder"], "`errors` are not understood"),
    ],
    ids=str,
)
def test_what_cannot_be_delivered_is_told_with_its_remedy(receiver, plan, told, monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "secret-of-the-test")
    receiver["plan"] = list(plan)
    with pytest.raises(DeliveryError, match=told) as error:
        send(rows(5), "upsert", "d1", receiver["url"], Http(**HOW, token_env="TEST_TOKEN"), sleep=lambda _: None)
    assert "secret" not in str(error.value) and "@x.org" not in str(error.value)
    assert receiver["taken"] == [] and receiver["tokens"][0] == "Bearer secret-of-the-test"


def test_no_token_and_no_server_are_told(receiver, monkeypatch):
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    with pytest.raises(DeliveryError, match="set the environment variable TEST_TOKEN"):
        send(rows(5), "upsert", "d1", receiver["url"], Http(**HOW, token_env="TEST_TOKEN"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(DeliveryError, match="ConnectionRefusedError"):
            send(
                rows(5), "upsert", "d1", f"http://127.0.0.1:{free.getsockname()[1]}/", Http(**HOW), sleep=lambda _: None
            )


KILLED = """
import os, signal, sys
from cdp_spark.activation import http
from cdp_spark.config.activation import Http
from tests.receiver import HOW, rows
posted = http._posted
def dying(*args, done=[0]):
    found = posted(*args)
    done[0] += 1
    if done[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
http._posted = dying
http.send(rows(55), "upsert", "d1", sys.argv[1], Http(**HOW))
"""


def test_a_process_killed_between_two_batches_sends_again_under_the_same_keys(receiver):
    found = subprocess.run([sys.executable, "-c", KILLED, receiver["url"]], cwd=ROOT, env=os.environ, check=False)
    parts = list(batches(rows(55), 10))
    assert found.returncode == -signal.SIGKILL and len(receiver["taken"]) == sum(map(len, parts[:3]))
    send(rows(55), "upsert", "d1", receiver["url"], Http(**HOW))
    assert Counter(row["row_id"] for _, row in receiver["taken"]) == {f"r{i:03}": 1 for i in range(55)}
    assert receiver["requests"] == 3 + len(parts)
