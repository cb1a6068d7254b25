"""What is refused at load, in words that name the file; and what the trial decides."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state
from serving_graphs import FLOAT, identity, model, place, scale, tensor

from gateway.errors import ModelFailed
from gateway.serving.model import ModelServable
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.servable import ModelUnloadable
from gateway.serving.settings import InstanceGroup, ModelSettings, TensorSettings, WarmupInput, WarmupSample
from gateway.serving.version_files import VersionFiles
from gateway.types import ServableId, Tensor

Load = Callable[..., ModelServable]


def classifier(zipmap: bool) -> bytes:
    """A label and its probabilities, as scikit-learn's converter writes them."""
    nodes = [helper.make_node("Softmax", ["x"], ["p"])]
    outputs = [tensor("p", FLOAT, ("N", 2))]
    if zipmap:
        zip_ = helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        map_ = helper.make_map_type_proto(T.INT64, helper.make_tensor_type_proto(FLOAT, None))
        outputs = [helper.make_value_info("z", helper.make_sequence_type_proto(map_))]
        nodes.append(zip_)
    graph = helper.make_graph(nodes, "g", [tensor("x", FLOAT, ("N", 2))], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        (classifier(zipmap=True), ModelSettings(), "output 'z' is seq(map(int64,tensor(float))), which is no tensor"),
        (model([], [], [], opset=99), ModelSettings(), "Opset 99 is under development"),
        (
            model([helper.make_node("Frobnicate", ["x"], ["y"])], [tensor("x", FLOAT, [1])], [tensor("y", FLOAT, [1])]),
            ModelSettings(),
            "ONNX Runtime cannot load it",
        ),
        (identity(), ModelSettings(accelerators=("cuda",)), "execution provider ['CUDAExecutionProvider'] is not in"),
        (identity(), ModelSettings(instance_groups=(InstanceGroup(kind="gpu"),)), "CUDAExecutionProvider"),
        (identity(), ModelSettings(op_libraries=("evil.so",)), "library 'evil.so' is not allow-listed"),
        (
            identity(),
            ModelSettings(parameters={"intra_op_thread_count": "many"}),
            "parameter intra_op_thread_count must be a whole number, got 'many'",
        ),
        (identity(shape=(1, 4)), ModelSettings(max_batch_size=4), "does not support batching"),
    ],
)
def test_what_cannot_be_served_says_so_and_where(
    load: Load, tmp_path: Path, data: bytes, settings: ModelSettings, words: str
) -> None:
    with pytest.raises(ModelUnloadable) as caught:
        load(data, settings)
    assert words in str(caught.value)
    assert str(tmp_path / "m" / "1" / "model.onnx") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_allow_listed_library_is_handed_to_onnxruntime_and_a_bad_one_is_named(load: Load, tmp_path: Path) -> None:
    no_library, no_operators = str(tmp_path / "none.so"), onnxruntime_pybind11_state.__file__
    for library in (no_library, no_operators):
        with pytest.raises(ModelUnloadable, match=re.escape(f"library '{library}' cannot be loaded: ")) as caught:
            load(identity(), ModelSettings(op_libraries=(library,)), op_libraries=frozenset([library]))
        assert str(tmp_path / "m" / "1" / "model.onnx") in str(caught.value)
    assert "RegisterCustomOps" in str(caught.value)


def test_a_plain_classifier_loads(load: Load) -> None:
    assert load(classifier(zipmap=False)).facts.batching


def test_files_that_change_between_digest_and_load_are_refused(tmp_path: Path, runtime: OnnxRuntime) -> None:
    path = place(tmp_path, "m", scale(2))
    files = VersionFiles(tmp_path / "m", path)
    loader = runtime.loader(ServableId("m", "1", files.read().digest), files, ModelSettings())
    path.write_bytes(scale(3))
    with pytest.raises(ModelUnloadable, match="changed while it was loaded"):
        loader.load()


def mixing() -> bytes:
    """Every row's answer depends on all rows."""
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    return model([node], [tensor("x", FLOAT, ("N", 4))], [tensor("y", FLOAT, ("N", 4))])


def not_a_batch() -> bytes:
    """The first dimension of the answer is free, but is not the rows'."""
    node = helper.make_node("NonZero", ["x"], ["t"])
    back = helper.make_node("Transpose", ["t"], ["y"])
    return model([node, back], [tensor("x", FLOAT, ("N", 4))], [tensor("y", T.INT64, ("K", 2))])


def test_a_model_whose_rows_depend_on_each_other_is_never_batched_with_other_callers(load: Load) -> None:
    assert load(scale(2))._batcher._queue._rule.max_rows == 64
    mixed = load(mixing())
    assert mixed._batcher._queue._rule.max_rows == 0
    assert mixed.signature.max_batch_size == 64


async def test_a_model_without_a_row_for_each_row_is_served_without_a_batch_dimension(load: Load) -> None:
    servable = load(not_a_batch())
    assert servable.signature.max_batch_size == 0
    assert not servable.facts.batching
    x = np.eye(4, dtype=np.float32)
    inputs = servable.signature.validate([Tensor(name="x", datatype="FP32", shape=(4, 4), data=x.tobytes())])
    outputs = (await servable.infer(inputs)).outputs
    assert outputs[0].shape == (4, 2)
    with pytest.raises(ModelUnloadable, match="the outputs do not have 2 rows"):
        load(not_a_batch(), ModelSettings(max_batch_size=4))


