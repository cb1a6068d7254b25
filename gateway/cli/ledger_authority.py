"""``gateway ledger export --authority``: the package, the event that it was made, and the proof of that event in it."""

from __future__ import annotations

import tempfile
import time
import zipfile
from pathlib import Path

from gateway.cli.ledger_note import begin, clock_us, note
from gateway.cli.ledger_print import progress
from gateway.cli.ledger_signing import sign_if_idle
from gateway.ledger import authority, find, proof
from gateway.ledger.authority import EXPORT_PROOF, Selection
from gateway.ledger.errors import LedgerError, NoSuchRecord
from gateway.ledger.keeper import GOVERNANCE as SHARD
from gateway.ledger.proof import NotSigned, Proof
from gateway.ledger.verify import GOVERNANCE, ledgers, total, verify_data

_PATIENCE_S = 30.0


def write_package(data: Path, out: Path, selection: Selection, *, reason: str, proofs: int) -> int:
    """Write the package of ``selection`` to ``out``, a new zip file; returns how many records are in it.

    Raises: LedgerError, OSError.
    """
    if out.exists():
        raise LedgerError(f"{out} is there already: name a new file")
    begin(data)  # so that the keyring which goes along has its key
    for root in ledgers(data):
        sign_if_idle(data, root)
    with progress(sum(total(root) for root in ledgers(data)), quiet=False) as advance:
        report = verify_data(data, progress=advance)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as name:
        folder = Path(name)
        count = authority.gather(
            data, folder, selection, report=report, reason=reason, made_us=clock_us(), proofs=proofs
        )
        fields: dict[str, bool | int | str | tuple[str, ...]] = {
            "sums": authority.seal(folder),
            "selection": str(selection),
            "records": count,
            "verified": report.ok,
        }
        made = note(data, "export", reason=reason, fields=fields)
        (folder / EXPORT_PROOF).write_text(str(_proof_of(data, made)), "utf-8")
        _zip(folder, out)
    return count


def _proof_of(data: Path, notice: str) -> Proof:
    """The proof of the event that a notice became, once a head covers it. Raises: LedgerError."""
    deadline, root = time.monotonic() + _PATIENCE_S, data / GOVERNANCE
    while True:
        sign_if_idle(data, root)
        try:
            return proof.prove(root, SHARD, find.by_text(root, SHARD, f'"notice":"{notice}"'))
        except LedgerError as error:
            if not isinstance(error, NotSigned | NoSuchRecord) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _zip(folder: Path, out: Path) -> None:
    """Everything in ``folder`` as one file that appears whole or not at all."""
    draft = out.with_name(f".{out.name}.draft")
    try:
        with zipfile.ZipFile(draft, "x", zipfile.ZIP_DEFLATED) as package:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                package.write(path, f"{out.stem}/{path.relative_to(folder)}")
        draft.rename(out)
    finally:
        draft.unlink(missing_ok=True)
