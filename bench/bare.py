"""The bare server: the gateway's own transport and codec around ONNX Runtime, and nothing that governs.

What governance costs is the distance to this. It parses and checks a request exactly as the gateway does
(``rpc.codec``, ``ModelSignature``), runs the model once a request on the loop, and answers: no identity, policy,
record, batcher or admission.

    python bench/bare.py --transport h2 --model examples/models/digits --port 0
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

import numpy as np
import onnxruntime
import uvloop

from gateway.errors import GatewayError
from gateway.rpc import codec
from gateway.rpc.actions import INFER
from gateway.serving.signature import ModelSignature, TensorSpec
from gateway.transport.grpcio import GrpcioTransport
from gateway.transport.h2 import H2Transport
from gateway.transport.seam import Answer, Head, Methods, Refused, Told
from gateway.types import Context, Credentials, Reply, ServableId, Tensor, TraceContext

METHOD = "inference.GRPCInferenceService/ModelInfer"
DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
NOBODY = Context(
    action=INFER,
    trace=TraceContext(trace_id="0" * 32, span_id="0" * 16),
    credentials=Credentials(),
    received_us=0,
    received_ns=0,
)


class Bare:
    """One ONNX model behind one method."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model / "1" / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._id = ServableId(model.name, "1", "")
        self._outputs = [(o.name, DATATYPES[o.type]) for o in self._session.get_outputs()]
        self._names = [name for name, _ in self._outputs]
        self._signature = ModelSignature(
            model.name, specs(self._session.get_inputs()), specs(self._session.get_outputs()), max_batch_size=1024
        )

    async def infer(self, head: Head, body: bytes) -> Answer:  # the seam's shape
        return self._answer(body)

    def begin(self, head: Head, body: bytes, told: Told) -> None:
        """The same without a task, as the gateway serves predictions."""
        try:
            answer = self._answer(body)
        except Refused as refused:
            told.refuse(refused)
        else:
            told.answer(answer)

    def _answer(self, body: bytes) -> Answer:
        try:
            call = codec.decode_infer(body, NOBODY)
            if call.defect is not None:
                raise call.defect
            arrays = self._session.run(self._names, self._signature.validate(call.inputs))
        except GatewayError as error:
            raise Refused(error.code, str(error)) from error
        outputs = tuple(
            Tensor(name=name, datatype=datatype, shape=array.shape, data=array.tobytes())
            for (name, datatype), array in zip(self._outputs, arrays, strict=True)
        )
        return Answer(codec.encode_reply(Reply(call=call, servable=self._id, outputs=outputs)))


def specs(nodes: list[onnxruntime.NodeArg]) -> list[TensorSpec]:
    """Specs of a graph whose first dimension is the batch."""
    return [TensorSpec(name=n.name, datatype=DATATYPES[n.type], shape=(-1, *n.shape[1:])) for n in nodes]


async def serve(transport: str, model: Path, port: int) -> None:
    """Serve until SIGTERM; prints the same ready line as the gateway."""
    server = H2Transport() if transport == "h2" else GrpcioTransport()
    bare = Bare(model)
    methods = Methods(unary={METHOD: bare.infer}, prompt={METHOD: bare.begin})
    bound = await server.start(methods, host="127.0.0.1", port=port)
    print(f"gateway ready on 127.0.0.1:{bound}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.drain(grace_s=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", choices=("h2", "grpcio"), default="h2")
    parser.add_argument("--model", type=Path, default=Path("examples/models/digits"))
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    np.seterr(all="raise")
    uvloop.run(serve(options.transport, options.model, options.port))


if __name__ == "__main__":
    main()
