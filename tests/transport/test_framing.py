"""Length-prefixed messages, cut anywhere."""

from __future__ import annotations

import contextlib
import itertools
import struct
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.framing import Assembler, frame, whole_message
from gateway.transport.seam import Refused

LIMIT = 1000
messages = st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=8)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in points), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(messages, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cutting_gives_the_same_messages(sent: list[tuple[bool, bytes]], points: list[int]) -> None:
    wire = b"".join(frame(body, compressed=flag) for flag, body in sent)
    assembler = Assembler(LIMIT)
    got = [message for chunk in cut(wire, points) for message in assembler.feed(chunk)]
    assert got == sent
    assert not assembler.unfinished


@given(st.binary(max_size=60), st.integers(1, 10_000))
def test_a_cut_message_is_unfinished(body: bytes, missing: int) -> None:
    wire = frame(body)
    part = wire[: max(0, len(wire) - 1 - missing % len(wire))]
    assembler = Assembler(LIMIT)
    assert assembler.feed(part) == []
    assert assembler.unfinished == (len(part) > 0)


@given(st.binary(max_size=100))
def test_whole_message_agrees_with_the_assembler(chunk: bytes) -> None:
    assembler = Assembler(2**32)
    try:
        got = assembler.feed(chunk)
    except Refused:
        got = []
    exact = len(got) == 1 and not assembler.unfinished and not got[0][0]
    assert whole_message(chunk) == (got[0][1] if exact else None)


@pytest.mark.parametrize("length", [LIMIT + 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_by_its_prefix(length: int) -> None:
    with pytest.raises(Refused, match=f"{length} vs. {LIMIT}") as caught:
        Assembler(LIMIT).feed(struct.pack(">BI", 0, length))
    assert caught.value.code == 8


def test_the_limit_itself_passes() -> None:
    assert Assembler(LIMIT).feed(frame(bytes(LIMIT))) == [(False, bytes(LIMIT))]


@pytest.mark.parametrize("flag", [2, 128, 255])
def test_an_unknown_flag_is_internal(flag: int) -> None:
    with pytest.raises(Refused) as caught:
        Assembler(LIMIT).feed(bytes([flag, 0, 0, 0, 0]))
    assert caught.value.code == 13


def test_a_message_that_comes_byte_by_byte_costs_its_bytes() -> None:
    size = 300_000
    assembler = Assembler(size)
    wire = frame(bytes(size))
    tracemalloc.start()
    for start in range(0, size, 2):
        assembler.feed(wire[start : start + 2])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 * size
    assert assembler.feed(wire[size:]) == [(False, bytes(size))]


def test_many_messages_in_one_chunk_take_linear_time() -> None:
    wire = frame(b"") * 200_000
    began = time.process_time()
    assert len(Assembler(10).feed(wire)) == 200_000
    assert time.process_time() - began < 3  # copying the rest for each would take minutes


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_random_bytes_hold_at_most_one_message(chunks: list[bytes]) -> None:
    assembler = Assembler(LIMIT)
    with contextlib.suppress(Refused):
        for chunk in chunks:
            assembler.feed(chunk)
            assert assembler.held <= LIMIT
