"""An HTTP/2 client that sends what it is told, right or wrong. Frames by hyperframe, fields by hpack."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def message(body: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A gRPC frame; ``length`` may lie."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def raw_frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class RawClient:
    """One connection. ``frames`` holds what arrived, ``closed`` is set when the server has hung up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._next = -1
        self._arrived = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.acks = True
        self.frames: list[Frame] = []
        self.fields: dict[int, list[tuple[str, str]]] = {}
        self.closed = asyncio.Event()

    @classmethod
    async def connect(cls, port: int, *, settings: dict[int, int] | None = None, speak: bool = True) -> RawClient:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        if speak:
            client.send(PREFACE)
            client.frame(SettingsFrame(0, settings=settings or {}))
            client._task = asyncio.create_task(client._read())
        return client

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def frame(self, frame: Frame) -> None:
        self.send(frame.serialize())

    async def flush(self) -> None:
        await self._writer.drain()

    async def read_raw(self) -> bytes:
        """Everything until the server hangs up, for connections that do not speak HTTP/2."""
        return await asyncio.wait_for(self._reader.read(), 30)

    def open(
        self,
        path: str = "/test.Test/Echo",
        extra: Iterable[tuple[str, str]] = (),
        *,
        end: bool = False,
        method: str = "POST",
        content_type: str = "application/grpc",
    ) -> int:
        """Send HEADERS and return the stream's id."""
        self._next += 2
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        fields += [("content-type", content_type)] if content_type else []
        fields += [("te", "trailers"), *extra]
        flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
        self.frame(HeadersFrame(self._next, self._encoder.encode(fields), flags=flags))
        return self._next

    def data(self, stream: int, data: bytes, *, end: bool = True) -> None:
        self.frame(DataFrame(stream, data, flags=["END_STREAM"] if end else []))

    def trailers(self, stream: int, fields: Iterable[tuple[str, str]]) -> None:
        self.frame(HeadersFrame(stream, self._encoder.encode(list(fields)), flags=["END_HEADERS", "END_STREAM"]))

    def reset(self, stream: int, code: int = 8) -> None:
        self.frame(RstStreamFrame(stream, error_code=code))

    def call(self, body: bytes = b"hi", path: str = "/test.Test/Echo", extra: Iterable[tuple[str, str]] = ()) -> int:
        stream = self.open(path, extra)
        self.data(stream, message(body))
        return stream

    async def status(self, stream: int) -> int:
        """Wait for the stream's end and return its grpc-status."""
        fields = await self.end(stream)
        return int(fields["grpc-status"])

    async def end(self, stream: int) -> dict[str, str]:
        """Wait until the server has ended the stream; return all fields it sent on it."""
        await self.until(lambda: self._ended(stream) or self.closed.is_set())
        return dict(self.fields.get(stream, []))

    async def goaway(self) -> GoAwayFrame:
        await self.until(lambda: any(isinstance(f, GoAwayFrame) for f in self.frames) or self.closed.is_set())
        return next(f for f in self.frames if isinstance(f, GoAwayFrame))

    async def until(self, true: object, timeout: float = 30.0) -> None:
        """Wait until ``true()``; frames and the end of the connection make it look again."""
        assert callable(true)
        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(true), timeout)

    def body(self, stream: int) -> bytes:
        return b"".join(f.data for f in self.frames if isinstance(f, DataFrame) and f.stream_id == stream)

    def was_reset(self, stream: int) -> int | None:
        codes = [f.error_code for f in self.frames if isinstance(f, RstStreamFrame) and f.stream_id == stream]
        return codes[0] if codes else None

    def _ended(self, stream: int) -> bool:
        return self.was_reset(stream) is not None or any(
            f.stream_id == stream and "END_STREAM" in f.flags for f in self.frames
        )

    async def close(self) -> None:
        self._writer.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    def abort(self) -> None:
        """Vanish: the server sees a TCP reset or end, no GOAWAY."""
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                frame, size = Frame.parse_frame_header(memoryview(await self._reader.readexactly(9)))
                frame.parse_body(memoryview(await self._reader.readexactly(size)))
                await self._take(frame)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        async with self._arrived:
            self.closed.set()
            self._arrived.notify_all()

    async def _take(self, frame: Frame) -> None:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            decoded = self._decoder.decode(frame.data)
            self.fields.setdefault(frame.stream_id, []).extend((str(k), str(v)) for k, v in decoded)
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags and self.acks:
            self.frame(SettingsFrame(0, flags=["ACK"]))
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags and self.acks:
            self.frame(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        if isinstance(frame, DataFrame) and frame.flow_controlled_length and self.acks:
            self.frame(WindowUpdateFrame(0, frame.flow_controlled_length))
            if "END_STREAM" not in frame.flags:
                self.frame(WindowUpdateFrame(frame.stream_id, frame.flow_controlled_length))
        async with self._arrived:
            self.frames.append(frame)
            self._arrived.notify_all()
