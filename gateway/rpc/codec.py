"""Predictions between protobuf and values. A request is parsed once; policy and execution use that parse.

One small request and its reply take about 5 us together (``bench/codec.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from google.protobuf.message import DecodeError

from gateway.errors import GatewayError, InvalidInput, MessageTooLarge, Unparsable
from gateway.rpc import contents
from gateway.rpc.cut import LARGE, cut
from gateway.rpc.parameters import request_parameters
from gateway.rpc.regions import NO_REGIONS, Regions, placement
from gateway.rpc.reply_bytes import reply_bytes
from gateway.types import Call, Context, ModelRef, OutputRequest, Parameters, Reply, Tensor
from gateway.v1.inference import ModelInferRequest, ModelInferResponse

MAX_DIMENSIONS = 255
MAX_NAME = 16_383
"""Of an input, in characters: what a record's commitment to it can hold, however many bytes a character takes."""


def parse_infer(body: bytes) -> ModelInferRequest:
    """The message in ``body``. Raises: Unparsable."""
    try:
        return ModelInferRequest.FromString(body)
    except DecodeError:
        raise Unparsable(f"could not parse the {len(body)} bytes as inference.ModelInferRequest") from None


def decode_infer(body: bytes, context: Context, regions: Regions = NO_REGIONS, *, stream_seq: int = 0) -> Call:
    """The call in ``body``; tensors in raw form, unchecked against any model.

    Raw data of a large message stays in ``body``: ``Tensor.data`` is a view of it then.

    The first thing wrong with parameters or the tensors' encoding becomes ``Call.defect``: it is raised after
    the decision, so that nobody learns it before policy has allowed the call. A defective input is still named
    in ``Call.inputs``, without data, so that policy sees the whole request.

    Raises: Unparsable when ``body`` is not a ModelInferRequest.
    """
    raws: Sequence[bytes | memoryview]
    if len(body) < LARGE:
        request = parse_infer(body)
        raws = request.raw_input_contents[:]
    else:
        rest, raws = cut(body)
        request = parse_infer(rest)
        raws = raws or request.raw_input_contents[:]
    defects: list[GatewayError] = []
    parameters = _parameters(request, defects) if request.parameters else {}
    inputs = _inputs(request, raws, regions, defects)
    outputs = _outputs(request, defects) if request.outputs else ()
    return Call(  # by position, in the order of its fields: by keyword it takes four times as long
        context,
        ModelRef(request.model_name, request.model_version),
        request.id,
        inputs,
        outputs,
        parameters,
        stream_seq,
        defects[0] if defects else None,
    )


def _parameters(request: ModelInferRequest, defects: list[GatewayError]) -> Parameters:
    try:
        return request_parameters(request.parameters)
    except InvalidInput as error:
        defects.append(error)
        return {}


def _inputs(
    request: ModelInferRequest, raws: Sequence[bytes | memoryview], regions: Regions, defects: list[GatewayError]
) -> tuple[Tensor, ...]:
    taken = 0  # raw entries belong, in order, to the inputs that are not in shared memory
    shared = 0  # bytes read from shared memory
    tensors = []
    for wire in request.inputs[:]:
        source: Literal["raw", "typed", "shared_memory"] = "raw"
        data: bytes | memoryview = b""
        try:
            if wire.parameters and (place := placement(wire.name, wire.parameters)):
                source = "shared_memory"
                _no_contents(wire, "shared memory", request.model_name)
                shared += max(place[2], 0)
                if shared > regions.max_bytes > 0:
                    raise MessageTooLarge(
                        f"inputs in shared memory have {shared} bytes and more; {regions.max_bytes} are allowed"
                    )
                data = regions.read(*place)
            elif not raws:
                source, data = "typed", _typed(wire, request.model_name)
            elif taken < len(raws):
                data = raws[taken]
                taken += 1
                _no_contents(wire, "raw_input_contents", request.model_name)
            else:
                raise InvalidInput(
                    f"no data for input '{wire.name}' of model '{request.model_name}': "
                    f"raw_input_contents has {len(raws)} entries for {len(request.inputs)} inputs"
                )
        except GatewayError as error:
            defects.append(error)
        name, shape = wire.name, tuple(wire.shape[:])
        if len(shape) > MAX_DIMENSIONS or len(name) > MAX_NAME:
            defects.append(
                InvalidInput(
                    f"input '{name[:64]}' has {len(shape)} dimensions and a name of {len(name)} characters: "
                    f"at most {MAX_DIMENSIONS} dimensions and {MAX_NAME} characters are served"
                )
            )
        tensors.append(Tensor(name, wire.datatype, shape, data, source))
    return tuple(tensors)


