"""What the ``gateway policy`` commands share: their arguments, reading a bundle, the data directory's revisions."""

from __future__ import annotations

import getpass
import json
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.policy.bundle import Bundle
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.revisions import Revisions

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The policy bundle.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Data = Annotated[Path, typer.Option("--data", help="The gateway's data directory.", envvar="GATEWAY_DATA")]
DEFAULT = Path("policies")
DEFAULT_DATA = Path("data")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read(directory: Path, *, as_json: bool = False) -> Bundle:
    """The bundle, or its findings printed and exit status 1."""
    try:
        return Bundle.read(directory)
    except PolicyInvalid as invalid:
        if as_json:
            typer.echo(json.dumps({"revision": "", "findings": [row(f) for f in invalid.findings]}))
        else:
            for finding in invalid.findings:
                typer.echo(str(finding))
        raise typer.Exit(1) from invalid


def row(finding: Finding) -> dict[str, object]:
    """A finding for ``--json``."""
    return {
        "file": finding.file,
        "line": finding.line,
        "col": finding.col,
        "code": finding.code,
        "severity": finding.severity,
        "text": finding.text,
    }


def revisions(data: Path) -> Revisions:
    """The kept revisions of a data directory."""
    return Revisions(data / "policy", clock_us=now_us)


def now_us() -> int:
    """Wall clock, microseconds since 1970."""
    return time.time_ns() // 1000


def author() -> str:
    """Who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        return ""


def since_us(text: str) -> int:
    """``7d``, ``12h``, ... before now, in microseconds since 1970; "" is the beginning. Raises: BadParameter."""
    return now_us() - seconds(text) * 1_000_000 if text else 0


def seconds(text: str) -> int:
    """How long ``7d``, ``12h``, ... is. Raises: BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write a number and s, m, h, d or w, such as 7d")
    return int(match[1]) * _SECONDS[match[2]]
