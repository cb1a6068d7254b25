"""A shard as static files that any tlog client reads (c2sp.org/tlog-tiles): checkpoint, tiles, entry bundles.

The directory can be served by any web server or put into object storage. Records are published too, so it is
as confidential as the ledger.
"""

from __future__ import annotations

from pathlib import Path

from gateway.ledger import files, heads
from gateway.ledger.errors import LedgerError
from gateway.ledger.hashes import ShardHashes
from gateway.ledger.reader import ShardReader
from gateway.ledger.tree import HEIGHT, WIDTH


def place(n: int) -> str:
    """Index of a tile as a path: 1234067 is ``x001/x234/067``."""
    text = f"{n % 1000:03d}"
    while n := n // 1000:
        text = f"x{n % 1000:03d}/{text}"
    return text


def publish(root: Path, shard: str, out: Path) -> int:
    """Bring ``out`` up to the shard's newest signed head; returns how many files were written. May be repeated.

    Full tiles and bundles never change and are written once; the checkpoint comes last, so that whoever
    reads it finds all that it covers. Bundles of pruned records are left out.

    Raises: LedgerError when nothing was signed yet.
    """
    newest = heads.newest(root / shard)
    if newest is None:
        raise LedgerError(f"shard {shard!r} has no signed head yet: there is nothing to publish")
    reader = ShardReader(root, shard)
    try:
        made = _tiles(ShardHashes(reader), newest.head.size, out) + _bundles(reader, newest.head.size, out)
    finally:
        reader.close()
    _write(out / "checkpoint", str(newest.signed).encode())
    return made + 1


def _tiles(hashes: ShardHashes, size: int, out: Path) -> int:
    made, level = 0, 0
    while count := size >> (HEIGHT * level):
        for n, width in _pieces(count):
            path = out / "tile" / str(level) / _name(n, width)
            if not path.exists():
                entries = [hashes(HEIGHT * level, n * WIDTH + i) for i in range(width)]
                _write(path, b"".join(entries))
                made += 1
        level += 1
    return made


def _bundles(reader: ShardReader, size: int, out: Path) -> int:
    made = 0
    for n, width in _pieces(size):
        path = out / "tile" / "entries" / _name(n, width)
        if path.exists():
            continue
        rows = reader.read(n * WIDTH, width)
        if [seq for seq, _ in rows] == list(range(n * WIDTH, n * WIDTH + width)):
            _write(path, b"".join(len(leaf).to_bytes(2) + leaf for _, leaf in rows))
            made += 1
    return made


def _pieces(count: int) -> list[tuple[int, int]]:
    """Tiles over ``count`` entries: index and width; the last may be partial."""
    full, rest = divmod(count, WIDTH)
    return [(n, WIDTH) for n in range(full)] + ([(full, rest)] if rest else [])


def _name(n: int, width: int) -> str:
    return place(n) if width == WIDTH else f"{place(n)}.p/{width}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, data)
