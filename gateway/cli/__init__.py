"""The command ``gateway``: one module a sub-command, assembled here."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import catalog, client, config, demo, keys, ledger, policy, serve, trust, usage
from gateway.cli.client_ending import EXIT_STATUSES


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="gateway",
        help="A governed inference gateway: each prediction permitted by policy, and recorded before it is answered.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_versioned)
    app.command("serve", epilog="Example: gateway serve --models examples/models --policies policies --data data")(
        serve.serve_command
    )
    app.command(
        "predict",
        epilog=f"Example: gateway predict diabetes --input measurements=@rows.npy --key $KEY\n\n{EXIT_STATUSES}",
    )(client.predict)
    app.command("models", epilog=f"Example: gateway models --url localhost:8001 --key $KEY\n\n{EXIT_STATUSES}")(
        client.models
    )
    app.command("probe", epilog=f"Example: gateway probe --url localhost:8001\n\n{EXIT_STATUSES}")(client.probe)
    app.add_typer(policy.app, name="policy")
    app.add_typer(catalog.app, name="catalog")
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(usage.app, name="usage")
    app.add_typer(keys.app, name="keys")
    app.add_typer(trust.app, name="trust")
    app.add_typer(config.app, name="config")
    app.command("demo", epilog="Example: gateway demo --once")(demo.demo)
    app.command("version", epilog="Example: gateway version")(version)
    return app


def _versioned(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the console script."""
    build()()
