"""Legal holds: models whose records and payloads must stay, whatever their retention says, until released."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.ledger import files
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.malformed import MALFORMED

FILE = "holds.json"
EVERYTHING = "*"


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hold. ``model`` is a name or "*"; ``reason`` names the incident, court or authority."""

    model: str
    reason: str
    actor: str
    since_us: int


def read(root: Path) -> list[Hold]:
    """The holds on a ledger. Raises: LedgerCorrupt; nothing may be deleted then."""
    try:
        return msgspec.json.decode((root / FILE).read_bytes(), type=list[Hold])
    except FileNotFoundError:
        return []
    except (OSError, *MALFORMED) as error:
        raise LedgerCorrupt(
            f"{root / FILE} cannot be read ({error}): restore it; until then nothing expires"
        ) from error


def add(root: Path, hold: Hold) -> None:
    """Begin a hold."""
    files.replace(root / FILE, msgspec.json.encode([*read(root), hold]))


def must_be_held(root: Path, model: str) -> list[Hold]:
    """The holds on ``model``. Raises: LedgerError when there is none."""
    holds = read(root)
    found = [hold for hold in holds if hold.model == model]
    if not found:
        raise LedgerError(f"there is no hold on {model!r}: held are {', '.join(h.model for h in holds) or 'none'}")
    return found


def release(root: Path, model: str) -> list[Hold]:
    """End all holds on ``model`` and return them. Raises: LedgerError when there is none."""
    ended, holds = must_be_held(root, model), read(root)
    files.replace(root / FILE, msgspec.json.encode([hold for hold in holds if hold.model != model]))
    return ended


def held(root: Path) -> tuple[str, ...]:
    """The models under hold."""
    return tuple(sorted({hold.model for hold in read(root)}))
