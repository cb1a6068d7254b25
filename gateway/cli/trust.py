"""``gateway trust``: check a trust file before a gateway reads it, and see whom a token or certificate names."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.errors import Unauthenticated, Unavailable
from gateway.identity.chain import Chain
from gateway.identity.key_sources import source_of
from gateway.identity.signatures import KeySetError, parse_key_set
from gateway.identity.trust import IssuerEntry, TrustError, read_trust
from gateway.identity.trusted import Trusted
from gateway.types import Credentials, Principal

app = typer.Typer(help="Check a trust file and see whom it believes.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The trust file (TOML), as in identity.trust.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command(epilog="Example: gateway trust check trust.toml")
def check(file: File, as_json: Json = False) -> None:
    """Check the file and fetch each issuer's keys. Exit status 1 when anything cannot be used."""
    try:
        trust = read_trust(file)
    except TrustError as error:
        raise _failed(str(error)) from error
    rows = asyncio.run(_fetch_all(trust.issuers, file.parent))
    if as_json:
        typer.echo(json.dumps({"issuers": [asdict(row) for row in rows], "certificate_rules": len(trust.rules)}))
    else:
        table = Table("issuer", "audiences", "algorithms", "keys")
        for row in rows:
            shown = row.error or ", ".join(row.kids)
            cells = (row.issuer, ", ".join(row.audiences), ", ".join(row.algorithms), shown)
            table.add_row(*(Text(cell) for cell in cells), style="red" if row.error else None)
        Console().print(table)
        typer.echo(f"{len(trust.rules)} certificate rules")
    if any(row.error for row in rows):
        raise typer.Exit(1)


@app.command(epilog="Example: gateway trust who trust.toml --certificate client.pem")
def who(
    file: File,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE|-", help="A file with a token; - is stdin.")] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="A client certificate.")] = None,
) -> None:
    """Print the principal that a token or certificate proves, or why it proves none. Signatures of certificates
    are the TLS layer's to check, and are not checked here."""
    if (token_file is None) == (certificate is None):
        raise typer.BadParameter("give either --token-file or --certificate")
    try:
        shown = Credentials(
            authorization=f"Bearer {_token(token_file)}" if token_file is not None else "",
            certificate=_der(certificate) if certificate is not None else b"",
        )
        principal = asyncio.run(_prove(file, shown))
    except Unauthenticated as error:
        raise _failed(f"refused: {error.cause}") from error
    except (TrustError, Unavailable, OSError, ValueError) as error:
        raise _failed(str(error)) from error
    typer.echo(json.dumps(msgspec.to_builtins(principal), indent=2))


@dataclass(frozen=True, slots=True)
class _Row:
    """One issuer as printed: its keys, or why there are none."""

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    kids: tuple[str, ...] = ()
    error: str = ""


async def _fetch_all(issuers: tuple[IssuerEntry, ...], folder: Path) -> list[_Row]:
    return [await _fetch(entry, folder) for entry in issuers]


async def _fetch(entry: IssuerEntry, folder: Path) -> _Row:
    row = _Row(entry.issuer, entry.audiences, entry.algorithms)
    try:
        keys = parse_key_set(await source_of(entry, folder).fetch())
    except KeySetError as error:
        return replace(row, error=f"{entry.jwks or entry.issuer}: {error}")
    return replace(row, kids=tuple(sorted(keys)))


async def _prove(file: Path, shown: Credentials) -> Principal:
    trusted = Trusted(file, lambda: time.time_ns() / 1e9)
    await trusted.open()
    try:
        return await Chain(certificates=trusted.certificates, tokens=trusted.tokens).authenticate(shown)
    finally:
        await trusted.close()


def _token(file: Path) -> str:
    return (sys.stdin.read() if str(file) == "-" else file.read_text()).strip()


def _der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def _failed(text: str) -> typer.Exit:
    typer.echo(f"error: {text}", err=True)
    return typer.Exit(1)
