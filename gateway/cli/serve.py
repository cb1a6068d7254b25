"""``gateway serve`` and ``gateway config``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import typer

from gateway.app.failure import StartupError
from gateway.app.supervisor import supervise
from gateway.cli.options import with_config
from gateway.config import Config
from gateway.logs import configure


def serve(config: Config, read: Callable[[], Config]) -> None:
    """Serve predictions: permitted by policy, recorded before they are answered.

    Prints one line on standard output when ready; stops on Ctrl-C or SIGTERM after calls in flight have ended. SIGHUP
    reads the configuration again.
    """
    configure(config.log.level, config.log.format)

    def announce(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"gateway ready on {shown}:{port}")

    try:
        asyncio.run(supervise(config, read, announce))
    except StartupError as error:
        typer.secho(f"gateway cannot start: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


serve_command = with_config(serve)
