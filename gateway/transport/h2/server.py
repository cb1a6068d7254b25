"""The listener of the fast transport: binds, watches deadlines, drains."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable

from gateway.transport.h2.call import Call
from gateway.transport.h2.connection import Connection
from gateway.transport.h2.shared import Shared
from gateway.transport.listen import bind
from gateway.transport.seam import Limits, Methods
from gateway.transport.tls import ServerTls
from gateway.transport.watchdog import Watchdog

_DEFAULT = Limits()
_TICK_S = 0.02
_TICKS_PER_LOOK = 25  # connections and slow bodies are looked at twice a second
_BACKLOG = 1024
_LAST_HANDSHAKE_S = 1.0  # for those who connected at the very end
_FLUSH_S = 1.0  # for what is written already to reach a peer that reads
_LOOK_S = 0.01
_LAST_WORDS_S = 5.0  # for cancelled handlers to write their records


class H2Transport:
    """Serves a method table over HTTP/2. See ``seam.Transport`` for the contract.

    Answers of at least ``compress_min_bytes`` are compressed for callers who accept it; 0 never.
    """

    def __init__(
        self,
        limits: Limits = _DEFAULT,
        tls: ServerTls | None = None,
        *,
        compress_min_bytes: int = 0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._limits = limits
        self._compress_min_bytes = compress_min_bytes
        self._tls = tls
        self._clock_ns = clock_ns
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self._watchdog = Watchdog(self._look, _TICK_S)
        self._live: set[Connection] = set()
        self._ticks = 0
        self._shared: Shared

    async def start(self, methods: Methods, *, host: str, port: int) -> int:
        shared = Shared(methods, self._limits, compress_min_bytes=self._compress_min_bytes, clock_ns=self._clock_ns)
        context = self._tls.context() if self._tls else None
        sockets = bind(host, port)
        port = int(sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(
                lambda: Connection(shared, self._live),
                sock=sock,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=(self._limits.handshake_s or None) if context else None,
            )
            self._servers.append((server, sock))
        self._shared = shared
        self._watchdog.start()
        return port

    @property
    def waiting(self) -> int:
        return len(self._shared.starts)

    async def drain(self, *, grace_s: float) -> None:
        if not self._servers:
            return
        servers, self._servers = self._servers, []
        await asyncio.gather(*(self._close(server, sock) for server, sock in servers))
        for connection in tuple(self._live):
            connection.drain(grace_s)
        await self._emptied(grace_s)
        ending = [call for connection in tuple(self._live) for call in connection.abort()]
        await _worked(ending, _LAST_WORDS_S)
        for connection in tuple(self._live):
            connection.close()
        await self._emptied(_FLUSH_S)
        for connection in tuple(self._live):
            connection.kill()
        await self._emptied(_FLUSH_S)
        self._watchdog.stop()

    async def _close(self, server: asyncio.Server, sock: socket.socket) -> None:
        """Stop listening on ``sock``; whoever has connected by now and waits for the loop is let in first, since the
        kernel resets what is left in the queue."""
        waiting = _waiting(sock)
        server.close()
        loop = asyncio.get_running_loop()
        context = self._tls.context() if self._tls else None
        for each in waiting:
            with contextlib.suppress(OSError):  # it hung up, or its handshake failed
                await loop.connect_accepted_socket(
                    lambda: Connection(self._shared, self._live),
                    each,
                    ssl=context,
                    ssl_handshake_timeout=_LAST_HANDSHAKE_S if context else None,
                )

    async def _emptied(self, within_s: float) -> None:
        """Return when no connection is left, or after ``within_s``."""
        closing = [connection.lost for connection in self._live]
        if closing:
            await asyncio.wait(closing, timeout=within_s)

    def _look(self) -> None:
        now = self._clock_ns()
        self._shared.expire(now)
        self._ticks = (self._ticks + 1) % _TICKS_PER_LOOK
        if not self._ticks:
            looks = math.ceil(self._limits.body_s / (_TICK_S * _TICKS_PER_LOOK))
            for connection in tuple(self._live):
                connection.look(now, looks)
            if self._tls is not None:
                self._tls.follow()


async def _worked(calls: list[Call], within_s: float) -> None:
    """Return when the work of all ``calls`` has ended, or after ``within_s``."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    tasks = [call.work for call in calls if isinstance(call.work, asyncio.Task)]
    if tasks:  # a stream's goes on for a while after its call is closed
        await asyncio.wait(tasks, timeout=within_s)
    while loop.time() < end and any(call.work is not None for call in calls):  # noqa: ASYNC110  # a few looks, once
        await asyncio.sleep(_LOOK_S)


def _waiting(sock: socket.socket) -> list[socket.socket]:
    """The connections that nobody has accepted yet."""
    found: list[socket.socket] = []
    with contextlib.suppress(OSError):  # there is none, or no descriptor left for it
        while True:
            found.append(sock.accept()[0])
    return found
