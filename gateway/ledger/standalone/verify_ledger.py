#!/usr/bin/env python3
"""Check a prediction ledger without the software that wrote it: one file, the standard library, Python 3.10 or later.

    python3 verify_ledger.py DATA_DIRECTORY [--keyring FILE] [--from HEAD]...
    python3 verify_ledger.py --proof FILE.tlog-proof --keyring FILE

It hashes every record into the tree of RFC 9162 and holds the result against the signed heads
(c2sp.org/tlog-checkpoint), the anchors of the governance ledger, and heads that you kept. Ed25519 is checked here
(RFC 8032); ML-DSA-44 lines are not. Exit status: 0 all holds, 1 something does not, 2 it could not be checked.
"""

import argparse
import base64
import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Point = tuple[int, int, int, int]
Finding = tuple[str, str, str]
Key = tuple[str, bytes, int, bytes, int, int]  # name, id, type, public key, first and last size that it may sign
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


class Head(NamedTuple):
    size: int
    root: bytes
    source: str


def add(a: Point, b: Point) -> Point:
    p, q = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    r, s = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = q - p, s - r, s + r, q + p
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(n: int, point: Point) -> Point:
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, point)
        point, n = add(point, point), n >> 1
    return out


def point_of(raw: bytes) -> Point:
    value = int.from_bytes(raw, "little")
    sign, y = value >> 255, value & ((1 << 255) - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (not x and sign):
        raise ValueError("a signature or key is no point of the curve")
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    base = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    left, right = times(s, base), add(point_of(signature[:32]), times(h, point_of(public)))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


def leaf_hash(leaf: bytes) -> bytes:  # the tree of RFC 9162, section 2.1
    return hashlib.sha256(b"\x00" + leaf).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []  # roots of perfect subtrees, largest first

    def add(self, item: bytes) -> None:
        n, self.size = self.size, self.size + 1
        while n & 1:
            item, n = node(self.peaks.pop(), item), n >> 1
        self.peaks.append(item)

    def root(self) -> bytes:
        out = self.peaks[-1] if self.peaks else hashlib.sha256(b"").digest()
        for peak in reversed(self.peaks[:-1]):
            out = node(peak, out)
        return out


def root_of_proof(index: int, size: int, item: bytes, hashes: list[bytes]) -> bytes:
    fn, sn = index, size - 1
    for other in hashes:
        if sn == 0:
            return b""
        if fn & 1 or fn == sn:
            item = node(other, item)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            item = node(item, other)
        fn, sn = fn >> 1, sn >> 1
    return item if sn == 0 else b""


def read_keyring(path: Path) -> list[Key]:
    keys = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        words = line.split("#")[0].split()
        if words:
            name, key_id, encoded = words[0].split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
            if hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8] != key_id:
                raise ValueError(f"keyring {path}: the id of {name} does not belong to its key")
            first, last = (words[1:] + ["0", "-"][len(words) - 1 :])[:2]
            limit = sys.maxsize if last == "-" else int(last)
            keys.append((name, bytes.fromhex(key_id), raw[0], raw[1:], int(first), limit))
    return keys


def open_head(data: bytes, keys: list[Key], source: str) -> tuple[str, Head]:
    """The origin and head of a signed checkpoint. Raises ValueError when it must not be believed."""
    text, _, signatures = data.decode("utf-8").rpartition("\n\n")
    text += "\n"
    origin, digits, root = text.split("\n")[:3]
    size, believed = int(digits), False
    for line in signatures.strip("\n").split("\n"):
        dash, name, encoded = line.split(" ")
        if dash != "—":
            raise ValueError(f"{source}: a signature line does not begin with a dash")
        raw = base64.b64decode(encoded, validate=True)
        for known, key_id, kind, public, first, last in keys:
            if (known, key_id, known, kind) != (name, raw[:4], origin, 1) or not first <= size <= last:
                continue
            if not ed25519_verifies(public, text.encode(), raw[4:]):
                raise ValueError(f"{source}: the signature of {name} does not verify")
            believed = True
    if not believed:
        raise ValueError(f"{source}: no signature of {origin} at size {size} by a known key")
    return origin, Head(size, base64.b64decode(root, validate=True), source)


