"""What goes through a model comes out as onnxruntime itself gives it, for every datatype and shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from serving_graphs import FLOAT, identity, model, scale, tensor

from gateway.serving.datatypes import DTYPES, join_elements
from gateway.serving.model import ModelServable
from gateway.serving.settings import ModelSettings, TensorSettings
from gateway.types import Tensor

Load = Callable[..., ModelServable]

KINDS = {
    "BOOL": T.BOOL,
    "UINT8": T.UINT8,
    "UINT16": T.UINT16,
    "UINT32": T.UINT32,
    "UINT64": T.UINT64,
    "INT8": T.INT8,
    "INT16": T.INT16,
    "INT32": T.INT32,
    "INT64": T.INT64,
    "FP16": T.FLOAT16,
    "FP32": T.FLOAT,
    "FP64": T.DOUBLE,
    "BF16": T.BFLOAT16,
    "BYTES": T.STRING,
}


async def run(servable: ModelServable, *tensors: Tensor) -> tuple[Tensor, ...]:
    return (await servable.infer(servable.signature.validate(tensors))).outputs


@pytest.mark.parametrize("datatype", sorted(KINDS))
async def test_every_datatype_passes_through_unchanged(load: Load, datatype: str) -> None:
    servable = load(identity(KINDS[datatype], ("N", 3)))
    if datatype == "BYTES":
        data = join_elements(["", "é\0", "x" * 300, "b", "c", "日本"][i].encode() for i in range(6))
    else:
        data = bytes(i % 2 for i in range(6 * DTYPES[datatype].itemsize))
    (out,) = await run(servable, Tensor(name="x", datatype=datatype, shape=(2, 3), data=data))
    assert (out.name, out.datatype, out.shape, bytes(out.data)) == ("y", datatype, (2, 3), data)


async def test_bf16_is_computed_not_only_passed(load: Load) -> None:
    cast = [helper.make_node("Cast", ["x"], ["f"], to=T.FLOAT), helper.make_node("Add", ["f", "f"], ["g"])]
    back = helper.make_node("Cast", ["g"], ["y"], to=T.BFLOAT16)
    servable = load(model([*cast, back], [tensor("x", T.BFLOAT16, ("N", 2))], [tensor("y", T.BFLOAT16, ("N", 2))]))
    halves = (np.array([[1.5, -2.0]], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    (out,) = await run(servable, Tensor(name="x", datatype="BF16", shape=(1, 2), data=halves.tobytes()))
    got = (np.frombuffer(out.data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    assert got.tolist() == [3.0, -4.0]


async def test_several_inputs_and_outputs_keep_the_models_order(load: Load) -> None:
    nodes = [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Add", ["a", "b"], ["s"])]
    ins = [tensor(name, FLOAT, ("N", 2)) for name in "ab"]
    data = model(nodes, ins, [tensor("s", FLOAT, ("N", 2)), tensor("d", FLOAT, ("N", 2))])
    servable = load(data)
    a, b = np.array([[5, 6]], np.float32), np.array([[1, 2]], np.float32)
    tensors = [Tensor(name=n, datatype="FP32", shape=(1, 2), data=v.tobytes()) for n, v in (("b", b), ("a", a))]
    outputs = await run(servable, *tensors)
    assert [out.name for out in outputs] == ["s", "d"]
    expected = ort.InferenceSession(data).run(["s", "d"], {"a": a, "b": b})
    assert [bytes(out.data) for out in outputs] == [array.tobytes() for array in expected]


async def test_scalars_and_empty_batches(load: Load) -> None:
    scalar = load(identity(T.INT64, ()))
    (out,) = await run(scalar, Tensor(name="x", datatype="INT64", shape=(1,), data=bytes(8)))
    assert out.shape == ()
    batch = load(scale(2))
    (out,) = await run(batch, Tensor(name="x", datatype="FP32", shape=(0, 4), data=b""))
    assert (out.shape, out.data) == ((0, 4), b"")


async def test_one_number_a_row_is_answered_in_the_graphs_own_shape(load: Load) -> None:
    servable = load(scale(2, ("N",)))
    data = np.array([1, 2, 3], np.float32).tobytes()
    for shape in ((3,), (3, 1)):
        (out,) = await run(servable, Tensor(name="x", datatype="FP32", shape=shape, data=data))
        assert out.shape == (3,)
        assert np.frombuffer(out.data, np.float32).tolist() == [2, 4, 6]


async def test_a_configured_reshape_holds_in_both_directions(load: Load) -> None:
    ends = [TensorSettings(name=name, datatype="FP32", dims=(1,), reshape=()) for name in "xy"]
    servable = load(scale(2, ("N",)), ModelSettings(max_batch_size=4, inputs=(ends[0],), outputs=(ends[1],)))
    data = np.array([1, 2, 3], np.float32).tobytes()
    (out,) = await run(servable, Tensor(name="x", datatype="FP32", shape=(3, 1), data=data))
    assert out.shape == (3, 1)


async def test_weights_in_other_files_are_used(tmp_path, runtime) -> None:  # type: ignore[no-untyped-def]
    from serving_graphs import external, place

    from gateway.serving.settings import ModelSettings
    from gateway.serving.version_files import VersionFiles
    from gateway.types import ServableId

    path = place(tmp_path, "m", external("w.bin"))
    weights = np.diag([1, 2, 3, 4]).astype(np.float32)
    (path.parent / "w.bin").write_bytes(weights.tobytes())
    files = VersionFiles(tmp_path / "m", path)
    servable = runtime.loader(ServableId("m", "1", files.read().digest), files, ModelSettings()).load()
    data = np.ones((1, 4), np.float32).tobytes()
    (out,) = await run(servable, Tensor(name="x", datatype="FP32", shape=(1, 4), data=data))
    assert np.frombuffer(out.data, np.float32).tolist() == [1, 2, 3, 4]


async def test_an_overridable_initializer_is_not_an_input(load: Load) -> None:
    weight = numpy_helper.from_array(np.array([2], np.float32), "k")
    ins = [tensor("x", FLOAT, ("N", 4)), tensor("k", FLOAT, (1,))]
    servable = load(model([helper.make_node("Mul", ["x", "k"], ["y"])], ins, [tensor("y", FLOAT, ("N", 4))], [weight]))
    assert [spec.name for spec in servable.signature.inputs] == ["x"]
