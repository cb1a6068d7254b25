"""The one request that the benchmarks send: a held-out digit, and what ONNX Runtime itself says about it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from load import METHOD, framed

from gateway.rpc import contents
from gateway.v1.inference import ModelInferRequest, ModelInferResponse

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MODEL = EXAMPLES / "models" / "digits"


class WrongAnswer(Exception):
    """A server answered, but not what the model says."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request of ``rows`` held-out digits and the outputs that are right for it."""

    message: bytes
    expected: dict[str, bytes]

    def write(self, path: Path) -> Path:
        """``path``, now holding the framed request for h2load."""
        path.write_bytes(framed(self.message))
        return path


def digits(rows: int = 1) -> Question:
    """The first ``rows`` held-out digits, from the top again when there are too few."""
    with (EXAMPLES / "data" / "digits.csv").open(newline="") as file:
        pixels = np.array(list(csv.reader(file))[1:], dtype=object)[:, 1:].astype(np.float32)
    image = np.resize(pixels, (rows, 64)).reshape(rows, 8, 8)
    request = ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    request.raw_input_contents.append(image.tobytes())
    session = onnxruntime.InferenceSession(MODEL / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {"image": image})
    return Question(request.SerializeToString(), {name: o.tobytes() for name, o in zip(names, outputs, strict=True)})


def probe(port: int, question: Question, metadata: tuple[tuple[str, str], ...] = ()) -> int:
    """Ask once with a real gRPC client; the answer's size in bytes as h2load counts it.

    Raises: WrongAnswer; grpc.RpcError when it is refused.
    """
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer: bytes = channel.unary_unary(f"/{METHOD}")(question.message, metadata=metadata, timeout=10)
    response = ModelInferResponse.FromString(answer)
    got = {o.name: contents.raw(o.name, o.datatype, o.contents) for o in response.outputs}  # MLServer answers typed
    got |= dict(zip((o.name for o in response.outputs), response.raw_output_contents, strict=False))
    if got != question.expected:
        raise WrongAnswer(f"outputs differ from onnxruntime's: {sorted(got)} against {sorted(question.expected)}")
    return len(framed(answer))
