"""The observer process: follows the ledger, serves metrics and health, decides nothing."""

from __future__ import annotations

import os
import platform

from gateway import __version__
from gateway.app.child import Child, Status
from gateway.app.clocks import clock_ns, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.config import Config
from gateway.observer.observer import Observer, Settings


async def observe(child: Child, config: Config) -> None:
    """Be the observer until ``child.stop`` is set.

    Raises: StartupError when the admin address cannot be bound.
    """
    data = DataDir(config.data)
    settings = Settings(
        host=config.admin.host,
        port=config.admin.port,
        workers=child.brief.workers,
        version={"version": __version__, "python": platform.python_version(), "pid": str(os.getpid())},
        config=config.model_dump(mode="json"),
    )
    try:
        observer = Observer(data.root, settings, clock_us=clock_us, clock_ns=clock_ns, environ=os.environ)
    except ValueError as error:
        raise StartupError(f"telemetry: {error}") from error

    async def nothing_to_reload() -> None:
        return

    await child.listen(nothing_to_reload)
    try:
        await observer.run(child.stop, lambda port: child.report(Status(ready_port=port)))
    except OSError as error:
        raise StartupError(
            f"the admin server cannot listen on {config.admin.host}:{config.admin.port}: {error.strerror or error}; "
            "choose another port with --admin-port"
        ) from error
