"""What the benchmarks send: held-out rows of the examples, and what ONNX Runtime itself says about them."""

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
    """A request, the outputs that are right for it, and its inputs as the model takes them."""

    message: bytes
    expected: dict[str, bytes]
    inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]

    def write(self, path: Path) -> Path:
        """``path``, now holding the framed request for h2load."""
        path.write_bytes(framed(self.message))
        return path


def digits(rows: int = 1) -> Question:
    """The first ``rows`` held-out digits, from the top again when there are too few."""
    return numbers("digits", rows)


def numbers(model: str, rows: int) -> Question:
    """The first ``rows`` held-out rows of an example whose one input is FP32, from the top again if too few."""
    with (EXAMPLES / "data" / f"{model}.csv").open(newline="") as file:
        values = np.array(list(csv.reader(file))[1:], dtype=object)[:, 1:].astype(np.float32)
    path = EXAMPLES / "models" / model / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (wire,) = session.get_inputs()
    array = np.resize(values, (rows, values.shape[1])).reshape(rows, *wire.shape[1:])
    request = ModelInferRequest(model_name=model)
    request.inputs.add(name=wire.name, datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    names, inputs = [output.name for output in session.get_outputs()], {wire.name: array}
    outputs = session.run(names, inputs)
    expected = {name: output.tobytes() for name, output in zip(names, outputs, strict=True)}
    return Question(request.SerializeToString(), expected, inputs)


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
