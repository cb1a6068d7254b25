"""``gateway keys``: create, list, revoke and expire API keys."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.identity.key_file import KeyFile, KeyFileError, StoredKey

app = typer.Typer(help="Create, list, revoke and expire API keys.", no_args_is_help=True)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Kind(StrEnum):
    """Who holds a key."""

    user = "user"
    service = "service"


Data = Annotated[
    Path,
    typer.Option("--data", help="The gateway's data directory; keys stand in keys.json in it.", envvar="GATEWAY_DATA"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="The key's public prefix, as `list` shows it.")]


def duration_s(text: str) -> int:
    """Seconds in ``90d``, ``12h``, ``30m``, ``45s`` or ``2w``. Raises: typer.BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write a number and s, m, h, d or w, such as 90d")
    return int(match[1]) * _SECONDS[match[2]]


@app.command(epilog="Example: gateway keys create --id scoring-app --tenant risk --group callers --expires 90d")
def create(
    id: Annotated[str, typer.Option("--id", help="Who the key stands for; several keys may share it.")],
    tenant: Annotated[str, typer.Option(help="The tenant that the holder belongs to.")],
    group: Annotated[list[str] | None, typer.Option(help="A group of the holder; repeat for more.")] = None,
    kind: Annotated[Kind, typer.Option(help="A person or a program.")] = Kind.service,
    expires: Annotated[
        str, typer.Option(metavar="DURATION", help="How long it lasts, such as 90d; without it, for ever.")
    ] = "",
    data: Data = Path("data"),
    as_json: Json = False,
) -> None:
    """Create a key and print it: this once, and never again."""
    lasts_s = duration_s(expires) if expires else 0
    with _reported():
        text, key = _file(data).create(
            id=id, tenant=tenant, groups=group or (), kind=kind.value, expires_in_s=lasts_s, by=_operator()
        )
    if as_json:
        typer.echo(json.dumps({"key": text, **_row(key)}))
        return
    # Only the key goes to stdout, so that KEY=$(gateway keys create ...) holds it and nothing else.
    _say(f"key {key.prefix} of {key.id} ({key.tenant}), expires {_time(key.expires_s)}; it is shown only now:")
    typer.echo(text)


@app.command("list", epilog="Example: gateway keys list --data data --json")
def list_keys(data: Data = Path("data"), as_json: Json = False) -> None:
    """List all keys: prefixes and holders, never the keys."""
    with _reported():
        keys = _file(data).read()
    if as_json:
        typer.echo(json.dumps([_row(k) for k in keys]))
        return
    table = Table("prefix", "state", "id", "tenant", "groups", "kind", "created", "expires")
    for key in keys:
        state = key.state(_now_s())
        style = "green" if state == "active" else "dim"
        cells = (key.prefix, state, key.id, key.tenant, ", ".join(key.groups), key.kind)
        table.add_row(*(Text(c) for c in (*cells, _time(key.created_s), _time(key.expires_s))), style=style)
    Console().print(table if keys else "no keys; `gateway keys create` makes one")


@app.command(epilog="Example: gateway keys revoke 1a2b3c4d --data data")
def revoke(prefix: Prefix, data: Data = Path("data"), as_json: Json = False) -> None:
    """Revoke a key for ever. Running gateways refuse it within a second."""
    with _reported():
        key = _file(data).revoke(prefix, by=_operator())
    if as_json:
        typer.echo(json.dumps(_row(key)))
    else:
        typer.echo(f"key {key.prefix} of {key.id} ({key.tenant}) is revoked")


@app.command(epilog="Example: gateway keys expire 1a2b3c4d --within 7d  (give the holder a week to change)")
def expire(
    prefix: Prefix,
    within: Annotated[str, typer.Option(metavar="DURATION", help="When it ends, from now, such as 7d.")],
    data: Data = Path("data"),
    as_json: Json = False,
) -> None:
    """Let a key end soon. It shortens a key's life, never lengthens it."""
    lasts_s = duration_s(within)
    with _reported():
        key = _file(data).expire(prefix, int(_now_s()) + lasts_s, by=_operator())
    if as_json:
        typer.echo(json.dumps(_row(key)))
    else:
        typer.echo(f"key {key.prefix} of {key.id} ({key.tenant}) expires {_time(key.expires_s)}")


def _file(data: Path) -> KeyFile:
    return KeyFile(data / "keys.json", _now_s)


def _operator() -> str:
    """Who runs this command, for the governance ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return f"uid {os.getuid()}"


def _now_s() -> float:
    return time.time_ns() / 1e9


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except KeyFileError as error:
        _say(f"error: {error}")
        raise typer.Exit(1) from error


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else "never"


def _row(key: StoredKey) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "state": key.state(_now_s()),
        "id": key.id,
        "tenant": key.tenant,
        "groups": list(key.groups),
        "kind": key.kind,
        "created_s": key.created_s,
        "expires_s": key.expires_s,
        "revoked_s": key.revoked_s,
        "created_by": key.created_by,
        "changed_by": key.changed_by,
    }
