"""The supervisor: starts the observer and the workers, restarts what dies, forwards signals. It serves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable

from setproctitle import setproctitle

from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.generation import Generation, observer_of, together, workers_of
from gateway.app.port import reserve
from gateway.app.preflight import check_models, check_policy
from gateway.config import Config, ConfigError
from gateway.config.reach import Reach, changes, reach
from gateway.ledger.sqlite_release import reset_bug
from gateway.logs import configure
from gateway.observer.state import forget

_log = logging.getLogger("gateway.supervisor")


async def supervise(config: Config, read: Callable[[], Config], announce: Callable[[str, int], None]) -> None:
    """Run the gateway until SIGTERM or SIGINT; ``announce`` is called once with host and port when all are ready.

    A first signal drains, a second one hurries. On SIGHUP the configuration is ``read`` again (it raises ConfigError
    for one that cannot be used), and whoever holds files reads them again.

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
            await Supervisor(config, int(held.getsockname()[1]), read).run(announce)
    finally:
        os.close(lock)


class Supervisor:
    """Owns the child processes of one gateway."""

    def __init__(self, config: Config, port: int, read: Callable[[], Config]) -> None:
        self._config = config
        self._port = port
        self._read = read
        self._workers = workers_of(config, port)
        self._observer = observer_of(config, port, self._workers.numbers)
        self._passing: list[Generation] = []  # workers that are being started or relieved
        self._hung_up = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self, announce: Callable[[str, int], None]) -> None:
        """Start all, announce, keep them running, stop all.

        Raises: StartupError.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        stopped = asyncio.create_task(self._stopping.wait())
        living = asyncio.create_task(self._live(announce))
        try:
            await asyncio.wait({living, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                await living
        finally:
            living.cancel()
            stopped.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await self._stop()

    async def _live(self, announce: Callable[[str, int], None]) -> None:
        """Start all, then keep them and take every new configuration, until cancelled. Raises: StartupError."""
        await together(self._workers.start(), self._observer.start())
        announce(self._config.server.host, self._port)
        async with asyncio.TaskGroup() as tasks:
            self._workers.keep(tasks)
            self._observer.keep(tasks)
            while True:
                await self._hung_up.wait()
                self._hung_up.clear()
                await self._reload(tasks)

    async def _reload(self, tasks: asyncio.TaskGroup) -> None:
        """Take the configuration as it is now, whole or not at all; then have everybody read their files again."""
        try:
            config = self._read()
            names = changes(self._config, config)
            if any(reach(name) is Reach.WORKERS for name in names):
                await self._replace_workers(config, tasks)
            elif names:
                await self._replace_observer(config, self._workers.numbers, tasks)
        except (ConfigError, StartupError) as error:
            for line in str(error).splitlines():
                _log.error(
                    f"the configuration stays as it is: {line}"
                )  # another line, another event: none is held back
        else:
            self._config = config
            if names:
                configure(config.log.level, config.log.format)
                _log.info("config.reloaded", extra={"keys": names})
        for process in [*self._workers.processes, *self._observer.processes]:
            process.reload()

    async def _replace_workers(self, config: Config, tasks: asyncio.TaskGroup) -> None:
        """Start workers beside those that serve, and relieve those once all is ready. Raises: StartupError, and then
        the old ones serve on."""
        alive = [self._workers, *self._passing]
        fresh = workers_of(config, self._port, beside={n for each in alive for n in each.numbers})
        self._passing.append(fresh)
        try:
            await fresh.start()
            await self._replace_observer(config, fresh.numbers, tasks)
        except StartupError:
            await self._part(fresh, fresh.stop())
            raise
        self._passing.remove(fresh)
        old, self._workers = self._workers, fresh
        self._passing.append(old)
        fresh.keep(tasks)
        tasks.create_task(self._part(old, old.relieve()))

    async def _part(self, workers: Generation, ending: Awaitable[None]) -> None:
        """Let ``workers`` end, and forget what they said of themselves."""
        await ending
        self._passing.remove(workers)
        for number in workers.numbers:
            forget(DataDir(self._config.data).state, number)
        _log.info("workers.left", extra={"workers": workers.numbers})

    async def _replace_observer(self, config: Config, workers: tuple[int, ...], tasks: asyncio.TaskGroup) -> None:
        """One after the other: there is one governance ledger, with one writer. Raises: StartupError, and then the old
        one comes back."""
        old, fresh = self._observer, observer_of(config, self._port, workers)
        await old.stop()
        self._observer = fresh
        try:
            await fresh.start()
        except StartupError:
            await fresh.stop()
            self._observer = old
            with contextlib.suppress(StartupError):  # then its keeper tries again
                await old.start()
            old.keep(tasks)
            raise
        fresh.keep(tasks)

    async def _stop(self) -> None:
        """Workers first: their last records are then still there for the observer to follow."""
        await asyncio.gather(*(workers.stop() for workers in [self._workers, *self._passing]))
        await self._observer.stop()

    def _signalled(self) -> None:
        if not self._stopping.is_set():
            _log.info("stopping: draining calls in flight; a second signal hurries")
            self._stopping.set()
            return
        for generation in [self._workers, *self._passing, self._observer]:
            for process in generation.processes:
                process.signal(signal.SIGTERM)
