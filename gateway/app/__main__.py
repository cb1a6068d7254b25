"""``python -m gateway.app STATUS_FD``: how the supervisor starts a child. The brief arrives on standard input."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import msgspec
from setproctitle import setproctitle

from gateway.app.child import Brief, Child, Status
from gateway.app.failure import StartupError
from gateway.logs import configure


def main(status_fd: int) -> int:
    """Be the process that the brief names; returns its exit status."""
    brief = msgspec.json.decode(_line(sys.stdin.fileno()), type=Brief)
    child = Child(brief, status_fd)
    config = brief.tree()
    configure(config.log.level, config.log.format)
    try:
        if brief.role == "worker":
            from gateway.app.worker import work

            setproctitle(f"gateway: worker {brief.index}")
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                gc.freeze()  # what is loaded by now lives as long as the process: no collection looks at it again
                runner.run(work(child, config))
        else:
            from gateway.app.observer import observe

            setproctitle("gateway: observer")
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(observe(child, config))
    except StartupError as error:
        child.report(Status(error=str(error)))
        return 1
    return 0


def _line(fd: int) -> bytes:
    """The first line on ``fd``, reading not a byte more: what follows is the parent's silence."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            raise SystemExit("no brief on standard input; this process is started by `gateway serve`")
        line += byte
    return bytes(line)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows has none; asyncio's own loop serves, slower
        return None
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
