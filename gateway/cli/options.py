"""Every configuration key as a flag, made from the tree so that the two cannot disagree."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.config import Config, ConfigError, load
from gateway.config.keys import Key, keys

_FILE = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file (TOML).")],
)


def with_config(command: Callable[[Config, Callable[[], Config]], None]) -> Callable[..., None]:
    """``command`` as a typer command that takes ``--config`` and one option a key, and gets the checked tree, and what
    reads it again from the same sources.

    An option that is not given leaves the key to file and environment; a configuration that cannot be used is
    printed and ends the command with status 2.
    """
    tree = {_parameter(key): key for key in keys()}

    @functools.wraps(command)
    def run(**options: Any) -> None:
        file = options.pop("config")
        flags = {tree[name].name: value for name, value in options.items() if value not in (None, [])}
        read = functools.partial(load, file, flags)
        try:
            config = read()
        except ConfigError as error:
            typer.secho(f"configuration: {error}", fg="red", err=True)
            raise typer.Exit(2) from None
        command(config, read)

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(key))
        for name, key in tree.items()
    ]
    run.__signature__ = inspect.Signature([_FILE, *options])  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in (_FILE, *options)}
    return run


def _parameter(key: Key) -> str:
    return "_".join(key.path)


def _annotation(key: Key) -> Any:
    kind: Any = bool | None if key.is_flag else list[str] | None if key.is_list else str | None
    default = " ".join(str(v) for v in key.default) if isinstance(key.default, tuple) else key.default
    choices = f" One of: {', '.join(key.choices)}." if key.choices else ""
    shown = f" [default: {default}]" if default not in (None, "", False) else ""
    panel = key.path[0].capitalize() if len(key.path) > 1 else "General"
    metavar = None if key.is_flag else key.path[-1].rsplit("_", 1)[-1].upper()
    declared = [key.flag] if not key.is_flag else [f"{key.flag}/--no-{key.flag[2:]}"]
    option = typer.Option(
        *declared, metavar=metavar, help=f"{key.help}{choices}{shown}", rich_help_panel=panel, show_default=False
    )
    return Annotated[kind, option]
