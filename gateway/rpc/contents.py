"""Typed tensor contents to raw form: row-major, little-endian, BYTES elements length-prefixed."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.errors import InvalidInput
from gateway.serving.datatypes import join_elements
from gateway.v1.inference import InferTensorContents

# Datatype to the one list that carries it and the array code of its elements. FP16 and BF16 have no list.
_LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "BOOL": ("bool_contents", "B"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}

# Datatypes whose packed list on the wire already is the raw form, and the bytes of an element.
_PACKED: Final[Mapping[str, int]] = {"BOOL": 1, "FP32": 4, "FP64": 8}


def raw(name: str, datatype: str, contents: InferTensorContents) -> bytes:
    """The raw form of ``contents`` for input ``name``; no element is no bytes.

    Raises: InvalidInput when another list than the datatype's is filled, or a value does not fit it.
    """
    filled = [field.name for field, _ in contents.ListFields()]
    if not filled:
        return b""
    expected, code = _LISTS.get(datatype, ("", ""))
    if not expected:
        raise InvalidInput(
            f"input '{name}' of datatype {datatype!r} has typed contents ({', '.join(filled)}), "
            "expected raw_input_contents"
        )
    if filled != [expected]:
        raise InvalidInput(f"input '{name}' of datatype {datatype} came in {', '.join(filled)}, expected {expected}")
    if datatype == "BYTES":
        return join_elements(contents.bytes_contents)
    if datatype in _PACKED:
        return _packed(contents, len(getattr(contents, expected)) * _PACKED[datatype])
    return _numbers(name, datatype, code, getattr(contents, expected)[:])


def _packed(contents: InferTensorContents, size: int) -> bytes:
    # 30 times faster than element by element; without unknown fields the one packed list ends the message.
    contents.DiscardUnknownFields()
    return contents.SerializeToString()[-size:]


def _numbers(name: str, datatype: str, code: str, values: Iterable[float]) -> bytes:
    try:
        elements = array(code, values)
    except OverflowError:
        raise InvalidInput(f"input '{name}' holds a value out of the range of {datatype}") from None
    if sys.byteorder == "big":
        elements.byteswap()
    return elements.tobytes()
