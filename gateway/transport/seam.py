"""What a transport is: it frames gRPC messages for a table of methods, and knows nothing of inference.

Both transports (``h2``, ``grpcio``) hold the same suite, ``tests/conformance``.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import msgspec

Metadata: TypeAlias = tuple[tuple[str, bytes], ...]


class Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What arrived before the body.

    ``method`` is the path without its leading slash (``package.Service/Method``). ``metadata`` has lower-case
    names, ``-bin`` values decoded, and none of the transport's own fields (pseudo headers, ``te``,
    ``content-type``, ``grpc-timeout``, ``grpc-encoding`` and their like). ``deadline_ns`` is monotonic; None means
    the caller set none. ``excess`` marks a call that came when there were too many: its handler is to refuse it.
    ``peer`` is the address in canonical text (no zone, no brackets, IPv4-mapped addresses as
    IPv4; "" for a Unix socket); ``certificate`` is the peer's verified certificate in DER, b"" without mTLS.
    """

    method: str
    metadata: Metadata = ()
    deadline_ns: int | None = None
    peer: str = ""
    certificate: bytes = b""
    excess: bool = False


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One response message and the trailing metadata that goes with status OK."""

    body: bytes
    trailers: Metadata = ()


class Refused(Exception):
    """The one way a handler ends without an answer.

    ``code`` is a gRPC status number, ``details`` a serialised ``google.rpc.Status`` (b"" for none; the
    transport sends it as ``grpc-status-details-bin``).
    """

    def __init__(self, code: int, message: str, trailers: Metadata = (), details: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailers = trailers
        self.details = details


Unary: TypeAlias = Callable[[Head, bytes], Awaitable[Answer]]
"""Called once per message. Its task is cancelled when the caller hangs up or its deadline has passed."""


class Told(Protocol):
    """The transport's side of a unary call that is served without a task. It hears the end once; none of it raises."""

    def answer(self, answer: Answer) -> None: ...

    def refuse(self, refused: Refused) -> None: ...

    def stopped(self) -> None:
        """The call was cancelled, and has ended."""
        ...


class Work(Protocol):
    """A call under way."""

    def cancel(self) -> object:
        """Nobody waits any more. The call ends now or later, and says so."""
        ...


Prompt: TypeAlias = Callable[[Head, bytes, Told], Work | None]
"""As ``Unary``, for handlers that go on by themselves, without a task. The end may be told before it returns."""

Stream: TypeAlias = Callable[[Head, AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Bidirectional (and server) streaming: messages in, messages out. It ends with OK and no trailers when the
iterator ends, or by raising ``Refused``. Closing the iterator means that the caller is gone."""


class Entry(enum.Enum):
    """How a call is let in: like any other, or as one too many, ahead of those who wait and marked as ``excess``."""

    USUAL = enum.auto()
    EXCESS = enum.auto()


class Shed(Protocol):
    """Says which unary calls are turned away before anything was done for them."""

    def __call__(self, peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        """Asked when the head of a call has come: with its peer, with how many unary handlers run or are about to, and
        with None. About whom it lets in as usual while others wait it is asked again, with the nanoseconds that the
        caller will wait, if he says so. It says how the call is refused at once, or how it is let in. The same refusal
        is the same object, so that it can be kept in the form in which it is sent."""
        ...

    def again(self, peer: str, count: int) -> None:
        """Whoever came from ``peer`` was refused, and ``count`` more that came with him are refused with him."""
        ...


class Methods(msgspec.Struct, frozen=True, kw_only=True):
    """The method table: full method name to handler. What is in neither map is UNIMPLEMENTED.

    ``prompt`` are other forms of methods in ``unary``, with the same answers, for transports that can use them.
    ``shed`` is there for unary methods whose calls may be turned away when there are too many.
    """

    unary: Mapping[str, Unary]
    stream: Mapping[str, Stream] = {}
    prompt: Mapping[str, Prompt] = {}
    shed: Mapping[str, Shed] = {}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that hold before a handler sees a byte. Sizes in bytes, times in seconds; 0 means no limit
    for the times only.

    ``body_s`` is the time a whole request may take to arrive, and an answer to leave. ``max_buffered_bytes`` holds
    for all unfinished messages of one worker together. ``min_ping_interval_s`` is how often an idle caller may
    ping; the third ping that comes sooner ends the connection.
    """

    max_message_bytes: int = 64 * 1024 * 1024
    max_metadata_bytes: int = 16 * 1024
    max_streams: int = 200
    handshake_s: float = 10.0
    idle_s: float = 0.0
    max_age_s: float = 0.0
    max_age_grace_s: float = 30.0
    min_ping_interval_s: float = 10.0
    body_s: float = 120.0
    max_buffered_bytes: int = 512 * 1024 * 1024
    max_connections: int = 10_000


class Transport(Protocol):
    """Serves one method table on one port of one event loop."""

    async def start(self, methods: Methods, *, host: str, port: int) -> int:
        """Listen with SO_REUSEPORT and return the bound port (``port`` 0 takes a free one).

        Raises: OSError when the address cannot be bound.
        """
        ...

    @property
    def waiting(self) -> int:
        """Unary calls that have come, and whose handlers have not begun yet because others go first."""
        ...

    async def drain(self, *, grace_s: float) -> None:
        """Refuse new calls, let those in flight finish for at most ``grace_s``, cancel the rest, close."""
        ...
