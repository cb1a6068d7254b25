"""The supervisor: starts the observer and the workers, restarts what dies, forwards signals. It serves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
from collections.abc import Callable

from setproctitle import setproctitle

from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.port import reserve
from gateway.app.preflight import check_models, check_policy
from gateway.app.process import Process
from gateway.config import Config
from gateway.ledger.sqlite_release import reset_bug

_log = logging.getLogger("gateway.supervisor")


async def supervise(config: Config, announce: Callable[[str, int], None]) -> None:
    """Run the gateway until SIGTERM or SIGINT; ``announce`` is called once with host and port when all are ready.

    A first signal drains, a second one hurries. SIGHUP is passed on: children reload what they hold.

    Raises: StartupError when the gateway cannot be started at all.
    """
    setproctitle("gateway: supervisor")
    data = DataDir(config.data)
    check_models(config.models.dirs)
    if config.policy.engine == "embedded":
        check_policy(config.policy.dir, kept=data.policy)
    data.prepare()
    if warning := reset_bug(sqlite3.sqlite_version_info):
        _log.warning("ledger.sqlite_is_old", extra={"reason": warning})
    lock = data.lock()
    try:
        with reserve(config.server.host, config.server.port) as held:
            await Supervisor(config, int(held.getsockname()[1])).run(announce)
    finally:
        os.close(lock)


class Supervisor:
    """Owns the child processes of one gateway."""

    def __init__(self, config: Config, port: int) -> None:
        count = config.server.workers
        workers = (os.cpu_count() or 1) if count == "auto" else count
        text = config.model_dump_json()
        self._config = config
        self._port = port
        self._workers = [Process("worker", n, workers, port, text) for n in range(workers)]
        self._observer = Process("observer", 0, workers, port, text)
        self._stopping = asyncio.Event()

    async def run(self, announce: Callable[[str, int], None]) -> None:
        """Start all, announce, keep them running, stop all.

        Raises: StartupError.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        everyone = [*self._workers, self._observer]
        stopped = asyncio.create_task(self._stopping.wait())
        started = asyncio.create_task(_start_all(everyone))
        try:
            await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                await started
                announce(self._config.server.host, self._port)
                await self._keep(everyone, stopped)
        finally:
            started.cancel()
            stopped.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartupError):
                await started
            await self._stop()

    async def _keep(self, everyone: list[Process], stopped: asyncio.Task[bool]) -> None:
        keepers = [asyncio.create_task(process.keep()) for process in everyone]
        try:
            await asyncio.wait({*keepers, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _stop(self) -> None:
        """Workers first: their last records are then still there for the observer to follow."""
        grace = self._config.server.grace_s + self._config.server.drain_delay_s + 5.0
        await asyncio.gather(*(worker.stop(grace) for worker in self._workers))
        await self._observer.stop(15.0)

    def _signalled(self) -> None:
        if not self._stopping.is_set():
            _log.info("stopping: draining calls in flight; a second signal hurries")
            self._stopping.set()
            return
        for process in [*self._workers, self._observer]:
            process.signal(signal.SIGTERM)

    def _reload(self) -> None:
        for process in [*self._workers, self._observer]:
            process.reload()


async def _start_all(processes: list[Process]) -> None:
    tasks = [asyncio.create_task(process.start()) for process in processes]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
