"""What a child process is told, what it tells back, and how it notices that its parent is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from gateway.config import Config

Stops: TypeAlias = asyncio.Event


RELIEVED = b"relieved\n"
"""Said on a child's standard input, after the brief, when others serve in its place."""


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on the child's standard input: everything it needs to know. End of file means: stop.

    ``index`` is the worker's number, ``workers`` are the numbers of all that live under this configuration.
    """

    role: str
    index: int
    workers: tuple[int, ...]
    port: int
    config: str

    @property
    def leads(self) -> bool:
        """Whether this worker is the one of its generation that writes down what all of them see."""
        return self.index == self.workers[0]

    def tree(self) -> Config:
        """The configuration, checked again."""
        return Config.model_validate_json(self.config)


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of JSON on the child's status pipe: ready on a port, or why it cannot start."""

    ready_port: int = -1
    error: str = ""


class Child:
    """One process under the supervisor. ``stop`` is set by the first SIGTERM or SIGINT, when the parent is gone and
    when others serve in this one's place (``relieved``); a second signal ends the process at once. ``reload`` is called
    on SIGHUP."""

    def __init__(self, brief: Brief, status_fd: int) -> None:
        self.brief = brief
        self.stop = asyncio.Event()
        self.relieved = False
        self._signalled = False
        self._status_fd = status_fd

    def report(self, status: Status) -> None:
        """Tell the supervisor. A supervisor that is gone does not matter here: ``stop`` is set then."""
        try:
            os.write(self._status_fd, msgspec.json.encode(status) + b"\n")
        except BrokenPipeError:
            return

    async def listen(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Install the signal handlers and watch the parent's pipe; call inside the running loop."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def hang_up() -> None:
            task = loop.create_task(_run(reload))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_quit)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        os.set_blocking(sys.stdin.fileno(), False)
        loop.add_reader(sys.stdin.fileno(), self._parent_spoke, loop)

    def _stop_or_quit(self) -> None:
        if self._signalled:
            os._exit(130)
        self._signalled = True
        self.stop.set()

    def _parent_spoke(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            said = os.read(sys.stdin.fileno(), 1024)
        except BlockingIOError:
            return
        if not said:
            loop.remove_reader(sys.stdin.fileno())
        self.relieved = self.relieved or said == RELIEVED
        self.stop.set()


async def _run(reload: Callable[[], Awaitable[None]]) -> None:
    await reload()
