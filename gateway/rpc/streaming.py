"""ModelStreamInfer: many predictions on one stream, each authenticated, decided and recorded by itself.

Messages run at once and are answered in the order in which they came, one answer each. What goes wrong with one is
an ordinary message with ``error_message``; the stream stays open. A stream that was opened with the metadata
``triton_grpc_error: true`` ends instead, with the status, at the first error of policy or of a model's run.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Iterator

from gateway.rpc.actions import STREAM_INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.context import span_id
from gateway.rpc.governed import Governed
from gateway.rpc.prompt import Begin, Mark
from gateway.rpc.regions import Regions
from gateway.rpc.stream_message import StreamMessage
from gateway.transport.seam import Head, Stream
from gateway.types import Context, Reply, TraceContext

_IN_FLIGHT = 32  # messages of one stream that run or wait to be sent; then its sender is held back


def model_stream_infer(governed: Governed, begin: Begin, regions: Regions, mark: Mark | None = None) -> Stream:
    """The handler of ModelStreamInfer. ``mark`` is as for ``prompt_infer``."""

    async def handle(head: Head, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stream = _InferStream(governed, begin, regions, mark, head)
        reader = asyncio.create_task(stream.read(messages))
        try:
            while not stream.over:
                for answer in stream.ready():
                    yield answer
                await stream.news()
            await reader
        finally:
            reader.cancel()
            await stream.close()
            await asyncio.gather(reader, return_exceptions=True)

    return handle


class _InferStream:
    """The messages of one open stream, in line. For one task that reads them and one that answers."""

    def __init__(self, governed: Governed, begin: Begin, regions: Regions, mark: Mark | None, head: Head) -> None:
        self._clocks = governed.clocks
        self._begin = begin
        self._regions = regions
        self._mark = mark
        self._opened = governed.context(head, STREAM_INFER)
        self._statuses = ("triton_grpc_error", b"true") in head.metadata
        self._line: collections.deque[StreamMessage] = collections.deque()
        self._all_read = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether every message was answered and none will follow."""
        return self._all_read and not self._line

    async def read(self, messages: AsyncIterator[bytes]) -> None:
        """Begin a prediction for each of ``messages``, as long as there is room. Raises: what ends ``messages``."""
        line, sequence = self._line, 0
        try:
            async for body in messages:
                while len(line) >= _IN_FLIGHT:
                    self._room.clear()
                    await self._room.wait()
                sequence += 1
                self._start(body, sequence)
        finally:
            self._all_read = True
            self._news.set()

    def ready(self) -> Iterator[bytes]:
        """The answers whose turn it is. Raises: Refused, which ends the stream; CancelledError."""
        line = self._line
        while line and line[0].ended:
            message = line.popleft()
            self._room.set()
            yield message.taken()

    async def news(self) -> None:
        """Wait until an answer is ready, or none will follow."""
        line = self._line
        while not (line[0].ended if line else self._all_read):
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        """Cancel what is still running; returns when all of it has ended."""
        for message in self._line:
            message.cancel()
        while self._line:
            await self.news()
            self._line.popleft()

    def _start(self, body: bytes, sequence: int) -> None:
        asked = self._context(len(body))
        message = StreamMessage(asked, self._came, statuses=self._statuses)
        self._line.append(message)
        try:
            call = decode_infer(body, asked, self._regions, stream_seq=sequence)
            message.call = call if self._mark is None else self._mark(call)
            message.begin(self._begin, self._encode)
        except BaseException as error:  # a panic too: who is in line must end
            message.refuse(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise

    def _came(self, message: StreamMessage) -> None:
        if self._line and self._line[0] is message:
            self._news.set()

    def _context(self, size: int) -> Context:
        """The stream's context with times and a span of its own."""
        opened, clocks = self._opened, self._clocks
        trace = opened.trace
        return Context(  # by position: by keyword, or replaced, it takes four times as long
            opened.action,
            TraceContext(trace.trace_id, span_id(), trace.parent_id, trace.flags, trace.state),
            opened.credentials,
            clocks.us(),
            clocks.ns(),
            opened.peer,
            opened.deadline_ns,
            opened.metadata,
            size,
        )

    def _encode(self, reply: Reply) -> bytes:
        return encode_reply(reply, self._regions)
