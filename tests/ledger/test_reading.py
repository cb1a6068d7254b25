"""Leaves are read or called damaged; nothing else happens, whatever the bytes are."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import events, record
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.leaf import encode
from gateway.ledger.reading import decoder_of
from gateway.ledger.record import Record

LEAF = encode(
    Record(
        v=1, kind="call", shard="gw.0", seq=7, tenant="acme", reasons=("rows.many",), ph={"infer": 9}, payload="digest"
    )
)
DECODERS = [record.decode, events.decode]


class Kind(msgspec.Struct):
    kind: str


def test_what_a_kind_does_not_have_is_ignored() -> None:
    assert decoder_of(Kind)(LEAF) == Kind("call")


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"null",
        b"{",
        LEAF[:-1],
        LEAF.replace(b"acme", b"\xe7cme"),
        LEAF.replace(b"gw.0", b"gw.\x00"),
        LEAF.replace(b'"infer"', b'"inf\xffr"'),
        LEAF.replace(b"7", b"7.5"),
        LEAF.replace(b"7", b"9007199254740993"),
        LEAF.replace(b"9}", b"9007199254740993}"),
        LEAF.replace(b"9}", b"[" * 60_000),
    ],
)
def test_what_is_no_record_is_said(leaf: bytes) -> None:
    with pytest.raises(LedgerCorrupt, match=r"a record cannot be read .*: 'gateway ledger verify' says which"):
        record.decode(leaf)


@given(st.integers(0, len(LEAF) - 1), st.binary(max_size=3), st.integers(0, 3), st.sampled_from(DECODERS))
def test_any_damage_is_read_or_said(at: int, put: bytes, gone: int, decode: object) -> None:
    assert callable(decode)
    try:
        decode(LEAF[:at] + put + LEAF[at + gone :])
    except LedgerCorrupt:
        return
