"""One prediction asked over real gRPC, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import numpy as np

from gateway.v1.inference import ModelInferRequest, ModelInferResponse

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
FP32 = np.dtype("<f4")
INT64 = np.dtype("<i8")
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: ``status`` is the gRPC status' name, ``outputs`` the tensors of an answer, ``detail``
    the text of a refusal. ``trailers`` name record, decision and trace."""

    status: str
    ms: float
    outputs: Mapping[str, Array]
    detail: str
    trailers: Mapping[str, str]


def request(model: str, name: str, tensor: Array) -> ModelInferRequest:
    """A request with one input: FP32 numbers, or BYTES for an array of text."""
    message = ModelInferRequest(model_name=model)
    text = tensor.dtype.kind in "OU"
    message.inputs.add(name=name, datatype="BYTES" if text else "FP32", shape=tensor.shape)
    if text:
        elements = [str(element).encode() for element in tensor.flat]
        data = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    else:
        data = tensor.astype(FP32).tobytes()
    message.raw_input_contents.append(data)
    return message


def ask(channel: grpc.Channel, message: ModelInferRequest, key: str) -> Outcome:
    """Send ``message`` with ``key`` ("" for none) and wait for the answer or the refusal."""
    call = channel.unary_unary(
        METHOD,
        request_serializer=ModelInferRequest.SerializeToString,
        response_deserializer=ModelInferResponse.FromString,
    )
    metadata = (("x-api-key", key),) if key else ()
    start = time.perf_counter()
    try:
        response, ended = call.with_call(message, metadata=metadata, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return Outcome(error.code().name, _ms(start), {}, error.details() or "", _text(error.trailing_metadata()))
    return Outcome("OK", _ms(start), _outputs(response), "", _text(ended.trailing_metadata()))


def _outputs(
    response: ModelInferResponse,
) -> dict[str, Array]:
    outputs = {}
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        outputs[tensor.name] = _array(tensor.datatype, raw).reshape(tuple(tensor.shape))
    return outputs


def _array(datatype: str, raw: bytes) -> Array:
    """The datatypes that the example models answer with."""
    if datatype == "BYTES":
        return _strings(raw)
    return np.frombuffer(raw, FP32) if datatype == "FP32" else np.frombuffer(raw, INT64)


def _strings(raw: bytes) -> Array:
    found, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        found.append(raw[at + 4 : end].decode())
        at = end
    return np.array(found)


def _ms(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _text(metadata: object) -> dict[str, str]:
    pairs = metadata if isinstance(metadata, tuple) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}
