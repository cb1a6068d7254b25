"""The models that the onnx wheel ships to test runtimes: served from one repository, in this process, and compared
with onnxruntime bit for bit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from tritonclient.utils import np_to_triton_dtype

from gateway.serving.datatypes import BYTES, DTYPES, Array, split_elements, to_raw
from gateway.serving.manager import Manager
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.settings import ModelSettings
from gateway.serving.sources import DirectorySource
from gateway.serving.version_policy import State
from gateway.types import ModelRef, Tensor

pytestmark = pytest.mark.models

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def direct(path: Path, inputs: dict[str, Array]) -> list[Array]:
    """The answers of onnxruntime itself, one thread as in a worker."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return list(ort.InferenceSession(path, options).run(None, inputs))


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    """Everything that the wheel ships, loaded."""
    for path in DATA.glob("*/*/model.onnx"):
        (tmp_path / path.parent.name / "1").mkdir(parents=True)
        (tmp_path / path.parent.name / "1" / "model.onnx").write_bytes(path.read_bytes())
    with ThreadPoolExecutor(2) as executor:
        source = DirectorySource(
            [tmp_path], parse=lambda _: ModelSettings(), make=OnnxRuntime(executor=executor).loader
        )
        manager = Manager(executor)
        await manager.start(source)
        yield manager
        await manager.close()


def examples(path: Path, names: list[str]) -> list[dict[str, Array]]:
    """The inputs that lie beside a model."""
    found = []
    for folder in sorted(path.parent.glob("test_data_set_*")):
        arrays = {}
        for number, name in enumerate(names):
            proto = onnx.TensorProto()
            proto.ParseFromString((folder / f"input_{number}.pb").read_bytes())
            array = numpy_helper.to_array(proto)
            arrays[name] = (
                np.vectorize(lambda e: e.decode() if isinstance(e, bytes) else e, otypes=[object])(array)
                if array.dtype == object
                else array
            )
        found.append(arrays)
    return found


def to_tensor(name: str, array: Array) -> Tensor:
    datatype = np_to_triton_dtype(array.dtype)
    return Tensor(name=name, datatype=datatype, shape=array.shape, data=to_raw(array, datatype))


def to_array(tensor: Tensor) -> Array:
    if tensor.datatype == BYTES:
        texts = np.array([e.decode() for e in split_elements(tensor.data)], dtype=object)
        return texts.reshape(tensor.shape)
    return np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(tensor.shape)


async def test_what_is_refused_cannot_be_served_by_anyone(manager: Manager) -> None:
    for row in manager.index():
        if row.state is State.READY or "is no tensor" in row.reason:
            continue
        assert "ONNX Runtime cannot load it" in row.reason, (row.name, row.reason)
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            ort.InferenceSession(next(DATA.glob(f"*/{row.name}/model.onnx")))


async def test_what_is_served_answers_as_onnxruntime_does(manager: Manager) -> None:
    compared = 0
    for row in manager.index():
        if row.state is not State.READY:
            continue
        path = next(DATA.glob(f"*/{row.name}/model.onnx"))
        servable = manager.servable(manager.resolve(ModelRef(row.name)).id)
        for inputs in examples(path, [spec.name for spec in servable.signature.inputs]):
            tensors = [to_tensor(name, array) for name, array in inputs.items()]
            answer = await servable.infer(servable.signature.validate(tensors))
            for tensor, array in zip(answer.outputs, direct(path, inputs), strict=True):
                np.testing.assert_array_equal(to_array(tensor), array, err_msg=row.name)
            compared += 1
    assert compared >= 90