def segments(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.db") if p.stem.isdigit() and len(p.stem) >= 12)


def rows(path: Path, sql: str) -> Iterator[Any]:
    db = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)
    try:
        yield from db.execute(sql)
    finally:
        db.close()


class Shard:
    """One pass over one shard; stops at the first thing that does not hold."""

    def __init__(self, folder: Path, heads: list[Head]) -> None:
        self.folder, self.waiting, self.tree = folder, sorted(heads), Tree()
        self.tile: list[bytes] = []
        self.anchors: dict[str, list[Head]] = {}

    def check(self) -> Finding | None:
        name, paths = self.folder.name, segments(self.folder)
        try:
            stored = dict(row for path in paths for row in rows(path, "SELECT n, hashes FROM tile WHERE level = 0"))
            for place, path in enumerate(paths):
                meta = dict(rows(path, "SELECT key, value FROM meta"))
                here = (meta["shard"], meta["first_seq"], bytes(meta["root"]))
                if here != (name, int(path.stem), self.tree.root()):
                    return ("EDITED", name, f"{path.name} does not continue the segment before it")
                if "pruned" in meta:  # deleted after their time; their hashes are in the tiles
                    for seq in range(self.tree.size, int(paths[place + 1].stem)):
                        self.grow(stored[seq >> 8][(seq & 255) * 32 : (seq & 255) * 32 + 32], stored)
                for seq, leaf in rows(path, "SELECT seq, CAST(leaf AS BLOB) FROM leaf ORDER BY seq"):
                    if seq != self.tree.size:
                        return ("MISSING", name, f"record {self.tree.size} is not there, {seq} follows")
                    self.take(seq, leaf)
                    self.grow(leaf_hash(leaf), stored)
        except (sqlite3.Error, TypeError, KeyError, IndexError, ValueError) as error:
            return ("EDITED", name, f"after {self.tree.size} records: {type(error).__name__}: {error}")
        if self.waiting:
            head = self.waiting[-1]
            return ("TRUNCATED", name, f"have {self.tree.size} records, {head.source} covers {head.size}")
        return None

    def take(self, seq: int, leaf: bytes) -> None:
        record = json.loads(leaf)
        fields = record.get("fields", {})
        if (record["shard"], record["seq"]) != (self.folder.name, seq):
            raise ValueError(f"place {seq} holds record {record['shard']}/{record['seq']}")
        if record["kind"] == "boot" and (fields["size"], fields["root"]) != (seq, self.tree.root().hex()):
            raise ValueError(f"the records before {seq} are not those that this boot saw")
        if record["kind"] in ("anchor", "seal"):
            for shard, size, root in (line.split(" ") for line in fields["heads"]):
                head = Head(int(size), base64.b64decode(root), f"an anchor in {self.folder.name}")
                self.anchors.setdefault(shard, []).append(head)

    def grow(self, item: bytes, stored: dict[int, bytes]) -> None:
        self.tree.add(item)
        self.tile.append(item)
        if len(self.tile) == 256:
            if stored[self.tree.size // 256 - 1] != b"".join(self.tile):
                raise ValueError("the records before do not hash to the stored tree")
            self.tile = []
        while self.waiting and self.waiting[0].size == self.tree.size:
            head = self.waiting.pop(0)
            if head.root != self.tree.root():
                raise ValueError(f"the first {head.size} records do not have the root of {head.source}")


def own_heads(folder: Path, keys: list[Key]) -> list[Head]:
    notes = [(folder / "checkpoint").read_bytes()] if (folder / "checkpoint").exists() else []
    if (folder / "checkpoints.db").exists():
        sql = "SELECT CAST(coalesce(note, '') AS BLOB) FROM head ORDER BY size"
        notes += [row[0] for row in rows(folder / "checkpoints.db", sql)]
    opened = [open_head(data, keys, "a signed head") for data in notes]
    if any(origin.rpartition("/")[2] != folder.name for origin, _ in opened):
        raise ValueError("a signed head is of another log")
    return [head for _, head in opened]


def check_data(data: Path, keyring: Path | None, outside: list[Path]) -> tuple[list[Finding], int]:
    found: list[Finding] = []
    anchors: dict[str, list[Head]] = {}
    leaves, seen = 0, set()
    for root in (data / "governance", data / "ledger"):
        keys = read_keyring(keyring or root / "keyring")
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and segments(p)) if root.is_dir() else []:
            name, own, kept = folder.name, [], []
            seen.add(name)
            try:
                own = own_heads(folder, keys)
                mine = [p for p in outside if p.read_text("utf-8").split("\n")[0].rpartition("/")[2] == name]
                kept = [open_head(p.read_bytes(), keys, f"the head in {p.name}")[1] for p in mine]
            except (ValueError, sqlite3.Error) as error:
                found.append(("BAD_SIGNATURE", name, str(error)))
            vouched = anchors.get(name, [])
            if own and vouched and own[0].size < max(vouched).size:
                found.append(("REPLAYED", name, f"the newest head covers {own[0].size} records, more were anchored"))
            shard = Shard(folder, own + kept + vouched)
            found += [finding] if (finding := shard.check()) else []
            leaves += shard.tree.size
            print(f"{name}: {shard.tree.size} records, {len(own)} signed heads, {len(vouched)} anchors")
            anchors.update(shard.anchors)
    found += [("SHARD_MISSING", name, "its records were anchored") for name in sorted(set(anchors) - seen)]
    return found, leaves


