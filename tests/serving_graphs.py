"""Tiny ONNX graphs for tests, built by hand so that every shape and type is on the page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def tensor(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(made.SerializeToString())


def identity(kind: int = FLOAT, shape: Sequence[int | str] = ("N", 4)) -> bytes:
    """y = x"""
    return model([helper.make_node("Identity", ["x"], ["y"])], [tensor("x", kind, shape)], [tensor("y", kind, shape)])


def scale(factor: float, shape: Sequence[int | str] = ("N", 4)) -> bytes:
    """y = x * factor; models of different factors tell their answers apart."""
    return model(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        [tensor("x", FLOAT, shape)],
        [tensor("y", FLOAT, shape)],
        [numpy_helper.from_array(np.array(factor, np.float32), "k")],
    )


def matmul(size: int, depth: int, seed: int = 0) -> bytes:
    """y = x @ w @ w ...; as slow as you like."""
    random = np.random.default_rng(seed)
    weight = (random.standard_normal((size, size)) / np.sqrt(size)).astype(np.float32)
    names = ["x", *[f"h{i}" for i in range(depth - 1)], "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    return model(
        nodes,
        [tensor("x", FLOAT, ("N", size))],
        [tensor("y", FLOAT, ("N", size))],
        [numpy_helper.from_array(weight, "w")],
    )


def place(repository: Path, name: str, data: bytes, version: int = 1) -> Path:
    """Write one version of a model into a repository; the file's path."""
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def external(location: str) -> bytes:
    """y = x @ w, whose w of 4 x 4 lies in another file."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        weight.external_data.add(key=key, value=value)
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", FLOAT, ("N", 4))],
        [tensor("y", FLOAT, ("N", 4))],
        [weight],
    )


def endless() -> bytes:
    """y = x doubled n times; n is an input, so a caller can ask for a run without end."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["go"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [tensor("i", TensorProto.INT64, []), tensor("c", TensorProto.BOOL, []), tensor("v", FLOAT, [1])],
        [tensor("go", TensorProto.BOOL, []), tensor("w", FLOAT, [1])],
    )
    return model(
        [helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)],
        [tensor("n", TensorProto.INT64, []), tensor("x", FLOAT, [1])],
        [tensor("y", FLOAT, [1])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
