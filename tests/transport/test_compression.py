"""gzip and deflate: round trips, lies, bombs."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.compression import choose, compress, decompress, is_known
from gateway.transport.seam import Refused

LIMIT = 10_000


@given(st.binary(max_size=LIMIT), st.sampled_from(["gzip", "deflate"]))
def test_round_trip(body: bytes, encoding: str) -> None:
    assert decompress(encoding.encode(), compress(encoding, body), LIMIT) == body


def test_the_formats_are_everyone_elses() -> None:
    assert gzip.decompress(compress("gzip", b"x" * 99)) == b"x" * 99
    assert zlib.decompress(compress("deflate", b"x" * 99)) == b"x" * 99


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_at_the_limit(encoding: str) -> None:
    with pytest.raises(Refused) as caught:
        decompress(encoding.encode(), compress(encoding, bytes(LIMIT + 1)), LIMIT)
    assert caught.value.code == 8


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate", None, b"identity"]))
def test_garbage_is_internal(data: bytes, encoding: bytes | None) -> None:
    with pytest.raises(Refused) as caught:
        decompress(encoding, data + b"never valid at its end", LIMIT)
    assert caught.value.code in (13, 8)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_message_must_end_where_its_stream_ends(encoding: str) -> None:
    packed = compress(encoding, b"hello")
    for data in (packed[:-1], packed + b"x", b""):
        with pytest.raises(Refused) as caught:
            decompress(encoding.encode(), data, LIMIT)
        assert caught.value.code == 13


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (None, None),
        (b"", None),
        (b"identity", None),
        (b"identity, deflate, gzip", "gzip"),
        (b"deflate", "deflate"),
        (b"br,zstd", None),
    ],
)
def test_choose(accepted: bytes | None, chosen: str | None) -> None:
    assert choose(accepted) == chosen


def test_what_we_can_read() -> None:
    assert all(is_known(name) for name in (b"identity", b"gzip", b"deflate"))
    assert not any(is_known(name) for name in (b"snappy", b"GZIP", b""))