def _no_contents(wire: ModelInferRequest.InferInputTensor, beside: str, model: str) -> None:
    # MLServer's converter sends an empty ``contents`` beside raw data; only one that holds an element is a clash.
    if wire.HasField("contents") and wire.contents.ListFields():
        raise InvalidInput(
            f"contents field must not be specified when using {beside} for '{wire.name}' for model '{model}'"
        )


def _typed(wire: ModelInferRequest.InferInputTensor, model: str) -> bytes:
    if not wire.HasField("contents"):
        raise InvalidInput(
            f"no data for input '{wire.name}' of model '{model}': "
            "expected an entry of raw_input_contents, contents, or a shared-memory region"
        )
    return contents.raw(wire.name, wire.datatype, wire.contents)


def _outputs(request: ModelInferRequest, defects: list[GatewayError]) -> tuple[OutputRequest, ...]:
    requests = []
    for wire in request.outputs:
        try:
            requests.append(_output(wire) if wire.parameters else OutputRequest(name=wire.name))
        except InvalidInput as error:
            defects.append(error)
            requests.append(OutputRequest(name=wire.name))
    return tuple(requests)


def _output(wire: ModelInferRequest.InferRequestedOutputTensor) -> OutputRequest:
    place = placement(wire.name, wire.parameters)
    classes = 0
    if "classification" in wire.parameters:
        wanted = wire.parameters["classification"]
        classes = wanted.int64_param
        if wanted.WhichOneof("parameter_choice") != "int64_param" or classes < 1:
            raise InvalidInput(f"parameter 'classification' of output '{wire.name}' expects int64_param of 1 or more")
        if place:
            raise InvalidInput(f"output '{wire.name}' cannot be both classified and placed in shared memory")
    return OutputRequest(name=wire.name, classification=classes, shared_memory=place)


def encode_reply(reply: Reply, regions: Regions = NO_REGIONS) -> bytes:
    """``reply`` as a ModelInferResponse: every output raw, in the model's order, the request's id echoed.

    Raises: what ``Regions.write`` raises, for outputs that the caller wants in shared memory.
    """
    for wanted in reply.call.outputs:
        if wanted.shared_memory is not None:
            return response_of(reply, regions).SerializeToString()
    return reply_bytes(reply)


def response_of(reply: Reply, regions: Regions = NO_REGIONS) -> ModelInferResponse:
    """As ``encode_reply``, not yet serialised."""
    servable = reply.servable
    response = ModelInferResponse(model_name=servable.name, model_version=servable.version, id=reply.call.request_id)
    placed = {r.name: r.shared_memory for r in reply.call.outputs if r.shared_memory is not None}
    add, append = response.outputs.add, response.raw_output_contents.append
    for tensor in reply.outputs:
        output = add()
        output.name, output.datatype = tensor.name, tensor.datatype
        output.shape.extend(tensor.shape)
        data = tensor.data
        if placed and (place := placed.get(tensor.name)):
            regions.write(*place, data, tensor.name)
            data = b""  # the entry stays, so that positions still match
        append(data if type(data) is bytes else bytes(data))
    return response
