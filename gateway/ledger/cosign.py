"""Getting a shard's newest anchored head cosigned by a witness, and keeping what it said."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from gateway.ledger import heads
from gateway.ledger.checkpoint import decimal
from gateway.ledger.errors import LedgerError
from gateway.ledger.heads import Heads, Stored
from gateway.ledger.note import BadNote, Note, Signature, VerifierKey, lines_of
from gateway.ledger.proof import consistency
from gateway.ledger.witness import cosignatures, request

Post: TypeAlias = Callable[[bytes], tuple[int, bytes]]
"""Sends the body of ``add-checkpoint``; returns status and body of the answer."""


class NotCosigned(LedgerError):
    """The witness did not cosign, and why."""


def http(url: str, timeout_s: float = 10.0) -> Post:
    """A witness behind HTTP; ``url`` is its submission prefix. Raises: LedgerError for another scheme."""
    if not url.startswith(("http://", "https://")):
        raise LedgerError(f"{url!r} is no address of a witness: expected http:// or https://")

    def post(body: bytes) -> tuple[int, bytes]:
        asked = urllib.request.Request(f"{url.rstrip('/')}/add-checkpoint", data=body, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s) as answer:  # noqa: S310 - checked above
                return int(answer.status), answer.read(1 << 20)
        except urllib.error.HTTPError as error:
            return error.code, error.read(1 << 20)
        except OSError as error:
            raise NotCosigned(f"{url} does not answer: {error}") from error

    return post


def cosign(root: Path, shard: str, post: Post, trusted: Sequence[VerifierKey]) -> list[Signature]:
    """Have the newest anchored head of ``shard`` cosigned and keep the lines; returns those that are new.

    What the witness remembers is learnt from its 409; one repeated request is safe, so a lost answer is too.

    Raises: NotCosigned, BadNote, BadSignature, LedgerCorrupt.
    """
    stored = heads.anchored(root / shard)
    if not stored:
        raise NotCosigned(f"shard {shard!r} has no anchored head yet: try again in a minute")
    newest = stored[-1]
    old = max((s.head.size for s in stored if lines_of(s.signed, trusted)), default=0)
    status, body = _ask(root, shard, post, newest, old)
    if status == 409:
        try:
            remembered = decimal(body.decode("ascii", "replace").strip())
        except BadNote as error:
            raise NotCosigned(f"the witness answered 409 without the size that it knows: {error}") from error
        if remembered > newest.head.size:
            raise NotCosigned(
                f"the witness has seen {remembered} records of {shard!r}, the newest head covers "
                f"{newest.head.size}: this log was rolled back, or the witness was shown another"
            )
        status, body = _ask(root, shard, post, newest, remembered)
    if status != 200:
        raise NotCosigned(f"the witness answered {status}: {body.decode('utf-8', 'replace').strip()[:200]}")
    fresh = [line for line in cosignatures(body, newest.signed, trusted) if line not in newest.signed.signatures]
    _keep(root / shard, newest, newest.signed.signed_by(*fresh))
    return fresh


def _ask(root: Path, shard: str, post: Post, newest: Stored, old: int) -> tuple[int, bytes]:
    size = newest.head.size
    proof = consistency(root, shard, old, size) if 0 < old < size else []
    return post(request(old, proof, newest.signed))


def _keep(directory: Path, newest: Stored, signed: Note) -> None:
    store = Heads(directory)
    try:
        store.open()
        store.anchor(newest.head.size, signed, newest.t_us)
    finally:
        store.close()
