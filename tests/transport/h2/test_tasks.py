"""How a call's task ends, with a wire of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.transport.h2.call import Call
from gateway.transport.h2.method import Method
from gateway.transport.h2.tasks import Inbox, run_stream
from gateway.transport.seam import Answer, Head, Refused


class BrokenWire:
    """Takes ``good`` messages; then the stream is gone, and nobody has told the handler."""

    def __init__(self, good: int) -> None:
        self.good = good
        self.sent: list[bytes] = []
        self.is_closed = False

    def answer(self, call: Call, answer: Answer) -> None: ...
    def refuse(self, call: Call, refused: Refused) -> None: ...
    def finish(self, call: Call) -> None: ...
    def credit(self, call: Call, size: int) -> None: ...

    def send(self, call: Call, message: bytes) -> bool:
        if len(self.sent) == self.good:
            call.ended = True
        else:
            self.sent.append(message)
        return True

    def closed(self, call: Call) -> None:
        self.is_closed = True


async def test_a_handler_that_never_waits_ends_with_its_stream() -> None:
    closed = False

    async def endless(head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield b"more"
        finally:
            closed = True

    wire, call = BrokenWire(3), Call()
    call.head, call.method = Head(method="a.B/C"), Method("a.B/C", stream=endless)
    inbox = Inbox(wire, call, lambda call, size: None)
    await asyncio.wait_for(run_stream(wire, call, endless, inbox), 2)
    assert wire.sent == [b"more"] * 3
    assert wire.is_closed
    assert closed
