"""A ModelInferResponse written straight as bytes: the tensors' data is copied once, and what recurs is kept.

Fields may come in any order on the wire, so a serialised message without id and data, followed by those fields, is
the whole message. ``tests/rpc/test_reply_bytes.py`` holds it to protobuf's own bytes, parsed.
"""

from __future__ import annotations

import functools
import operator
from typing import TypeAlias

from google.protobuf.message import Message

from gateway.types import Reply
from gateway.v1.inference import InferParameter, ModelInferResponse, ModelStreamInferResponse

Layout: TypeAlias = tuple[tuple[str, str, tuple[int, ...]], ...]


def _tag(message: type[Message], field: str) -> bytes:
    """What stands before the length of a string, of bytes or of a message inside ``message``."""
    return bytes((message.DESCRIPTOR.fields_by_name[field].number << 3 | 2,))


_ID = _tag(ModelInferResponse, "id")
_DATA = _tag(ModelInferResponse, "raw_output_contents")
_PARAMETERS = _tag(ModelInferResponse, "parameters")
_KEY, _VALUE = b"\x0a", b"\x12"  # of a map's entry
_TEXT = _tag(InferParameter, "string_param")
_LAYOUT = operator.attrgetter("name", "datatype", "shape")
_ANSWER = _tag(ModelStreamInferResponse, "infer_response")


def reply_bytes(reply: Reply) -> bytes:
    """``reply`` with every output raw, in the model's order, the request's id echoed."""
    servable, outputs = reply.servable, reply.outputs
    parts: list[bytes | memoryview] = [_head(servable.name, servable.version, tuple(map(_LAYOUT, outputs)))]
    if reply.call.request_id:
        text = reply.call.request_id.encode()
        parts += (_ID, varint(len(text)), text)
    for tensor in outputs:
        data = tensor.data
        parts += (_DATA, varint(data.nbytes if type(data) is memoryview else len(data)), data)
    return b"".join(parts)


def streamed(*answers: bytes) -> bytes:
    """A ModelStreamInferResponse whose ``infer_response`` is ``answers``, merged."""
    parts: list[bytes] = []
    for answer in answers:
        parts += (_ANSWER, varint(len(answer)), answer)
    return b"".join(parts)


def text_parameter(name: str, text: str) -> bytes:
    """One entry of ``ModelInferResponse.parameters``."""
    value = _TEXT + _sized(text.encode())
    entry = b"".join((_KEY, _sized(name.encode()), _VALUE, _sized(value)))
    return _PARAMETERS + _sized(entry)


def _sized(data: bytes) -> bytes:
    return varint(len(data)) + data


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
