"""A TCP relay that can be slow or a black hole: what arrives is kept and not passed on until it opens again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Relay:
    """Passes bytes between callers and ``upstream`` (a port of the loopback), ``delay_s`` late. While ``closed`` is
    set, connections are accepted and nothing comes through, in either direction, as when a network drops packets."""

    def __init__(self, upstream: int) -> None:
        self.closed = threading.Event()
        self.delay_s = 0.0
        self._upstream = upstream
        self._stopping = False
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Drop every connection."""
        self._stopping = True
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                caller, _ = self._listener.accept()
                receiver = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                return
            self._sockets |= {caller, receiver}
            for source, target in ((caller, receiver), (receiver, caller)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self.delay_s)
                while self.closed.is_set() and not self._stopping:
                    time.sleep(0.05)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        for each in (source, target):
            each.close()
        self._sockets -= {source, target}
