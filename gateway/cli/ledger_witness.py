"""``gateway ledger witness | cosign | quorum``: heads that others vouch for."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.cli.ledger_options import DEFAULT, Data, plain_errors
from gateway.ledger import heads, trust
from gateway.ledger.checkpoint import decimal
from gateway.ledger.cosign import cosign, http
from gateway.ledger.errors import KeyMissing, LedgerError
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.note import BadNote, parse_key
from gateway.ledger.verify import GOVERNANCE
from gateway.ledger.witness import Witness

_MAX_BODY = 1 << 20
Shard = Annotated[str, typer.Option(help="The shard whose head it is; gov anchors all others.")]


def witness(
    directory: Annotated[Path, typer.Argument(help="Where it keeps its key and what it has seen.")],
    name: Annotated[str, typer.Option(help="Its name, such as witness.example.com/w1.")],
    log: Annotated[list[str], typer.Option(help="A log's verifier key (a line of its keyring); may be repeated.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8010,
) -> None:
    """Be a witness for other people's logs: run it on a machine that the gateway's administrators do not own.

    Example: gateway ledger witness /srv/witness --name witness.example.com/w1 --log "$(cut -d' ' -f1 keyring)"
    """
    with plain_errors():
        keys = LogKeys(directory / "keys")
        if not keys.load():
            keys.make()
        private = keys.load()[-1]
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyMissing(f"{directory}/keys holds no Ed25519 key")
        made = Witness(
            directory / "seen",
            name,
            private,
            [parse_key(line) for line in log],
            clock_s=lambda: time.time_ns() // 10**9,
        )
        server = ThreadingHTTPServer((host, port), _handler(made))
    typer.echo(f"witness key {made.key}")
    typer.echo(f"witness ready on {host}:{server.server_address[1]}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def _handler(made: Witness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            if self.path != "/add-checkpoint":
                self.send_error(404)
                return
            try:
                length = decimal(self.headers.get("Content-Length", ""))
            except BadNote:
                self.send_error(411)
                return
            if length > _MAX_BODY:
                self.send_error(413)
                return
            reply = made.add_checkpoint(self.rfile.read(length))
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            typer.echo(f"{self.address_string()} {format % args}", err=True)

    return Handler


def cosign_command(
    url: Annotated[str, typer.Argument(help="The witness's submission prefix, such as http://w1.example.com:8010.")],
    key: Annotated[str, typer.Option(help="The witness's verifier key.")],
    shard: Shard = "gov",
    data: Data = DEFAULT,
) -> None:
    """Have the newest anchored head cosigned by a witness, and keep what it said. Run it every few minutes.

    Example: gateway ledger cosign http://w1.example.com:8010 --key "$(cat w1.vkey)" --data ./data
    """
    with plain_errors():
        root = data / (GOVERNANCE if shard == "gov" else "ledger")
        fresh = cosign(root, shard, http(url), [parse_key(key)])
        newest = heads.anchored(root / shard)[-1]
    typer.echo(f"{shard}: {newest.head.size} records, {len(fresh)} new cosignatures")


def quorum(
    policy: Annotated[Path, typer.Argument(help="A trust policy (c2sp.org/tlog-policy).")],
    shard: Shard = "gov",
    data: Data = DEFAULT,
) -> None:
    """Say which newest head satisfies a trust policy; exit 1 when none does.

    Example: gateway ledger quorum tlog-policy.txt --data ./data
    """
    with plain_errors():
        wanted = trust.read(policy)
        root = data / (GOVERNANCE if shard == "gov" else "ledger")
        stored = heads.anchored(root / shard)
        if not stored:
            raise LedgerError(f"shard {shard!r} has no anchored head")
        why = ""
        for item in reversed(stored):
            unmet = wanted.unmet(item.signed)
            if not unmet:
                typer.echo(
                    f"OK: {shard}, {item.head.size} of {stored[-1].head.size} anchored records satisfy {policy.name}"
                )
                return
            why = why or unmet
    typer.echo(f"NOT OK: {why}")
    raise typer.Exit(1)