def check_proof(path: Path, keys: list[Key]) -> None:
    top, _, signed = path.read_bytes().partition(b"\n\n")
    header, extra, index, *hashes = top.decode("ascii").split("\n")
    if header != "c2sp.org/tlog-proof@v1" or extra[:6] != "extra " or index[:6] != "index ":
        raise ValueError("this is no tlog-proof with a record in it")
    leaf, place = base64.b64decode(extra[6:]), int(index[6:])
    origin, head = open_head(signed, keys, "its head")
    record = json.loads(leaf)
    if (record["shard"], record["seq"]) != (origin.rpartition("/")[2], place):
        raise ValueError("the record says that it is of another place")
    if root_of_proof(place, head.size, leaf_hash(leaf), [base64.b64decode(item) for item in hashes]) != head.root:
        raise ValueError("the record does not lead to the signed root")
    print(f"{leaf.decode()}\nOK: {record['shard']}/{place} is in the log {origin} of {head.size} records")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a prediction ledger without the software that wrote it.")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--keyring", type=Path, help="public keys that you kept; better than those on the disk")
    parser.add_argument("--from", dest="outside", action="append", type=Path, default=[], help="a head that you kept")
    parser.add_argument("--proof", type=Path, help="check one record's proof; needs --keyring")
    options = parser.parse_args()
    try:
        if options.proof and options.keyring:
            check_proof(options.proof, read_keyring(options.keyring))
            return 0
        if options.proof or options.data is None or not options.data.is_dir():
            parser.error("give the data directory, or --proof and --keyring")
        found, leaves = check_data(options.data, options.keyring, options.outside)
    except (ValueError, KeyError, OSError) as error:
        print(f"NOT OK: {error}")
        return 2 if isinstance(error, OSError) else 1
    for finding in found:
        print("{} {}: {}".format(*finding))
    print(f"{'NOT OK' if found else 'OK'}: {leaves} records, {len(found)} findings")
    return 1 if found else 0 if leaves else 2


if __name__ == "__main__":
    sys.exit(main())
