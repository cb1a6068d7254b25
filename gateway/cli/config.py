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
from gateway.config.reach import reach

app = typer.Typer(help="Check, show and describe the configuration.", no_args_is_help=True)

File = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file (TOML).")]


@app.command(epilog="Example: gateway config check --config gateway.toml")
def check(config: File = None) -> None:
    """Read file and environment as `serve` would; exit 1 naming every key that is wrong."""
    _load(config)
    typer.echo("configuration is valid")


@app.command(epilog="Example: GATEWAY_SERVER__PORT=9000 gateway config show")
def show(config: File = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every key, its value, where the value comes from, and whom a reload replaces when it changes."""
    tree, origins = _load(config)
    rows = [(key.name, key.of(tree), origins[key.name], reach(key.name).value) for key in keys()]
    if as_json:
        out = [dict(zip(("key", "value", "origin", "reload"), row, strict=True)) for row in rows]
        typer.echo(json.dumps(out, default=str, indent=2))
        return
    table = Table("key", "value", "origin", "reload", box=None, header_style="bold")
    for name, value, origin, takes in rows:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(name, shown, origin, takes, style=None if origin == "default" else "cyan")
    Console().print(table)


@app.command(epilog="Example: gateway config schema > gateway.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration file; `x-reload` says whom a reload replaces when a key changes."""
    tree = Config.model_json_schema()
    for key in keys():
        properties = tree["properties"]
        for section in key.path[:-1]:
            name = str(properties[section]["$ref"]).rpartition("/")[2]
            properties = tree["$defs"][name]["properties"]
        properties[key.path[-1]]["x-reload"] = reach(key.name).value
    typer.echo(json.dumps(tree, indent=2))


def _load(file: Path | None) -> tuple[Config, dict[str, str]]:
    try:
        return load_with_origins(file)
    except ConfigError as error:
        typer.secho(f"configuration: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
