"""One child process: started with a brief, awaited until ready, restarted with back-off when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

import msgspec

from gateway.app.child import RELIEVED, Brief, Status
from gateway.app.failure import StartupError

_log = logging.getLogger("gateway.supervisor")

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 10.0
_HEALTHY_AFTER_S = 30.0


class Process:
    """A worker or the observer, as the supervisor sees it; it is told ``brief``, however often it is started."""

    def __init__(self, brief: Brief) -> None:
        self.name = f"{brief.role} {brief.index}" if brief.role == "worker" else brief.role
        self.index = brief.index
        self._brief = brief
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False

    async def start(self) -> int:
        """Start the process and wait until it is ready; returns the port it serves.

        Raises: StartupError with the process's own words.
        """
        self._ready = False
        read_fd, write_fd = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a folder that happens to be named like us, where we were started, is not us
                "-m",
                "gateway.app",
                str(write_fd),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone, which drains in order
            )
        finally:
            os.close(write_fd)
        assert self._process.stdin is not None  # noqa: S101  # asked for as PIPE
        self._process.stdin.write(msgspec.json.encode(self._brief) + b"\n")
        status = await _read_status(read_fd)
        if status is None:
            code = await self._process.wait()
            raise StartupError(f"the {self.name} ended while starting ({_ending(code)}); its log lines say why")
        if status.error:
            await self._process.wait()
            raise StartupError(status.error)
        self._ready = True
        return status.ready_port

    async def keep(self) -> None:
        """Restart the process whenever it ends, first at once, then with doubling delays. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY_S
        while self._process is not None:
            since = loop.time()
            code = await self._process.wait()
            self._ready = False
            if loop.time() - since > _HEALTHY_AFTER_S:
                delay = _FIRST_DELAY_S
            _log.error("the %s ended (%s); restarting in %.1f s", self.name, _ending(code), delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_S)
            try:
                await self.start()
            except StartupError as error:
                _log.error("the %s did not start: %s", self.name, error)  # an expected ending
            else:
                _log.warning("the %s is back (process %d)", self.name, self._process.pid)

    async def stop(self, grace_s: float) -> None:
        """Ask the process to end, and end it when ``grace_s`` seconds have passed."""
        self.signal(signal.SIGTERM)
        await self._ended(grace_s)

    async def relieve(self, grace_s: float) -> None:
        """Have the process end because others serve in its place; end it when ``grace_s`` seconds have passed."""
        if self._process is not None and self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.write(RELIEVED)
        await self._ended(grace_s)

    async def _ended(self, within_s: float) -> None:
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            _log.error("the %s did not end within %.0f s and is killed", self.name, within_s)
            self.signal(signal.SIGKILL)
            await process.wait()

    def reload(self) -> None:
        """Have the process read its files again; one that still starts reads them anyway, and would die of SIGHUP."""
        if self._ready:
            self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` if the process lives."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _read_status(read_fd: int) -> Status | None:
    """The first line on the status pipe; None when it closes without one."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(read_fd, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        line = await reader.readline()
    finally:
        transport.close()
    return msgspec.json.decode(line, type=Status) if line else None


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
