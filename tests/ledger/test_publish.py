"""Static tiles: laid out as specified, enough to compute the signed root and every record from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger import heads, merkle
from gateway.ledger.errors import LedgerError
from gateway.ledger.export import leaves
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.publish import place, publish

from .conftest import Open, clock_us, fill
from .test_merkle import defined_root


def entries(raw: bytes) -> list[bytes]:
    out = []
    while raw:
        size = int.from_bytes(raw[:2])
        out.append(raw[2 : 2 + size])
        raw = raw[2 + size :]
    return out


def test_paths_are_those_of_the_specification() -> None:
    assert [place(n) for n in (0, 67, 999, 1000, 1234067)] == ["000", "067", "999", "x001/000", "x001/x234/067"]


async def test_a_client_finds_tree_and_records(root: Path, tmp_path: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=150)
    out = tmp_path / "www"
    with pytest.raises(LedgerError, match="no signed head yet"):
        publish(root, "gw.0", out)
    notary = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    notary.open()
    for size in (301, 601, 801):
        await fill(ledger, size - ledger.size)
        notary.step()
        assert publish(root, "gw.0", out) > 1
        stored = heads.newest(root / "gw.0")
        assert stored is not None
        assert (out / "checkpoint").read_bytes() == str(stored.signed).encode()
        full, rest = divmod(size, 256)
        names = [f"{n:03d}" for n in range(full)] + [f"{full:03d}.p/{rest}"]
        hashes = b"".join((out / "tile" / "0" / name).read_bytes() for name in names)
        level0 = [hashes[i : i + 32] for i in range(0, len(hashes), 32)]
        assert defined_root(level0) == stored.head.root
        upper = (out / "tile" / "1" / f"000.p/{full}").read_bytes()
        assert upper[:32] == merkle.perfect_root(level0[:256])
        published = [leaf for name in names for leaf in entries((out / "tile" / "entries" / name).read_bytes())]
        assert published == list(leaves(root, "gw.0", 0, size))
    notary.close()
    assert publish(root, "gw.0", out) == 1
