#!/usr/bin/env python3
"""Check a prediction ledger without the software that wrote it: one file, Python 3.11 or later, and `cryptography`.

    python3 verify_ledger.py DATA_DIRECTORY [--keyring FILE] [--from HEAD]...
    python3 verify_ledger.py --proof FILE.tlog-proof... --keyring FILE

It hashes every record into the tree of RFC 9162 and holds that against signed heads (c2sp.org/tlog-checkpoint), anchors
in the governance ledger, and heads that you kept. It changes nothing, and leaves ML-DSA-44, witnesses, clocks, counters
and payloads to `gateway ledger verify`. Exit status: 0 all holds, 1 something does not, 2 it could not be checked.
"""

import argparse
import functools
import json
import shutil
import sqlite3
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    print("CANNOT: signatures are checked by the package cryptography: python3 -m pip install cryptography")
    sys.exit(2)

Head = tuple[int, bytes, str]  # size, root, and who vouches for them
Keys = dict[tuple[str, bytes], tuple[int, bytes, int, float]]  # by name and id: kind, key, first and last size to sign
Peaks = list[tuple[int, bytes]]  # a growing tree: number of leaves and root of its perfect subtrees, largest first
SEGMENT = "[0-9]" * 12 + ".db"  # a file of records, named by the number of the first
DAMAGE = (InvalidSignature, LookupError, RecursionError, TypeError, ValueError, sqlite3.Error)


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def grow(peaks: Peaks, item: bytes) -> None:
    count = 1
    while peaks and peaks[-1][0] == count:
        count, item = 2 * count, node(peaks.pop()[1], item)
    peaks.append((count, item))


def root_of(peaks: Peaks) -> bytes:
    return functools.reduce(lambda low, high: node(high, low), [root for _, root in peaks[::-1]] or [sha256().digest()])


def root_by_path(index: int, size: int, item: bytes, path: list[bytes]) -> bytes:
    """The root of ``size`` leaves if ``item`` is at ``index``; ``path`` holds the other children, lowest first."""
    if size == 1:
        return item if not path else b""
    left = 1 << (size - 1).bit_length() - 1  # leaves below the left child: the largest power of two below the size
    if index < left:
        return node(root_by_path(index, left, item, path[:-1]), path[-1])
    return node(path[-1], root_by_path(index - left, size - left, item, path[:-1]))


def read_keyring(path: Path) -> Keys:
    """Lines of ``name+id+base64(kind, key)``, first size, last size. Ids are computed, not believed."""
    keys: Keys = {}
    for key, *sizes in filter(None, (line.split("#")[0].split() for line in path.read_text("utf-8").splitlines())):
        name, _, encoded = key.split("+", 2)
        raw, (first, last) = b64decode(encoded, validate=True), (*sizes, *("0", "-")[len(sizes) :])
        key_id = sha256(name.encode() + b"\n" + raw).digest()[:4]
        keys[name, key_id] = (raw[0], raw[1:], int(first), float(last.replace("-", "inf")))
    return keys


def open_head(note: bytes, shard: str, keys: Keys, source: str) -> Head:
    """The head in a signed checkpoint. Raises when no key of that log signed it, or one of them did not."""
    text, _, signatures = note.decode("utf-8").rpartition("\n\n")
    (origin, size, root), believed = text.split("\n")[:3], False
    for dash, name, encoded in (line.split(" ") for line in signatures.strip("\n").split("\n")):
        raw = b64decode(encoded, validate=True)
        kind, public, first, last = keys.get((name, raw[:4]), (0, b"", 0, 0))
        if (dash, name, kind) == ("—", origin, 1) and first <= int(size) <= last:  # 1 is Ed25519
            Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())
            believed = True
    if not believed or origin.rpartition("/")[2] != shard:
        raise ValueError(f"BAD_SIGNATURE: {source} is not signed by a known key of {shard} for size {size}")
    return int(size), b64decode(root, validate=True), source


