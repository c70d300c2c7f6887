"""A line to a server that can be cut: what a process sees when a store goes away in mid-write and comes back."""

from __future__ import annotations

import socket
import threading

from tests.processes import free_port


class Line:
    """Forwards 127.0.0.1:`port` to `target`. Cut when a request holds `at`; `back_after` refused calls mend it."""

    def __init__(self, target: int, at: bytes, back_after: int | None = None):
        self.target, self.at, self.back_after = target, at, back_after
        self.cuts = self.refused = 0
        self.open: list[socket.socket] = []
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def away(self) -> bool:
        return self.cuts == 1 and (self.back_after is None or self.refused < self.back_after)

    def mend(self) -> None:
        self.back_after = 0

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.away:
                self.refused += 1
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        try:
            while part := source.recv(65_536):
                if asks and not self.cuts and self.at in part:
                    self.cuts = 1
                    end(*self.open)
                    return
                sink.sendall(part)
        except OSError:
            return
        finally:
            end(source, sink)


def end(*ends: socket.socket) -> None:
    """Close for good: a close alone does not wake who waits for more."""
    for one in ends:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        finally:
            one.close()
