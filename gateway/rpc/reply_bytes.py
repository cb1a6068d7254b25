"""A ModelInferResponse written straight as bytes: the tensors' data is copied once, and what recurs is kept.

Fields may come in any order on the wire, so a serialised message without id and data, followed by those fields, is
the whole message. ``tests/rpc/test_reply_bytes.py`` holds it to protobuf's own bytes, parsed.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

from gateway.types import Reply
from gateway.v1.inference import ModelInferResponse

Layout: TypeAlias = tuple[tuple[str, str, tuple[int, ...]], ...]

_FIELDS = ModelInferResponse.DESCRIPTOR.fields_by_name
_LENGTH_DELIMITED = 2  # wire type of strings and bytes
_ID = bytes(((_FIELDS["id"].number << 3) | _LENGTH_DELIMITED,))
_DATA = bytes(((_FIELDS["raw_output_contents"].number << 3) | _LENGTH_DELIMITED,))


def reply_bytes(reply: Reply) -> bytes:
    """``reply`` with every output raw, in the model's order, the request's id echoed."""
    servable, outputs = reply.servable, reply.outputs
    layout = tuple([(tensor.name, tensor.datatype, tensor.shape) for tensor in outputs])
    parts: list[bytes | memoryview] = [_head(servable.name, servable.version, layout)]
    if reply.call.request_id:
        text = reply.call.request_id.encode()
        parts += (_ID, varint(len(text)), text)
    for tensor in outputs:
        data = tensor.data
        parts += (_DATA, varint(data.nbytes if type(data) is memoryview else len(data)), data)
    return b"".join(parts)


def varint(number: int) -> bytes:
    """``number`` in base 128, the lowest seven bits first."""
    if number < 0x80:
        return number.to_bytes()
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


@functools.lru_cache(
    maxsize=1024
)  # names are our models', shapes differ by rows: a few hundred, each a few dozen bytes
def _head(model: str, version: str, layout: Layout) -> bytes:
    response = ModelInferResponse(model_name=model, model_version=version)
    for name, datatype, shape in layout:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
    return response.SerializeToString()
