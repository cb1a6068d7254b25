"""A socket without a network: remembers what was written, and ends as a real one does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hpack import Decoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame


class FakeTransport(asyncio.Transport):
    """Feeds a protocol and keeps its output. After ``close`` nothing is fed and ``connection_lost`` follows."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._written: list[bytes] = []
        self._closing = False
        self.reading = True

    def feed(self, data: bytes) -> None:
        if data and not self._closing:
            self._protocol.data_received(data)

    @property
    def writes(self) -> int:
        """How often something was written."""
        return len(self._written)

    def output(self) -> bytes:
        return b"".join(self._written)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing, "written after close"
        self._written.append(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a connection wrote, and what it left behind: (connections, timed calls, budget), and tasks."""

    output: bytes
    held: tuple[int, int, int]
    tasks: set[asyncio.Task[object]]

    def statuses(self) -> dict[int, list[str]]:
        """The grpc-status values by stream."""
        found: dict[int, list[str]] = {}
        decoder = Decoder()
        for frame in self.check_frames():
            if isinstance(frame, HeadersFrame):
                for name, value in decoder.decode(frame.data):
                    if name == "grpc-status":
                        found.setdefault(frame.stream_id, []).append(str(value))
        return found

    def check_frames(self) -> list[Frame]:
        """Every byte belongs to a legal frame, and every header block decodes. Returns the frames."""
        frames: list[Frame] = []
        decoder = Decoder()
        data = self.output
        if data.startswith(b"HTTP/1.1"):
            return frames
        while data:
            frame, size = Frame.parse_frame_header(memoryview(data[:9]))
            assert len(data) >= 9 + size, "a frame was cut"
            frame.parse_body(memoryview(data[9 : 9 + size]))
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                decoder.decode(frame.data)
            frames.append(frame)
            data = data[9 + size :]
        return frames
