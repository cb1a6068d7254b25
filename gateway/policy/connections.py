"""Keep-alive connections to an OPA server: one request in flight on each, over TCP, TLS or a Unix socket."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from gateway.policy.wire import BadResponse, Response, ResponseParser


class NotAnswered(Exception):
    """No complete answer came: refused, reset, timed out or not HTTP."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an OPA server listens."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:///PATH``. Raises: ValueError."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path:
            return cls(path=parts.path)
        if parts.scheme in ("http", "https") and parts.hostname:
            tls = parts.scheme == "https"
            return cls(host=parts.hostname, port=parts.port or (443 if tls else 8181), tls=tls)
        raise ValueError(f"{url!r} is no OPA address: write http://HOST:PORT, https://HOST:PORT or unix:///PATH")

    @property
    def authority(self) -> str:
        """The Host header."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection. A timeout or any disorder closes it: a late answer must never meet the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._parser = ResponseParser()
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports have no asyncio base class
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._answer is None:
            self.close()  # nobody asked
            return
        try:
            response = self._parser.feed(data)
        except BadResponse as error:
            self._fail(NotAnswered(f"OPA's answer is not HTTP: {error}"))
            return
        if response is not None:
            if not response.keep:
                self.close()
            if not self._answer.done():
                self._answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(NotAnswered(f"OPA closed the connection{f': {error}' if error else ''}"))

    async def ask(self, request: bytes, timeout_s: float) -> Response:
        """Send and wait. Raises: NotAnswered; then, or when cancelled, the connection is closed."""
        if self._transport is None or not self.usable:
            raise NotAnswered("the connection is closed")
        loop = asyncio.get_running_loop()
        self._parser = ResponseParser()
        self._answer = loop.create_future()
        timer = loop.call_later(timeout_s, self._fail, NotAnswered(f"no answer from OPA in {timeout_s * 1000:.0f} ms"))
        try:
            self._transport.write(request)
            return await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        """Close at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: NotAnswered) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Pool:
    """At most ``size`` connections; who comes when all are busy waits in line."""

    def __init__(self, address: Address, *, size: int = 4, tls: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._size = size
        self._tls = tls
        self._idle: list[Connection] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def ask(self, request: bytes, timeout_s: float) -> Response:
        """One answer within ``timeout_s``, waiting and connecting included. Nothing is sent twice.

        Raises: NotAnswered.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        connection = await self._take(end)
        try:
            return await connection.ask(request, max(end - loop.time(), 0.0))
        finally:
            self._give(connection)

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.close()
        self._open -= len(self._idle)
        self._idle.clear()

    async def _take(self, end: float) -> Connection:
        loop = asyncio.get_running_loop()
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection
                self._open -= 1
            if self._open < self._size:
                break
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            try:
                async with asyncio.timeout_at(end):
                    await turn
            except TimeoutError as error:
                raise NotAnswered("all connections to OPA are busy") from error
        self._open += 1
        try:
            return await self._connect(end)
        except BaseException:
            self._open -= 1
            self._wake()
            raise

    def _give(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)
        else:
            self._open -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connect(self, end: float) -> Connection:
        """A new connection; a refused one is tried once more, for nothing was sent. Raises: NotAnswered."""
        try:
            async with asyncio.timeout_at(end):
                try:
                    return await self._dial()
                except OSError:
                    return await self._dial()
        except TimeoutError as error:
            raise NotAnswered("OPA does not accept connections in time") from error
        except OSError as error:
            raise NotAnswered(f"OPA cannot be reached: {error}") from error

    async def _dial(self) -> Connection:
        loop = asyncio.get_running_loop()
        where = self._address
        if where.path:
            _, connection = await loop.create_unix_connection(Connection, where.path)
        else:
            tls = (self._tls or ssl.create_default_context()) if where.tls else None
            _, connection = await loop.create_connection(Connection, where.host, where.port, ssl=tls)
        return connection
