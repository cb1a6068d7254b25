"""Heads for records that nobody has signed yet, because nothing runs."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.ledger_note import clock_us
from gateway.ledger.errors import LedgerLocked
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import Notary


def sign_if_idle(data: Path, root: Path) -> None:
    """Sign the newest heads under ``root``, unless the running gateway does. Raises: LedgerError."""
    notary = Notary(root, LogKeys(data / "keys" / "log"), clock_us=clock_us)
    try:
        notary.open()
        notary.catch_up()
    except (LedgerLocked, OSError):  # the running gateway signs, or the disk is read-only: what is signed is enough
        return
    finally:
        notary.close()
