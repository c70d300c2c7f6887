"""A receiver of HTTP deliveries that fails in all usual ways, and takes a batch once a key."""

from __future__ import annotations

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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
        if what == "taken, then killed":
            self.server.world["kill"]()
        if what in ("taken, then reset", "taken, then killed"):
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
