"""A package for a supervisory authority: selected records with all that is needed to check them without us."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.ledger import archive, export, handbook, heads, proof
from gateway.ledger.heads import NEWEST
from gateway.ledger.notary import KEYRING
from gateway.ledger.reader import shards
from gateway.ledger.reading import Int64, decoder_of
from gateway.ledger.record import Record
from gateway.ledger.verdict import Report
from gateway.ledger.verify import GOVERNANCE, PREDICTIONS

VERIFIER = Path(__file__).parent / "standalone" / "verify_ledger.py"
SUMS, EXPORT_PROOF = "SHA256SUMS", "export.tlog-proof"


class Selection(NamedTuple):
    """Which calls: received in ``[since_us, until_us)``, of one model and one shard where those are named."""

    since_us: int = 0
    until_us: int = 1 << 62
    model: str = ""
    shard: str = ""

    def __str__(self) -> str:
        model = f"model {self.model}" if self.model else "all models"
        shard = f"shard {self.shard}" if self.shard else "all shards"
        since = export.utc(self.since_us) if self.since_us else "the beginning"
        until = export.utc(self.until_us) if self.until_us < 1 << 62 else "now"
        return f"{model}, {shard}, from {since} until {until}"

    def leaves(self, root: Path) -> Iterator[bytes]:
        """The records of the selected calls that a signed head covers, as they are stored. Raises: LedgerCorrupt."""
        for shard in [self.shard] if self.shard else shards(root):
            newest = heads.newest(root / shard)
            for leaf in export.leaves(root, shard, 0, newest.head.size if newest is not None else 0):
                if export.is_call(leaf):
                    item = _read(leaf)
                    if self.since_us <= item.t_us < self.until_us and self.model in ("", item.model):
                        yield leaf


class _Call(msgspec.Struct, gc=False):
    t_us: Int64 = 0
    model: str = ""


_read = decoder_of(_Call)


def gather(
    data: Path, folder: Path, selection: Selection, *, report: Report, reason: str, made_us: int, proofs: int
) -> int:
    """Write everything but the proof of the export into ``folder``; returns how many records it holds.

    At most ``proofs`` records, evenly chosen, have their proof with them. Raises: LedgerError, OSError.
    """
    root = data / PREDICTIONS
    places = _records(folder, selection.leaves(root))
    parquet = importlib.util.find_spec("duckdb") is not None and bool(places)
    if parquet:
        archive.parquet(folder / "leaves.jsonl", folder / "records.parquet")
    step = max(1, -(-len(places) // proofs)) if proofs else 0
    chosen = places[::step] if step else []
    (folder / "proofs").mkdir()
    for shard, seq in chosen:
        (folder / "proofs" / f"{shard}-{seq}.tlog-proof").write_text(str(proof.prove(root, shard, seq)), "utf-8")
    _evidence(data, folder)
    (folder / "schema.json").write_text(json.dumps(msgspec.json.schema(Record), indent=2), "utf-8")
    found = {"ok": report.ok, "coverage": [asdict(item) for item in report.coverage]}
    found["findings"] = [asdict(item) for item in report.findings]
    (folder / "verification.json").write_text(json.dumps(found, indent=2), "utf-8")
    shutil.copyfile(VERIFIER, folder / VERIFIER.name)
    facts = {"made": export.utc(made_us), "reason": reason, "selection": selection, "count": len(places)}
    facts |= {"proofs": len(chosen), "parquet": ", `records.parquet`" if parquet else ""}
    (folder / "README.md").write_text(handbook.text(facts), "utf-8")
    return len(places)


def seal(folder: Path) -> str:
    """Write the digests of all files; returns the digest of that file, for the event of the export."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in paths]
    (folder / SUMS).write_text("".join(lines), "utf-8")
    return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()


def _records(folder: Path, leaves: Iterator[bytes]) -> list[tuple[str, int]]:
    """The records in three forms; returns their places, in order."""
    places: list[tuple[str, int]] = []
    with (
        (folder / "leaves.jsonl").open("wb") as raw,
        (folder / "records.jsonl").open("wb") as plain,
        (folder / "records.csv").open("w", encoding="utf-8", newline="") as table,
    ):
        writer = None
        for leaf in leaves:
            row = export.row(leaf)
            raw.write(leaf + b"\n")
            plain.write(export.jsonl(row))
            writer = writer or _header(table, row)
            writer.writerow({name: _cell(value) for name, value in row.items()})
            places.append((str(row["shard"]), int(str(row["seq"]))))
    return places


def _header(table: object, row: export.Row) -> csv.DictWriter[str]:
    writer: csv.DictWriter[str] = csv.DictWriter(table, list(row))  # type: ignore[arg-type]  # an open text file
    writer.writeheader()
    return writer


def _cell(value: object) -> object:
    """Lists and maps as JSON; text that a spreadsheet would run as a formula begins with a quote."""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    return value if isinstance(value, int) else msgspec.json.encode(value).decode()


def _evidence(data: Path, folder: Path) -> None:
    """Heads, keys, and what the governance ledger says beside its heartbeats."""
    (folder / "heads").mkdir()
    for root in (data / PREDICTIONS, data / GOVERNANCE):
        if (root / KEYRING).exists():
            shutil.copyfile(root / KEYRING, folder / f"keyring-{root.name}")
        for shard in shards(root):
            if (root / shard / NEWEST).exists():
                shutil.copyfile(root / shard / NEWEST, folder / "heads" / f"{shard}.checkpoint")
    with (folder / "governance.jsonl").open("wb") as file:
        for shard in shards(data / GOVERNANCE):
            events = export.leaves(data / GOVERNANCE, shard)
            file.writelines(leaf + b"\n" for leaf in events if b'"kind":"beat"' not in leaf[:40])
