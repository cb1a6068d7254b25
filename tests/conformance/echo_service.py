"""A method table that does what its caller asks, and remembers what it saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway.transport.seam import Answer, Entry, Head, Methods, Prompt, Refused, Told, Unary, Work

TEXT = "dénied: 100% \n no"
DETAILS = b"\x08\x07\x12" + bytes([len(TEXT.encode())]) + TEXT.encode()  # google.rpc.Status: code, message
BUSY = Refused(8, "too many", (("grpc-retry-pushback-ms", b"50"),), DETAILS)
DENIED = Refused(7, TEXT, (("x-why", b"rule"), ("x-raw-bin", b"\x00\xff")), DETAILS)


_WAIT = ("Stubborn", "Deaf")


def without_task(name: str, handler: Unary) -> Prompt:
    """``handler`` in the form that is told the end: at once, or later if it is one of those that wait."""

    def begin(head: Head, body: bytes, told: Told) -> Work | None:
        answers = handler(head, body)
        if name in _WAIT:
            work = asyncio.ensure_future(answers)
            work.add_done_callback(lambda done: told.stopped() if done.cancelled() else told.answer(done.result()))
            return work
        try:
            answers.send(None)
        except StopIteration as end:
            told.answer(end.value)
        except Refused as refused:
            told.refuse(refused)
        return None

    return begin


class Waiting:
    """``EchoService.wait`` without a task: cancelled, it ends at once."""

    def __init__(self, service: EchoService, head: Head, told: Told) -> None:
        service.heads.append(head)
        service.running += 1
        service.started.set()
        self._service = service
        self._told = told
        self._released = asyncio.ensure_future(service.release.wait())
        self._released.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._released.cancel():
            self._service.cancelled.set()
            self._service.running -= 1
            self._told.stopped()

    def _end(self, released: asyncio.Future[bool]) -> None:
        if not released.cancelled():
            self._service.running -= 1
            self._told.answer(Answer(b"released"))


class EchoService:
    """``Test/Echo`` answers with what came; the others are named after what they do."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.running = 0
        self.most: int | None = None  # calls of Wait that may run at once
        self.heard = 0  # of those that are too many, who are let in as such
        self.asked: list[tuple[str, int]] = []
        self.patience: list[int | None] = []

    def methods(self, *, prompt: bool = False) -> Methods:
        """The table; with ``prompt`` every unary handler also has its form without a task."""
        unary = {"Echo": self.echo, "Deny": self.deny, "Fail": self.fail, "Wait": self.wait, "Stubborn": self.stubborn}
        unary |= {"Grow": self.grow, "Deaf": self.deaf, "Unsendable": self.unsendable, "Verbose": self.verbose}
        stream = {
            "Chat": self.chat,
            "Flood": self.flood,
            "Quit": self.quit,
            "Break": self.break_off,
            "Sleep": self.sleep,
        }
        prompts = {f"test.Test/{name}": without_task(name, handler) for name, handler in unary.items()}
        prompts["test.Test/Wait"] = lambda head, body, told: Waiting(self, head, told)
        return Methods(
            unary={f"test.Test/{name}": handler for name, handler in unary.items()},
            stream={f"test.Test/{name}": handler for name, handler in stream.items()},
            prompt=prompts if prompt else {},
            shed={"test.Test/Wait": Busy(self)},
        )

    def shed(self, peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        """Turn calls of Wait away when ``most`` run, but hear those of whom ``heard`` is left."""
        self.asked.append((peer, running))
        self.patience.append(left_ns)
        if self.most is None or running < self.most:
            return Entry.USUAL
        if self.heard:
            self.heard -= 1
            return Entry.EXCESS
        return BUSY

    def again(self, peer: str, count: int) -> None:
        """As if each of ``count`` had been asked about."""
        self.asked += [(peer, self.most or 0)] * count

    async def echo(self, head: Head, body: bytes) -> Answer:
        self.heads.append(head)
        return Answer(body, (("x-id", b"shard/1"), ("x-raw-bin", b"\x00\xff\x10")))

    async def deny(self, head: Head, body: bytes) -> Answer:
        raise DENIED

    async def fail(self, head: Head, body: bytes) -> Answer:
        raise ValueError("a secret of the implementation")

    async def grow(self, head: Head, body: bytes) -> Answer:
        return Answer(bytes(int(body)))

    async def wait(self, head: Head, body: bytes) -> Answer:
        """Wait until released; tells of its cancellation."""
        self.heads.append(head)
        self.running += 1
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return Answer(b"released")

    async def stubborn(self, head: Head, body: bytes) -> Answer:
        """Finish its last write even though it was cancelled, as a ledger append does."""
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0)
            self.cancelled.set()
            raise
        return Answer(b"done")

    async def unsendable(self, head: Head, body: bytes) -> Answer:
        """Answer or refuse with a trailer that no header can hold."""
        if body == b"refuse":
            raise Refused(7, "no", (("x-bad", b"line\nbreak"),))
        if body == b"body":
            return Answer(7)  # type: ignore[arg-type]  # a bug of the handler
        return Answer(b"", (("x-bad", b"line\nbreak"),))

    async def verbose(self, head: Head, body: bytes) -> Answer:
        """Refuse with more text than a status can carry."""
        raise Refused(3, "ü" * 100_000, details=bytes(100_000))

    async def deaf(self, head: Head, body: bytes) -> Answer:
        """Take no notice of a cancellation."""
        with contextlib.suppress(asyncio.CancelledError):
            await self.release.wait()
        await self.release.wait()
        return Answer(b"")

    async def chat(self, head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Answer every message with itself; ``deny`` ends with a status, ``fail`` with a bug."""
        self.heads.append(head)
        self.started.set()
        try:
            async for body in bodies:
                if body == b"deny":
                    raise DENIED
                if body == b"fail":
                    raise ValueError("a secret of the implementation")
                yield body
        finally:
            self.closed.set()

    async def flood(self, head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Send messages of 64 KiB for ever, and count them in ``running``."""
        self.started.set()
        try:
            while True:
                self.running += 1
                yield bytes(64 * 1024)
        finally:
            self.closed.set()

    async def quit(self, head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Send one message and end, without reading."""
        yield b"only"

    async def sleep(self, head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Read nothing until released."""
        self.started.set()
        await self.release.wait()
        async for body in bodies:
            yield body

    async def break_off(self, head: Head, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Refuse before the first message."""
        raise DENIED
        yield b""


class Busy:
    """The ``Shed`` of a service."""

    def __init__(self, service: EchoService) -> None:
        self._service = service

    def __call__(self, peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        return self._service.shed(peer, running, left_ns)

    def again(self, peer: str, count: int) -> None:
        self._service.again(peer, count)
