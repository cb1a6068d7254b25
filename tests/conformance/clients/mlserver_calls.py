"""What MLServer's own stubs, converters and codecs do and see, as one JSON object. Runs in their environment.

python mlserver_calls.py URL KEY DENIED_KEY
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import grpc
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import model_repository_pb2 as repository_pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.grpc.model_repository_pb2_grpc import ModelRepositoryServiceStub
from mlserver.types import InferenceRequest, Parameters, RequestInput, RequestOutput

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
}
Metadata = tuple[tuple[str, str], ...]


def code(call: Callable[..., object], *arguments: object, **options: object) -> list[str]:
    """The status and the text that a call ends with."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return [error.code().name, error.details() or ""]
    return ["OK", ""]


def request(model: str, *given: RequestInput, raw: bool = False, **options: object) -> pb.ModelInferRequest:
    asked = InferenceRequest(inputs=list(given), **options)
    return converters.ModelInferRequestConverter.from_types(asked, model, use_raw=raw)


def exchange(stub: GRPCInferenceServiceStub, headers: Metadata) -> dict[str, bool]:
    """By datatype and form: whether what came back is what was sent."""
    same = {}
    for raw in (False, True):
        form = "raw" if raw else "typed"
        for datatype, kind in NUMPY.items():
            values = np.array([[0, 1], [1, 3]]).astype(kind)
            asked = request(f"id_{datatype}", NumpyCodec.encode_input("x", values), raw=raw)
            reply = converters.ModelInferResponseConverter.to_types(stub.ModelInfer(asked, metadata=headers))
            back = NumpyCodec.decode_output(reply.outputs[0])
            same[f"{datatype} {form}"] = bool((back == values).all() and back.dtype == kind)
        texts = ["a", "", "längér", "z" * 1000]
        given = StringCodec.encode_input("x", texts)
        given.shape = [2, 2]
        reply = stub.ModelInfer(request("id_BYTES", given, raw=raw), metadata=headers)
        back = converters.ModelInferResponseConverter.to_types(reply).outputs[0]
        same[f"BYTES {form}"] = StringCodec.decode_output(back) == texts
    return same


def answer(stub: GRPCInferenceServiceStub, headers: Metadata) -> list[object]:
    """What an answer carries beside its tensor: id, model, version, the outputs asked for."""
    ones = np.ones((1, 16), dtype=np.int32)
    asked = request(
        "simple",
        *(NumpyCodec.encode_input(name, ones) for name in ("INPUT0", "INPUT1")),
        id="m-1",
        parameters=Parameters(content_type="np", mine="x"),
        outputs=[RequestOutput(name="OUTPUT0")],
    )
    given = converters.ModelInferResponseConverter.to_types(stub.ModelInfer(asked, metadata=headers))
    sums = NumpyCodec.decode_output(given.outputs[0])
    return [given.id, given.model_name, given.model_version, [o.name for o in given.outputs], int(sums.sum())]


def stream(stub: GRPCInferenceServiceStub, headers: Metadata) -> list[str]:
    """MLServer's stub expects another answer on a stream than Triton's: what it makes of ours."""
    one = NumpyCodec.encode_input("x", np.ones((1, 2), dtype=np.float32))
    return code(lambda: next(stub.ModelStreamInfer(iter([request("id_FP32", one)]), metadata=headers, timeout=20)))


def main(url: str, key: str, denied_key: str) -> dict[str, object]:
    headers, denied = ((("authorization", f"Bearer {k}"),) for k in (key, denied_key))
    one = NumpyCodec.encode_input("x", np.ones((1, 2), dtype=np.float32))
    with grpc.insecure_channel(url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        apart = ModelRepositoryServiceStub(channel)
        server = stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=headers)
        model = converters.ModelMetadataResponseConverter.to_types(
            stub.ModelMetadata(pb.ModelMetadataRequest(name="simple"), metadata=headers)
        )
        name = {"model_name": "versioned"}
        index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=headers)
        return {
            "live": stub.ServerLive(pb.ServerLiveRequest()).live,
            "ready": stub.ServerReady(pb.ServerReadyRequest()).ready,
            "model ready": stub.ModelReady(pb.ModelReadyRequest(name="simple"), metadata=headers).ready,
            "unknown ready": stub.ModelReady(pb.ModelReadyRequest(name="nobody"), metadata=headers).ready,
            "stranger": code(stub.ModelReady, pb.ModelReadyRequest(name="simple")),
            "server": [server.name, "statistics" in server.extensions],
            "model": [model.name, model.versions, model.platform, [t.shape for t in model.inputs]],
            "same": exchange(stub, headers),
            "answer": answer(stub, headers),
            "unknown": code(stub.ModelInfer, request("nobody", one), metadata=headers),
            "wrong": code(stub.ModelInfer, request("id_INT32", one), metadata=headers),
            "denied": code(stub.ModelInfer, request("id_FP32", one), metadata=denied),
            "index": sorted({row.name for row in index.models if row.state == "READY"}),
            "unload": code(stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(**name), metadata=headers),
            "unloaded": stub.ModelReady(pb.ModelReadyRequest(name="versioned"), metadata=headers).ready,
            "load": code(stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(**name), metadata=headers),
            "loaded": stub.ModelReady(pb.ModelReadyRequest(name="versioned"), metadata=headers).ready,
            "apart": code(apart.RepositoryIndex, repository_pb.RepositoryIndexRequest(), metadata=headers),
            "stream": stream(stub, headers),
        }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
