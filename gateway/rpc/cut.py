"""Large tensors are taken from a message where they lie: protobuf would copy each twice."""

from __future__ import annotations

from gateway.errors import Unparsable
from gateway.v1.inference import ModelInferRequest

LARGE = 64 * 1024
"""Messages from this size on are cut; below it two copies cost less than the cutting."""

_MAX_FIELDS = 1_024  # beyond it are many small tensors: cutting would be slower than copying
_RAW = ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2
_FIXED = {1: 8, 5: 4}


def cut(body: bytes) -> tuple[bytes, list[memoryview]]:
    """A ModelInferRequest without its ``raw_input_contents``, and those as views of ``body``, in order.

    What is left parses as the message does, for fields may stand in any order. What is malformed, or has very many
    fields, comes back whole and without views: it is for protobuf to judge.
    """
    view = memoryview(body)
    kept: list[memoryview] = []
    raws: list[memoryview] = []
    position = begun = 0
    try:
        for _ in range(_MAX_FIELDS):
            if position == len(body):
                kept.append(view[begun:])
                return b"".join(kept), raws
            start = position
            tag, position = _varint(body, position)
            kind = tag & 7
            if kind == 2:
                size, position = _varint(body, position)
                first, position = position, position + size
                if tag == _RAW:
                    raws.append(view[first:position])
                    kept.append(view[begun:start])
                    begun = position
            elif kind == 0:
                _, position = _varint(body, position)
            else:
                position += _FIXED[kind]
            if position > len(body):
                break
    except (IndexError, KeyError, Unparsable):
        pass
    return body, []


def _varint(body: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends. Raises: IndexError, Unparsable."""
    number = shift = 0
    while shift < 64:
        digit = body[position]
        position += 1
        number |= (digit & 0x7F) << shift
        if digit < 0x80:
            return number, position
        shift += 7
    raise Unparsable("a varint has more than ten bytes")
