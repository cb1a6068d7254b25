"""The protocol's fourteen datatypes, and how their elements lie in memory.

BF16 has no numpy type: its elements are carried as uint16. BYTES elements are objects (``str``), for
ONNX string tensors hold text.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"

BYTES = "BYTES"
LARGE = 64 * 1024
"""Bytes from which a copy costs more than a view."""

DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    BYTES: np.dtype(object),
}

_LENGTH = struct.Struct("<I")


def split_elements(data: bytes | memoryview) -> list[bytes]:
    """The elements of a BYTES tensor: each is four little-endian length bytes, then its bytes.

    Raises: ValueError saying at which element the data ends too early.
    """
    whole = bytes(data)
    length_at = _LENGTH.unpack_from
    elements: list[bytes] = []
    position, end = 0, len(whole)
    while position < end:
        if end - position < 4:
            raise ValueError(f"element {len(elements)} has {end - position} of its 4 length bytes")
        first = position + 4
        position = first + length_at(whole, position)[0]
        if position > end:
            should = position - first
            raise ValueError(f"element {len(elements)} should have {should} bytes but {end - first} are left")
        elements.append(whole[first:position])
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The BYTES tensor that holds ``elements``; ``split_elements`` is the inverse."""
    parts: list[bytes] = []
    for element in elements:
        parts.append(_LENGTH.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def to_raw(array: Array, datatype: str) -> bytes | memoryview:
    """The raw form of ``array``: row-major, little-endian; ``str`` elements as UTF-8.

    Of a large array it is a view, which nobody may write to.
    """
    if datatype != BYTES:
        if array.nbytes < LARGE or sys.byteorder == "big" or not array.flags.c_contiguous:
            return array.tobytes()
        return array.reshape(-1).view(np.uint8).data
    flat = array.ravel().tolist()
    return join_elements(e if isinstance(e, bytes) else str(e).encode() for e in flat)
