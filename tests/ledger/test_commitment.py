"""Commitments are the bytes that the specification says, for every datatype; typed and raw forms commit alike."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidInput
from gateway.ledger.commitment import DATATYPES, Salts, commit, commit_bytes
from gateway.types import Tensor

SALT = bytes(range(32))
SMALL = st.binary(max_size=40)


def reference(tag: str, tensors: list[Tensor]) -> str:
    """The formula of the documentation, spelled out field by field."""
    body = b""
    for tensor in sorted(tensors, key=lambda t: t.name.encode()):
        name = tensor.name.encode()
        body += struct.pack(">H", len(name)) + name
        body += struct.pack(">BB", DATATYPES[tensor.datatype], len(tensor.shape))
        for dim in tensor.shape:
            body += struct.pack(">Q", dim)
        body += struct.pack(">Q", len(tensor.data)) + bytes(tensor.data)
    return hashlib.sha256(b"gateway/" + tag.encode() + b"/v1\x00" + SALT + body).hexdigest()


@pytest.mark.parametrize("datatype", list(DATATYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)])
def test_every_datatype_and_shape(datatype: str, shape: tuple[int, ...]) -> None:
    tensor = Tensor(name="x", datatype=datatype, shape=shape, data=b"\x01\x02\x03\x04" * (sum(shape) or 1))
    assert commit("in", SALT, [tensor]) == reference("in", [tensor])
    assert commit("out", SALT, [tensor]) != commit("in", SALT, [tensor])


def test_published_vectors() -> None:
    """For other implementations; the bodies were written out by hand in hex, not by this code."""
    one = Tensor(name="age", datatype="FP32", shape=(1, 2), data=struct.pack("<ff", 1.5, -2.0))
    two = Tensor(name="b", datatype="BYTES", shape=(1,), data=b"\x02\x00\x00\x00hi")
    assert commit("in", SALT, []) == "30af21a0ae91ff52a884631d462e8e0c415de4e7efcc5e9091c958a9173ee963"
    assert commit("in", SALT, [one, two]) == "6145f08fd87cc718e7855f4ace88df7cd06085e18685d229076a2580153d10ce"
    assert commit_bytes("pol", SALT, b"{}") == "4a9d3493a7482353d5ac6210ba770010f653e436d9a2258ae108ef01890d0a92"


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.sampled_from(sorted(DATATYPES)), SMALL | st.just(b"long" * 5_000)),
        unique_by=lambda t: t[0],
    )
)
def test_order_and_buffer_kind_do_not_matter(parts: list[tuple[str, str, bytes]]) -> None:
    tensors = [Tensor(name=n, datatype=d, shape=(len(b),), data=b) for n, d, b in parts]
    views = [Tensor(name=n, datatype=d, shape=(len(b),), data=memoryview(b)) for n, d, b in reversed(parts)]
    assert commit("in", SALT, tensors) == commit("in", SALT, views) == reference("in", tensors)


def test_any_difference_changes_the_commitment() -> None:
    base = {"name": "x", "datatype": "INT8", "shape": (2,), "data": b"ab"}
    seen = {commit("in", SALT, [Tensor(**base)]), commit("in", bytes(32), [Tensor(**base)])}  # type: ignore[arg-type]
    for change in ({"name": "y"}, {"datatype": "UINT8"}, {"shape": (1, 2)}, {"data": b"ac"}):
        seen.add(commit("in", SALT, [Tensor(**(base | change))]))  # type: ignore[arg-type]
    assert len(seen) == 6


def test_what_cannot_be_committed_to_is_the_callers_fault() -> None:
    with pytest.raises(InvalidInput, match="70000 bytes"):
        commit("in", SALT, [Tensor(name="n" * 70_000, datatype="BOOL", shape=(), data=b"")])
    with pytest.raises(InvalidInput, match="300 dimensions"):
        commit("in", SALT, [Tensor(name="n", datatype="BOOL", shape=(1,) * 300, data=b"")])
    with pytest.raises(ValueError, match="32 bytes"):
        commit("in", b"short", [])
    strange = Tensor(name="n", datatype="FP8", shape=(-1,), data=b"x")
    assert len(commit("in", SALT, [strange])) == 64


def test_salts_never_repeat() -> None:
    salts = Salts()
    drawn = {salts.take() for _ in range(10_000)}
    assert len(drawn) == 10_000
    assert {len(salt) for salt in drawn} == {32}
