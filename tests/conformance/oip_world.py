"""A real gateway with models for every datatype, and a tenant that may do everything with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from running import ROOT, Running, start

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
SIMPLE_CONFIG = """
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] }, { name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] } ]
output [
  { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] },
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }
]
"""
VERSIONED_CONFIG = """
version_policy { all { } }
parameters { key: "version_label.stable" value { string_value: "1" } }
"""


def _save(path: Path, nodes: list[onnx.NodeProto], inputs: list[tuple[str, int]], outputs: list[tuple[str, int]], dims):
    def infos(tensors):
        return [helper.make_tensor_value_info(name, kind, dims) for name, kind in tensors]

    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True)
    path.write_bytes(made.SerializeToString())


def repository(folder: Path) -> Path:
    """One identity model a datatype, Triton's ``simple``, one of two versions and one that cannot be loaded."""
    identity = helper.make_node("Identity", ["x"], ["y"])
    for name, kind in DATATYPES.items():
        _save(folder / f"id_{name}" / "1" / "model.onnx", [identity], [("x", kind)], [("y", kind)], ["N", 2])
    i32 = TensorProto.INT32
    sums = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    pair = [("INPUT0", i32), ("INPUT1", i32)]
    _save(folder / "simple" / "1" / "model.onnx", sums, pair, [("OUTPUT0", i32), ("OUTPUT1", i32)], ["N", 16])
    (folder / "simple" / "config.pbtxt").write_text(SIMPLE_CONFIG)
    for version, node in (("1", "Identity"), ("2", "Neg")):
        path = folder / "versioned" / version / "model.onnx"
        _save(path, [helper.make_node(node, ["x"], ["y"])], [("x", 1)], [("y", 1)], ["N", 2])
    (folder / "versioned" / "config.pbtxt").write_text(VERSIONED_CONFIG)
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"\x08\x09 not a model")
    return folder


def policies(folder: Path, *models: str) -> Path:
    """The shipped policies, with the tenant ``lab`` that may do everything and ``outside`` that may do nothing. They
    know the models of ``repository``, and ``models``."""
    shutil.copytree(ROOT / "policies", folder, ignore=shutil.ignore_patterns("*_test.rego"))
    path = folder / "data.json"
    data = json.loads(path.read_text())
    free = data["tenants"]["platform"] | {"max_batch": 64, "max_bytes": 2**26}
    data["tenants"]["lab"] = free | {"members": ["caller", "operator"], "models": ["*"]}
    data["tenants"]["outside"] = free | {"models": []}
    names = [*(f"id_{datatype}" for datatype in DATATYPES), "simple", "versioned", *models]
    data["models"] |= {name: {"sensitive_outputs": [], "require": []} for name in names}
    path.write_text(json.dumps(data))
    return folder


@contextmanager
def world(folder: Path, transport: str, *options: str) -> Iterator[Running]:
    """The gateway on ``transport``, with one worker, reflection and shared memory."""
    gateway = start(
        folder / "data",
        *("--transport", transport, "--server-reflection", "--server-shared-memory", *options),
        models=repository(folder / "models"),
        policies=policies(folder / "policies"),
    )
    try:
        yield gateway
    finally:
        gateway.stop()
