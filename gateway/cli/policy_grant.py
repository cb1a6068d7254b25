"""``gateway policy grant``: emergency access, signed by people, for a few hours, seen by everybody."""

from __future__ import annotations

import json
import re
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.cli.policy_options import DEFAULT_DATA, Data, Json, now_us, seconds
from gateway.policy.breakglass import SUFFIX, Claims, claimed, read_grants, read_signers, sign, verify
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import Grant

app = typer.Typer(help="Break-glass: give emergency access, list it, end it.", no_args_is_help=True)

Key = Annotated[Path, typer.Option(metavar="PEM", help="The signer's private key.")]
KeyId = Annotated[str, typer.Option(help="The signer's key id, as policy.break_glass has it.")]
Algorithm = Annotated[str, typer.Option(help="The signer's algorithm.")]
Signers = Annotated[Path, typer.Option(metavar="FILE", help="The signers, as in policy.break_glass.")]


@app.command(
    "sign",
    epilog="Example: gateway policy grant sign --key ann.pem --keyid ann --subject oncall --tenant clinic "
    "--action inference:infer --model diabetes --reason batch --why 'incident 7' --for 2h > grant.jwt",
)
def sign_command(
    key: Key,
    keyid: KeyId,
    subject: Annotated[str, typer.Option(help="The principal who gets access.")],
    tenant: Annotated[str, typer.Option(help="The principal's tenant.")],
    model: Annotated[str, typer.Option(help="The model; '*' for any.")],
    reason: Annotated[list[str], typer.Option(help="The code of a denial that it passes; repeat for more.")],
    why: Annotated[str, typer.Option(help="Why; it is kept in the governance ledger and with every use.")],
    action: Annotated[str, typer.Option(help="What may be done.")] = "inference:infer",
    lasts: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long, at most 24h.")] = "1h",
    algorithm: Algorithm = "ES256",
) -> None:
    """Print a grant with one signature. It opens nothing before `grant use` has placed it at a gateway."""
    now_s = now_us() // 1_000_000
    said = {
        "jti": f"bg-{secrets.token_hex(6)}",
        "scope": "break-glass",
        "sub": subject,
        "tenant": tenant,
        "action": action,
        "model": model,
        "reasons": reason,
        "why": why,
        "iat": now_s,
        "exp": now_s + seconds(lasts),
    }
    try:
        claims = msgspec.convert(said, Claims)
        typer.echo(sign(claims, private_pem=key.read_text(), keyid=keyid, algorithm=algorithm))
    except (OSError, ValueError) as error:
        raise _failed(str(error)) from error


@app.command("cosign", epilog="Example: gateway policy grant cosign grant.jwt --key bob.pem --keyid bob > both.jwt")
def cosign_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A grant.")],
    key: Key,
    keyid: KeyId,
    algorithm: Algorithm = "ES256",
) -> None:
    """Print the grant with one more signature, after showing on standard error what is signed."""
    try:
        text = file.read_text().strip()
        claims = claimed(text)
        typer.echo(json.dumps(msgspec.to_builtins(claims), indent=2), err=True)
        typer.echo(text)
        typer.echo(sign(claims, private_pem=key.read_text(), keyid=keyid, algorithm=algorithm))
    except (OSError, ValueError) as error:
        raise _failed(str(error)) from error


@app.command("use", epilog="Example: gateway policy grant use both.jwt --signers signers.json --data data")
def use_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A grant; - is standard input.")],
    signers: Signers,
    data: Data = DEFAULT_DATA,
) -> None:
    """Check a grant and place it; running gateways follow within their reload interval and write it down."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        grant = verify(text, read_signers(signers))
        if now_us() >= grant.until_us:
            raise ValueError(f"it ended at {_moment(grant.until_us)}")
        folder = data / "policy" / "grants"
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{grant.id}"
        draft.write_text(text)
        draft.replace(folder / f"{grant.id}{SUFFIX}")
    except (OSError, ValueError, PolicyInvalid) as error:
        raise _failed(str(error)) from error
    typer.echo(_line(grant))


@app.command("list", epilog="Example: gateway policy grant list --signers signers.json --data data")
def list_command(signers: Signers, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show the grants that are placed, and files that are none. Exit 1 when there is such a file."""
    try:
        grants, refused = read_grants(data / "policy" / "grants", read_signers(signers))
    except PolicyInvalid as error:
        raise _failed(str(error)) from error
    if as_json:
        rows = [{**msgspec.to_builtins(grant), "active": grant.holds(now_us())} for grant in grants]
        typer.echo(json.dumps({"grants": rows, "refused": refused}))
    else:
        for grant in grants:
            typer.echo(_line(grant))
        for name, text in refused.items():
            typer.echo(f"{name}: refused: {text}", err=True)
    raise typer.Exit(1 if refused else 0)


@app.command("revoke", epilog="Example: gateway policy grant revoke bg-0123456789ab --data data")
def revoke_command(
    grant: Annotated[str, typer.Argument(metavar="ID", help="The grant's id.")], data: Data = DEFAULT_DATA
) -> None:
    """End a grant before its time."""
    path = data / "policy" / "grants" / f"{grant}{SUFFIX}"
    if re.fullmatch(r"[a-z0-9-]{8,64}", grant) is None or not path.exists():
        raise _failed(f"no grant {grant!r} is placed under {data}; see gateway policy grant list")
    path.unlink()
    typer.echo(f"revoked {grant}; running gateways follow within their reload interval")


def _line(grant: Grant) -> str:
    state = "active" if grant.holds(now_us()) else "over" if now_us() >= grant.until_us else "not yet"
    what = f"{grant.subject} of {grant.tenant} may {grant.action} on {grant.model or 'any model'}"
    despite = f"despite {', '.join(sorted(grant.reasons))} until {_moment(grant.until_us)}"
    return f"{grant.id}  {state}  {what} {despite}, signed by {', '.join(grant.signers)}: {grant.why}"


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _failed(text: str) -> typer.Exit:
    typer.echo(f"error: {text}", err=True)
    return typer.Exit(1)
