"""What KServe's own client does and sees, as one JSON object. Runs in the client's environment, not in ours.

python kserve_calls.py URL KEY DENIED_KEY
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import grpc
import kserve.logging
import numpy as np
from kserve.inference_client import InferenceGRPCClient
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse, RequestedOutput

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
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
TEXTS = [["a", ""], ["längér", "z" * 1000]]


def request(model: str, values: np.ndarray, datatype: str, *, raw: bool = True, **options: object) -> InferRequest:
    given = InferInput("x", list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=raw)
    return InferRequest(model, [given], **options)


async def code(awaitable: object) -> list[str]:
    """The status and the text that a call ends with."""
    try:
        await awaitable
    except grpc.RpcError as error:
        return [error.code().name, error.details() or ""]
    return ["OK", ""]


async def exchange(client: InferenceGRPCClient, headers: tuple[tuple[str, str], ...]) -> dict[str, bool]:
    """By datatype and form: whether what came back is what was sent."""
    same = {}
    for datatype, kind in NUMPY.items():
        values = np.array([[0, 1], [1, 3]]).astype(kind)
        for raw in (True, False) if datatype != "FP16" else (True,):  # no dialect has FP16 typed but MLServer's
            asked = request(f"id_{datatype}", values, datatype, raw=raw)
            back = (await client.infer(asked, headers=headers)).get_output_by_name("y").as_numpy()
            same[f"{datatype} {'raw' if raw else 'typed'}"] = bool((back == values).all() and back.dtype == kind)
    texts = np.array([[text.encode() for text in row] for row in TEXTS], dtype=np.object_)
    for raw in (True, False):
        answer = await client.infer(request("id_BYTES", texts, "BYTES", raw=raw), headers=headers)
        back = answer.get_output_by_name("y").as_numpy()
        same[f"BYTES {'raw' if raw else 'typed'}"] = back.tolist() == texts.tolist()
    return same


async def answer(client: InferenceGRPCClient, headers: tuple[tuple[str, str], ...]) -> list[object]:
    """What an answer carries beside its tensor: id, model, version, the outputs asked for."""
    pair = [InferInput(name, [1, 16], "INT32", data=np.ones((1, 16), dtype=np.int32)) for name in ("INPUT0", "INPUT1")]
    asked = InferRequest(
        "simple",
        pair,
        request_id="k-1",
        parameters={"mine": "x", "number": 7, "flag": True},
        request_outputs=[RequestedOutput("OUTPUT0")],
        model_version="1",
    )
    given: InferResponse = await client.infer(asked, headers=headers)
    sums = given.outputs[0].as_numpy()
    return [given.id, given.model_name, given.model_version, [o.name for o in given.outputs], int(sums.sum())]


async def main(url: str, key: str, denied_key: str) -> dict[str, object]:
    headers = (("authorization", f"Bearer {key}"),)
    denied = (("authorization", f"Bearer {denied_key}"),)
    one = np.ones((1, 2), dtype=np.float32)
    async with InferenceGRPCClient(url) as client:
        stub = client._client_stub
        server = await stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=headers)
        model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="simple"), metadata=headers)
        load = pb.RepositoryModelLoadRequest(model_name="simple")  # its field 1 is Triton's repository_name
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("simple", headers=headers),
            "unknown ready": await client.is_model_ready("nobody", headers=headers),
            "stranger": await code(client.is_model_ready("simple")),
            "server": [server.name, "statistics" in server.extensions],
            "model": [model.name, list(model.versions), model.platform, [list(t.shape) for t in model.inputs]],
            "same": await exchange(client, headers),
            "answer": await answer(client, headers),
            "unknown": await code(client.infer(request("nobody", one, "FP32"), headers=headers)),
            "wrong": await code(client.infer(request("id_INT32", one, "FP32"), headers=headers)),
            "denied": await code(client.infer(request("id_FP32", one, "FP32"), headers=denied)),
            "load": await code(stub.RepositoryModelLoad(load, metadata=headers)),
        }


if __name__ == "__main__":
    kserve.logging.trace_logger.setLevel(logging.CRITICAL)  # it logs every refusal with its stack
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