def test_a_model_that_refuses_made_up_inputs_still_loads_but_is_not_trusted(load: Load) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    ins = [tensor("x", FLOAT, ("N", "M")), tensor("shape", T.INT64, (2,))]
    servable = load(model(nodes, ins, [tensor("y", FLOAT, ("A", "B"))]))
    assert servable._batcher._queue._rule.max_rows == 0


def test_instances_and_queue_come_from_the_configuration(load: Load) -> None:
    servable = load(identity(), ModelSettings(instance_groups=(InstanceGroup(count=3), InstanceGroup())))
    assert servable._batcher._limits.instances == 4


async def test_providers_and_session_options_reach_onnxruntime(load: Load) -> None:
    other = next(name for name in ort.get_available_providers() if name != "CPUExecutionProvider")
    asked = {"intra_op_thread_count": "3", "inter_op_thread_count": "2", "execution_mode": "1", "enable_mem_arena": "0"}
    settings = ModelSettings(parameters=asked | {"enable_mem_pattern": "0"}, graph_level=2, accelerators=(other,))
    for servable in (load(scale(2), settings), load(scale(2), providers=(other,))):
        assert servable._model._session.get_providers() == [other, "CPUExecutionProvider"]
        x = np.ones((1, 4), np.float32)
        inputs = servable.signature.validate([Tensor(name="x", datatype="FP32", shape=(1, 4), data=x.tobytes())])
        assert np.frombuffer((await servable.infer(inputs)).outputs[0].data, np.float32).tolist() == [2.0] * 4
    options = load(scale(2), settings)._model._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


async def test_a_run_that_fails_names_the_model_and_not_the_inputs(load: Load) -> None:
    gather = helper.make_node("Gather", ["table", "x"], ["y"])
    from onnx import numpy_helper

    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    servable = load(model([gather], [tensor("x", T.INT64, ("N", 1))], [tensor("y", FLOAT, ("N", 1))], [table]))
    data = np.array([[424242]], np.int64).tobytes()
    with pytest.raises(ModelFailed, match=r"^model 'm' failed to run on these inputs$") as caught:
        await servable.infer(servable.signature.validate([Tensor(name="x", datatype="INT64", shape=(1, 1), data=data)]))
    assert "424242" not in str(caught.value)
    assert servable.statistics(now_ns=0, now_ms=0).fails == {"BACKEND": 1}


def warmup(fill: str = "zero", dims: tuple[int, ...] = (4,), count: int = 3, file: str = "") -> ModelSettings:
    given = WarmupInput(datatype="FP32", dims=dims, fill=fill, file=file)
    return ModelSettings(warmups=(WarmupSample(name="w", batch_size=2, inputs={"x": given}, count=count),))


@pytest.mark.parametrize("fill", ["zero", "random", "file"])
def test_configured_warm_ups_run_before_a_version_is_ready(load: Load, tmp_path: Path, fill: str) -> None:
    (tmp_path / "m" / "warmup").mkdir(parents=True)
    (tmp_path / "m" / "warmup" / "x.bin").write_bytes(bytes(32))
    assert load(identity(), warmup(fill, file="x.bin")).facts.batching


def test_a_warm_up_that_fails_refuses_the_version(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ModelUnloadable, match=r"warm-up 'w' failed: unexpected shape for input 'x'"):
        load(identity(), warmup(dims=(5,)))
    with pytest.raises(ModelUnloadable, match="No such file"):
        load(identity(), warmup("file", file="gone.bin"))
    (tmp_path / "secret").write_bytes(bytes(32))
    (tmp_path / "m" / "warmup").mkdir()
    with pytest.raises(ModelUnloadable, match="outside the model's directory"):
        load(identity(), warmup("file", file="../../secret"))


def test_names_that_are_not_text_are_refused_without_a_word_on_standard_output(
    load: Load, capfd: pytest.CaptureFixture[str]
) -> None:
    data = identity().replace(b"\x01x", b"\x01\xff")
    with pytest.raises(ModelUnloadable, match="not UTF-8"):
        load(data)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_refused_or_served_and_nothing_else(load: Load, seed: int) -> None:
    random = Random(seed)
    for _ in range(60):
        damaged = bytearray(random.choice([scale(2), identity(), mixing(), not_a_batch(), classifier(False)]))
        for _ in range(random.choice([1, 2, 8])):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        with contextlib.suppress(ModelUnloadable):
            load(bytes(damaged), run_limit_s=1)


def test_class_names_come_from_the_label_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "labels.txt").write_text("benign\nmalignant\n")
    output = TensorSettings(name="y", datatype="FP32", dims=(4,), label_filename="labels.txt")
    servable = load(identity(), ModelSettings(max_batch_size=4, outputs=(output,)))
    assert servable.signature.outputs[0].labels == ("benign", "malignant")
    missing = ModelSettings(max_batch_size=4, outputs=(replace(output, label_filename="gone.txt"),))
    with pytest.raises(ModelUnloadable, match=r"gone.txt: No such file"):
        load(identity(), missing)