def rows(path: Path, sql: str, *values: int) -> Iterator[Any]:
    """What a query finds. Nothing is changed: what a writer left half done when it died is undone in a copy."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            db.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.OperationalError:
            for file in sorted(path.parent.glob(f"{path.name}*"), reverse=True):  # the journal before what it mends
                shutil.copyfile(file, Path(scratch, file.name))
            db = sqlite3.connect(Path(scratch, path.name))
        yield from db.execute(sql, values)
        db.close()


@functools.lru_cache(2)
def tile(folder: Path, n: int) -> bytes:
    """The stored hashes of records 256 n to 256 n + 255, from the segment of the last of them."""
    path = max(path for path in folder.glob(SEGMENT) if int(path.stem) <= n * 256 + 255)
    return b"".join(row[0] for row in rows(path, "SELECT CAST(hashes AS BLOB) FROM tile WHERE level=0 AND n=?", n))


def check_shard(folder: Path, heads: list[Head], peaks: Peaks) -> Iterator[tuple[str, Head]]:
    """Grow the tree of a shard and hold it against heads. Yields what it anchors; raises at what does not hold."""
    hashes, size, ahead = b"", 0, sorted(head for head in heads if head[0])
    for path, following in pairwise([*sorted(folder.glob(SEGMENT)), folder]):
        meta, schema = dict(rows(path, "SELECT key, value FROM meta")), [*rows(path, "PRAGMA user_version")]
        if schema != [(1,)]:
            raise OSError(f"{path.name} has schema {schema[0][0]}, this file knows 1: take the one that came with it")
        if (meta["shard"], meta["first_seq"], meta["root"]) != (folder.name, int(path.stem), root_of(peaks)):
            raise ValueError(f"EDITED: {path.name} does not continue the segment before it")
        gone = ((seq, None) for seq in range(size, int(following.stem) if "pruned" in meta else 0))
        for seq, leaf in chain(gone, rows(path, "SELECT seq, CAST(coalesce(leaf, '') AS BLOB) FROM leaf ORDER BY seq")):
            record = {"shard": folder.name, "seq": seq} if leaf is None else json.loads(leaf)
            item = tile(folder, seq >> 8)[(seq & 255) * 32 :][:32] if leaf is None else sha256(b"\x00" + leaf).digest()
            if (record["shard"], record["seq"], seq, len(item)) != (folder.name, size, size, 32):
                named = f"{record['shard']}/{record['seq']}, stored as {seq}, of hash '{item.hex()}'"
                raise ValueError(f"MISSING: place {size} has record {named}")
            for shard, count, root in map(str.split, dict(record.get("fields", ())).get("heads", ())):  # anchor or seal
                yield shard, (int(count), b64decode(root), f"an anchor in {folder.name}")
            grow(peaks, item)
            size, hashes = size + 1, (hashes + item)[-32 * 256 :]
            if size % 256 == 0 and hashes != tile(folder, seq >> 8):
                raise ValueError(f"EDITED: records {size - 256} to {seq} do not hash to the stored tree")
            while ahead and ahead[0][0] == size:
                if (head := ahead.pop(0))[1] != root_of(peaks):
                    raise ValueError(f"EDITED: the first {size} records do not have the root of {head[2]}")
    if ahead:
        raise ValueError(f"TRUNCATED: there are {size} records, {ahead[-1][2]} covers {ahead[-1][0]}")


def check_data(data: Path, keyring: Path | None, kept: list[tuple[str, bytes]]) -> int:
    """Check every shard, those of the governance ledger first: they anchor the others. Returns the exit status."""
    anchors, found = dict[str, list[Head]](), list[str]()
    folders = [f for root in ("governance", "ledger") for f in sorted(data.glob(f"{root}/*")) if [*f.glob(SEGMENT)]]
    for folder in folders:
        name, vouched, peaks = folder.name, anchors.get(folder.name, []), Peaks()
        try:
            notes = [(note, "a head that you kept") for log, note in kept if log == name]
            for path in folder.glob("checkpoints.db"):
                notes += rows(path, "SELECT CAST(coalesce(note, '') AS BLOB), 'an anchored head' FROM head")
            notes += [(path.read_bytes(), "its newest head") for path in folder.glob("checkpoint")]  # last: it may grow
            keys = read_keyring(keyring or folder.parent / "keyring") if notes else {}
            heads = vouched + [open_head(note, name, keys, source) for note, source in notes]
            if any(head[0] < max(heads)[0] for head in heads if head[2] == "its newest head"):
                raise ValueError("REPLAYED: its newest head is older than one that was anchored or kept")
            for shard, head in check_shard(folder, heads, peaks):
                if folder.parent.name == "governance":
                    anchors.setdefault(shard, []).append(head)
        except DAMAGE as error:
            found.append(f"{name}: {str(error) or type(error).__name__}")
        print(f"{name}: {sum(count for count, _ in peaks)} records read")
    for name in sorted({*anchors, *dict(kept)} - {folder.name for folder in folders}):
        found.append(f"{name}: SHARD_MISSING: a head of it is known, and no record is there")
    print(*found, f"{'NOT OK' if found else 'OK'}: {len(folders)} shards, {len(found)} findings", sep="\n")
    return 1 if found else 0 if folders else 2


def check_proof(path: Path, keys: Keys) -> None:
    top, _, signed = path.read_bytes().partition(b"\n\n")
    if not top.startswith(b"c2sp.org/tlog-proof@v1\nextra "):
        raise ValueError(f"{path} is no tlog-proof with a record in it")
    _, extra, index, *lines = top.decode("ascii").split("\n")
    record, place = json.loads(leaf := b64decode(extra[6:])), int(index[6:])
    size, root, log = open_head(signed, record["shard"], keys, signed.decode().split("\n")[0])
    hashes = [sha256(b"\x00" + leaf).digest(), *map(b64decode, lines)]
    if not record["seq"] == place < size or root_by_path(place, size, hashes[0], hashes[1:]) != root:
        raise ValueError(f"EDITED: {path} does not lead from this record to the signed root")
    print(f"{leaf.decode()}\nOK: {record['shard']}/{place} is in the log {log} of {size} records")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("data", nargs="?", type=Path, metavar="DATA_DIRECTORY")
    task.add_argument("--proof", nargs="+", type=Path, default=[], help="proofs of single records; needs --keyring")
    parser.add_argument("--keyring", type=Path, help="public keys that you kept; better than those beside the records")
    parser.add_argument("--from", action="append", type=Path, default=[], dest="kept", help="heads that you kept")
    options = parser.parse_args()
    try:
        for path in options.proof:
            check_proof(path, read_keyring(options.keyring or Path("keyring")))
        kept = [(note.split(b"\n")[0].decode().rpartition("/")[2], note) for note in map(Path.read_bytes, options.kept)]
        return check_data(options.data, options.keyring, kept) if options.data else 0
    except (OSError, *DAMAGE) as error:
        print(f"{'CANNOT' if isinstance(error, OSError) else 'NOT OK'}: {str(error) or type(error).__name__}")
        return 2 if isinstance(error, OSError) else 1


if __name__ == "__main__":
    sys.exit(main())
