"""A local S3 (moto's server), and a proxy before it that fails as stores do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

from cdp_spark.config.models import S3
from cdp_spark.job import Job
from cdp_spark.session import s3_settings
from tests.processes import free_port, until


def serve(**env: str):
    port = free_port()
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=os.environ | env, **quiet)
    until(partial(listening, port), server)
    return server, f"http://127.0.0.1:{port}"


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def client(endpoint: str):
    """Of somebody else: a reader, or the owner of the bucket."""
    keys = {"aws_access_key_id": "reader", "aws_secret_access_key": "reader"}
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)


def on_s3(job: Job, s3: S3, exports: str) -> Job:
    hadoop = job.spark._jsc.hadoopConfiguration()
    for key, value in s3_settings(s3).items():
        hadoop.set(key.removeprefix("spark.hadoop."), value)
    conf = job.conf.model_copy(update={"env": job.conf.env.model_copy(update={"s3": s3})})
    return Job(**{**vars(job), "conf": conf, "exports": exports})


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on. server.plan: [method, part of the path, what goes wrong, how many times]."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _handle(self):
        length = int(self.headers.get("Content-Length") or 0)
        for one in self.server.plan:
            if one[0] == self.command and one[1] in self.path and one[3] > 0:
                one[3] -= 1
                return self._fail(one[2], length)
        return self._pass_on(self.rfile.read(length))

    def _fail(self, what: str, length: int):
        if what == "reset":  # in the middle of the upload
            self.rfile.read(length // 2)
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.rfile.read(length)
        if what == "late":
            self.server.released.wait(20)
            self.close_connection = True
            return None
        code = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}[what]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>x</Message></Error>".encode()
        return self._answer(int(what), [("Content-Type", "application/xml")], body)

    def _pass_on(self, body: bytes):
        to = HTTPConnection("127.0.0.1", self.server.port)
        to.request(self.command, self.path, body, dict(self.headers))
        got = to.getresponse()
        kept = [(k, v) for k, v in got.getheaders() if k.lower() not in ("transfer-encoding", "connection")]
        self._answer(got.status, kept, got.read())
        to.close()

    def _answer(self, status: int, headers: list, body: bytes):
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815


class ProxyServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Connections that a test tears down are no errors of the server."""


def proxy(port: int) -> tuple[ProxyServer, str]:
    """A running proxy before the server at `port`, and its address."""
    server = ProxyServer(("127.0.0.1", 0), Proxy)
    server.port, server.plan, server.released = port, [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"
