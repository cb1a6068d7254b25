"""A witness: somebody else's process that remembers the largest head it saw of a log, and cosigns what extends it.

The protocol is c2sp.org/tlog-witness (``POST add-checkpoint``). ``Witness.add_checkpoint`` is the whole of it
but HTTP; ``request`` and ``cosignatures`` are the log's side.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ledger import files, merkle, note
from gateway.ledger.checkpoint import Checkpoint, decimal
from gateway.ledger.note import BadNote, BadSignature, Note, Signature, VerifierKey
from gateway.ledger.signature import sign, verifier_key, verify

MAX_PROOF = 63


class Reply(NamedTuple):
    """What a witness answers: HTTP status, content type, body."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """Cosigns heads of the logs that it knows. Its memory is one file a log, written before it answers.

    ``logs`` are verifier keys whose name is the log's origin. Safe for several threads.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        private: Ed25519PrivateKey,
        logs: Sequence[VerifierKey],
        *,
        clock_s: Callable[[], int],
    ) -> None:
        self.key = verifier_key(name, private, witness=True)
        self._directory = directory
        self._private = private
        self._logs = logs
        self._clock_s = clock_s
        self._one_at_a_time = threading.Lock()

    def add_checkpoint(self, body: bytes) -> Reply:
        """Check one submitted head; 200 with our cosignature, or what the specification says is wrong."""
        try:
            old, proof, signed = parse_request(body)
            head = Checkpoint.parse(signed.text)
        except BadNote as error:
            return Reply(400, f"{error}\n".encode())
        known = [key for key in self._logs if key.name == head.origin]
        if not known:
            return Reply(404, b"this log is not known here\n")
        try:
            verify(signed, known)
        except BadSignature as error:
            return Reply(403, f"{error}\n".encode())
        if old > head.size:
            return Reply(400, b"the old size is larger than the new one\n")
        with self._one_at_a_time:
            last = self.latest(head.origin)
            if old != (last.size if last else 0):
                return Reply(409, f"{last.size if last else 0}\n".encode(), "text/x.tlog.size")
            if not _extends(last, head, proof):
                return Reply(422, b"this head does not extend the one that was cosigned before\n")
            line = sign(signed.text, self.key, self._private, self._clock_s())
            self._directory.mkdir(parents=True, exist_ok=True)
            files.replace(self._file(head.origin), str(signed.signed_by(line)).encode())
        return Reply(200, str(line).encode())

    def latest(self, origin: str) -> Checkpoint | None:
        """The largest head that was cosigned of a log. Raises: BadNote when the memory is damaged."""
        try:
            return Checkpoint.parse(note.parse(self._file(origin).read_bytes()).text)
        except FileNotFoundError:
            return None

    def _file(self, origin: str) -> Path:
        return self._directory / hashlib.sha256(origin.encode()).hexdigest()


def _extends(last: Checkpoint | None, head: Checkpoint, proof: Sequence[bytes]) -> bool:
    if head.size == 0:
        return head.root == merkle.EMPTY and not proof
    if last is None or last.size == 0:
        return not proof
    if last.size == head.size:
        return last.root == head.root and not proof
    try:
        return merkle.roots_from_consistency(last.size, head.size, last.root, proof) == (last.root, head.root)
    except ValueError:
        return False


def request(old: int, proof: Sequence[bytes], signed: Note) -> bytes:
    """The body of ``add-checkpoint``."""
    lines = [f"old {old}", *(base64.b64encode(item).decode() for item in proof)]
    return ("\n".join(lines) + f"\n\n{signed}").encode()


def parse_request(body: bytes) -> tuple[int, list[bytes], Note]:
    """Old size, consistency proof and signed head. Raises: BadNote."""
    top, separator, signed = body.partition(b"\n\n")
    try:
        first, *rest = top.decode("ascii").split("\n")
        proof = [base64.b64decode(line, validate=True) for line in rest]
    except ValueError as error:
        raise BadNote("expected 'old N', base64 hashes, an empty line and a checkpoint") from error
    if not separator or not first.startswith("old "):
        raise BadNote("expected 'old N' on the first line")
    if len(proof) > MAX_PROOF or any(len(item) != 32 for item in proof):
        raise BadNote(f"expected at most {MAX_PROOF} hashes of 32 bytes")
    return decimal(first.removeprefix("old ")), proof, note.parse(signed)


def cosignatures(body: bytes, signed: Note, trusted: Sequence[VerifierKey]) -> list[Signature]:
    """The signature lines in a witness's answer that verify under ``trusted`` keys; others are ignored.

    Raises: BadNote, BadSignature when a line of a trusted key is wrong or none is there.
    """
    lines = [note.parse_signature(line) for line in body.decode("utf-8", "replace").strip("\n").split("\n")]
    known = {(key.name, key.id) for key in trusted}
    verify(Note(signed.text, tuple(lines)), trusted)
    return [line for line in lines if (line.name, line.id) in known]
