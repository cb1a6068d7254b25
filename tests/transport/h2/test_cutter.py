"""Cutting at frame ends, however the bytes arrive."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from raw_client import PREFACE, raw_frame

from gateway.transport.h2.cutter import Cutter


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_no_piece_reaches_past_a_frame(bodies: list[bytes], points: list[int]) -> None:
    frames = [PREFACE, *(raw_frame(0, 0, 1, body) for body in bodies)]
    wire = b"".join(frames)
    ends = set(itertools.accumulate(len(frame) for frame in frames))
    edges = [0, *sorted(min(p, len(wire)) for p in points), len(wire)]
    cutter, pieces = Cutter(), []
    for start, end in itertools.pairwise(edges):
        data = wire[start:end]
        while data:
            pieces.append(cutter.cut(data))
            data = data[len(pieces[-1]) :]
    assert b"".join(pieces) == wire
    assert all(pieces)
    assert ends <= set(itertools.accumulate(map(len, pieces)))
