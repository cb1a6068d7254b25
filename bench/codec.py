"""What decoding a request and encoding its reply cost: ``python bench/codec.py``. CPU microseconds, best of 5."""

from __future__ import annotations

import argparse
import time
import timeit

import numpy as np

from gateway.errors import PermissionDenied
from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.context import Clocks, context
from gateway.rpc.status import refusal
from gateway.transport.seam import Head
from gateway.types import Reply, ServableId, Tensor
from gateway.v1.inference import InferTensorContents, ModelInferRequest

CLOCKS = Clocks(us=lambda: 1, ns=lambda: 1)
HEAD = Head(
    method="inference.GRPCInferenceService/ModelInfer",
    metadata=(
        ("user-agent", b"grpc-python/1.85"),
        ("authorization", b"Bearer gw_0123456789abcdef"),
        ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ),
)


def request(**data: object) -> bytes:
    message = ModelInferRequest(model_name="breast_cancer", id="42", **data)
    return message.SerializeToString()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    head = ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 30])
    raw = request(inputs=[head], raw_input_contents=[bytes(120)])
    wide = ModelInferRequest.InferInputTensor(
        name="x", datatype="FP32", shape=[1024], contents=InferTensorContents(fp32_contents=np.arange(1024))
    )
    typed = request(inputs=[wide])
    asked = context(HEAD, INFER, CLOCKS)
    outputs = (
        Tensor(name="label", datatype="INT64", shape=(1,), data=bytes(8)),
        Tensor(name="probabilities", datatype="FP32", shape=(1, 2), data=bytes(8)),
    )
    servable = ServableId("breast_cancer", "1", "sha256:0")
    reply = Reply(call=decode_infer(raw, asked), servable=servable, outputs=outputs)
    denied = PermissionDenied(("tenant_not_allowed",), "d-1")
    for name, run in {
        "context from metadata": lambda: context(HEAD, INFER, CLOCKS),
        "decode 30 FP32 raw": lambda: decode_infer(raw, asked),
        "decode 1024 FP32 typed": lambda: decode_infer(typed, asked),
        "encode 2 outputs": lambda: encode_reply(reply),
        "refusal of a denial": lambda: refusal(denied, call_id="c"),
    }.items():
        seconds = min(timeit.repeat(run, timer=time.process_time, number=20_000, repeat=5))
        print(f"{name:24} {seconds / 20_000 * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
