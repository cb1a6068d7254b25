"""What an ONNX file says of itself, read from its bytes before any runtime trusts it.

A walk over protobuf's wire format with the few field numbers of ``onnx.proto`` that matter here: which
files its weights lie in, which operators it uses and which operator sets it imports. Nothing is copied but
names; a weight of a gigabyte is skipped by its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message -> field number -> message inside it (onnx.proto)
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "tensor": {13: "entry"},
}


class NotOnnx(ValueError):
    """The bytes are not an ONNX model; the text says where they stop making sense."""


@dataclass(slots=True)
class OnnxFile:
    """What was found. ``external`` are the locations of weights outside the file; ``operators`` are
    (domain, operator) with "" for the standard domain; ``opsets`` maps domains to versions."""

    ir_version: int = 0
    has_graph: bool = False
    external: set[str] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)
    opsets: dict[str, int] = field(default_factory=dict)


def inspect(data: bytes) -> OnnxFile:
    """Walk the whole model. Linear in its number of fields; no recursion, so no depth can exhaust the stack.

    Raises: NotOnnx.
    """
    found = OnnxFile()
    stack = [("model", memoryview(data))]
    while stack:
        kind, view = stack.pop()
        inside = _INSIDE.get(kind, {})
        texts: dict[int, str] = {}
        for number, value in _fields(view):
            if isinstance(value, int):
                _note_number(found, kind, number, value, texts)
            elif number in inside:
                found.has_graph |= inside[number] == "graph"
                stack.append((inside[number], value))
            elif kind in ("node", "opset", "entry"):
                texts[number] = bytes(value).decode("utf-8", "replace")
        _note_texts(found, kind, texts)
    if not found.has_graph or not found.ir_version:
        raise NotOnnx("it has no graph or no ir_version")
    return found


def _note_number(found: OnnxFile, kind: str, number: int, value: int, texts: dict[int, str]) -> None:
    if kind == "model" and number == 1:
        found.ir_version = value
    elif kind == "opset" and number == 2:
        texts[2] = str(value)


def _note_texts(found: OnnxFile, kind: str, texts: dict[int, str]) -> None:
    if kind == "node":
        found.operators.add((texts.get(7, ""), texts.get(4, "")))
    elif kind == "opset":
        found.opsets[texts.get(1, "")] = int(texts.get(2, "0"))
    elif kind == "entry" and texts.get(1) == "location":
        found.external.add(texts.get(2, ""))


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(view)
    while position < end:
        tag, position = _varint(view, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(view, position)
            yield number, value
            continue
        if wire == _BYTES:
            size, position = _varint(view, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise NotOnnx(f"unknown wire type {wire} in field {number}")
        if size > end - position:
            raise NotOnnx(f"field {number} should have {size} bytes but the file has {end - position} left")
        yield number, view[position : position + size]
        position += size


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(view) or shift > 63:
            raise NotOnnx("the file ends inside a number" if shift <= 63 else "a number has too many bytes")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
