"""A receiver that fails in all usual ways: nothing is lost, nothing is taken twice, and the error says what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.activation.http import batches, send
from cdp_spark.activation.objects import DeliveryError
from cdp_spark.config.activation import Http
from jobs import audiences as audiences_job
from tests.conftest import ROOT
from tests.forty import DAY, PEOPLE, on, says, with_destinations

ANSWERS = {
    "null": b'{"errors": null}',
    "words": b"OK",
    "page": b"<html>Please log in, ada@x.org</html>",
    "odd": b'{"errors": "many"}',
    "odder": b'{"errors": [1]}',
}


class Receiver(BaseHTTPRequestHandler):
    """Takes a batch once a key. `plan` holds what goes wrong with the next requests, one word each."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        world = self.server.world
        world["tokens"].append(self.headers.get("Authorization"))
        world["requests"] += 1
        what = world["plan"].pop(0) if world["plan"] else "ok"
        if what in ("500", "401", "413", "422"):
            return self.answer(int(what))
        if what == "302":
            return self.answer(302, headers={"Location": self.server.world["url"] + "/elsewhere"})
        if what in ANSWERS:
            return self.answer(200, ANSWERS[what])
        if what == "503":
            return self.answer(503, headers={"Retry-After": "7"})
        if what == "reset":  # before anything is taken
            return self.reset()
        errors = self.take(body, what)
        if what == "taken, then reset":
            return self.reset()
        if what == "taken, then late":
            world["released"].wait(10)
        return self.answer(200, json.dumps({"errors": errors}).encode())

    def take(self, body: bytes, what: str) -> list[dict]:
        world, key = self.server.world, self.headers["Idempotency-Key"]
        told = json.loads(body)
        refused = told["rows"][::2] if what == "half" else []
        with world["lock"]:
            if key not in world["keys"]:
                world["keys"].add(key)
                for row in told["rows"]:
                    if row not in refused:
                        world["taken"].append((told["operation"], row))
        return [{"row_id": row["row_id"], "code": "bad_row"} for row in refused]

    def reset(self):
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)  # close sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def answer(self, status: int, body: bytes = b"", headers: dict | None = None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Connections that a test tears down are no errors of the server."""


@pytest.fixture
def receiver():
    server = Server(("127.0.0.1", 0), Receiver)
    server.world = {"plan": [], "keys": set(), "taken": [], "tokens": [], "requests": 0, "lock": threading.Lock(),
                    "released": threading.Event()}  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.world["url"] = f"http://127.0.0.1:{server.server_address[1]}/people"
    yield server.world
    server.world["released"].set()
    server.shutdown()
    server.server_close()


def rows(count: int) -> list[dict]:
    return [
        {"_audience": "a", "_row_id": f"r{i:03}", "_person_id": f"p{i}", "email": f"{i}@x.org"} for i in range(count)
    ]


HOW = {"endpoint": "x", "batch_rows": 10, "attempts": 4, "timeout_seconds": 1, "backoff_seconds": 1}


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
from tests.test_http import HOW, rows
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
    """The receiver answers a known key with a plain yes: only the ledger knows who was refused."""
    receiver["plan"] = ["half"] + ["500"] * 4
    with pytest.raises(DeliveryError):
        deliver_all(posting)
    refused = posting.lake.read("activation.sent").where("op = 'refused'").count()
    assert refused
    deliver_all(posting)
    assert len(there(receiver)) == 28 - refused
    deliver_all(on(posting, DAY + timedelta(1)))
    assert there(receiver) == set(PEOPLE[1:29])


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
