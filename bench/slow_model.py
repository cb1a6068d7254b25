"""A model that takes some 5 ms of processor time for a row and does not batch: what waits, waits for its instance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gateway.v1.inference import ModelInferRequest

NAME, WIDTH, LAYERS = "digits", 512, 160  # the name is one that the example policies know
CONFIG = """max_batch_size: 1
instance_group { count: 1 }
"""


def slow_model(folder: Path) -> Path:
    """A repository in ``folder`` with that model alone."""
    weights = np.random.default_rng(1).standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
    nodes, last = [], "x"
    for layer in range(LAYERS):
        name = "y" if layer == LAYERS - 1 else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [last, "w"], [name]))
        last = name
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ("N", WIDTH)) for n in ("x", "y")]
    graph = helper.make_graph(nodes, NAME, ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    version = folder / "models" / NAME / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(model.SerializeToString())
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return folder / "models"


def slow_question() -> bytes:
    """A request for one row."""
    request = ModelInferRequest(model_name=NAME)
    request.inputs.add(name="x", datatype="FP32", shape=(1, WIDTH))
    request.raw_input_contents.append(np.zeros((1, WIDTH), np.float32).tobytes())
    return request.SerializeToString()
