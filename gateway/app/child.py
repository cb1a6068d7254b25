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


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on the child's standard input: everything it needs to know. End of file means: stop."""

    role: str
    index: int
    workers: int
    port: int
    config: str

    def tree(self) -> Config:
        """The configuration, checked again."""
        return Config.model_validate_json(self.config)


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of JSON on the child's status pipe: ready on a port, or why it cannot start."""

    ready_port: int = -1
    error: str = ""


class Child:
    """One process under the supervisor. ``stop`` is set by the first SIGTERM or SIGINT and when the parent is
    gone; a second signal ends the process at once. ``reload`` is called on SIGHUP."""

    def __init__(self, brief: Brief, status_fd: int) -> None:
        self.brief = brief
        self.stop = asyncio.Event()
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
        if self.stop.is_set():
            os._exit(130)
        self.stop.set()

    def _parent_spoke(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            gone = os.read(sys.stdin.fileno(), 1024) == b""
        except BlockingIOError:
            return
        if gone:
            loop.remove_reader(sys.stdin.fileno())
            self.stop.set()


async def _run(reload: Callable[[], Awaitable[None]]) -> None:
    await reload()
