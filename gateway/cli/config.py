"""``gateway config``: check, show and describe the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.config import Config, ConfigError
from gateway.config.keys import keys
from gateway.config.load import load_with_origins

app = typer.Typer(help="Check, show and describe the configuration.", no_args_is_help=True)

File = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file (TOML).")]


@app.command(epilog="Example: gateway config check --config gateway.toml")
def check(config: File = None) -> None:
    """Read file and environment as `serve` would; exit 1 naming every key that is wrong."""
    _load(config)
    typer.echo("configuration is valid")


@app.command(epilog="Example: GATEWAY_SERVER__PORT=9000 gateway config show")
def show(config: File = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every key, its value and where the value comes from."""
    tree, origins = _load(config)
    rows = []
    for key in keys():
        value: object = tree
        for part in key.path:
            value = getattr(value, part)
        rows.append((key.name, value, origins[key.name]))
    if as_json:
        out = [{"key": name, "value": value, "origin": origin} for name, value, origin in rows]
        typer.echo(json.dumps(out, default=str, indent=2))
        return
    table = Table("key", "value", "origin", box=None, header_style="bold")
    for name, value, origin in rows:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(name, shown, origin, style=None if origin == "default" else "cyan")
    Console().print(table)


@app.command(epilog="Example: gateway config schema > gateway.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def _load(file: Path | None) -> tuple[Config, dict[str, str]]:
    try:
        return load_with_origins(file)
    except ConfigError as error:
        typer.secho(f"configuration: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
