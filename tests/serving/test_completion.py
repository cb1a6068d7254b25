"""Completing settings from a graph: Triton's rules, and each contradiction in words."""

from __future__ import annotations

import pytest

from gateway.serving.completion import GraphTensor, complete, signature_of
from gateway.serving.servable import ModelUnloadable
from gateway.serving.settings import ModelSettings, TensorSettings
from gateway.serving.spec import TensorSpec

X, Y = GraphTensor("x", "FP32", (-1, 4)), GraphTensor("y", "FP32", (-1, 2))
FIXED = GraphTensor("x", "FP32", (1, 4))
SCALAR = GraphTensor("s", "INT64", ())
GIVEN_X, GIVEN_Y = (
    TensorSettings(name="x", datatype="FP32", dims=(4,)),
    TensorSettings(name="y", datatype="FP32", dims=(2,)),
)


def refused(settings: ModelSettings, inputs: list[GraphTensor], outputs: list[GraphTensor]) -> str:
    with pytest.raises(ModelUnloadable) as caught:
        complete(settings, inputs, outputs, 4)
    return str(caught.value)


def test_a_graph_that_can_batch_gets_the_default_size_and_dynamic_batching() -> None:
    done = complete(ModelSettings(), [X], [Y], 4)
    assert (done.platform, done.backend, done.max_batch_size) == ("onnxruntime_onnx", "onnxruntime", 4)
    assert done.inputs == (GIVEN_X,)
    assert done.outputs == (GIVEN_Y,)
    assert done.dynamic_batching is not None
    signature = signature_of("m", done)
    assert signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert signature.outputs == (TensorSpec("y", "FP32", (-1, 2)),)


def test_one_tensor_with_a_fixed_first_dimension_means_no_batching() -> None:
    done = complete(ModelSettings(), [FIXED], [Y], 4)
    assert done.max_batch_size == 0
    assert done.dynamic_batching is None
    assert signature_of("m", done).inputs == (TensorSpec("x", "FP32", (1, 4)),)


def test_a_scalar_is_written_as_one_element() -> None:
    done = complete(ModelSettings(), [SCALAR], [Y], 4)
    assert done.inputs == (TensorSettings(name="s", datatype="INT64", dims=(1,), reshape=(), scalar=True),)
    per_row = complete(ModelSettings(), [GraphTensor("s", "INT64", (-1,))], [Y], 4)
    assert signature_of("m", per_row).inputs == (TensorSpec("s", "INT64", (-1,), scalar=True),)


def test_whole_shapes_in_the_file_mean_no_batching() -> None:
    whole = TensorSettings(name="x", datatype="FP32", dims=(-1, 4))
    assert complete(ModelSettings(inputs=(whole,)), [X], [Y], 4).max_batch_size == 0
    rows = complete(ModelSettings(inputs=(GIVEN_X,)), [X], [Y], 4)
    assert rows.max_batch_size == 4


def test_inputs_may_be_narrower_than_the_graph() -> None:
    wide = GraphTensor("x", "FP32", (-1, -1))
    done = complete(ModelSettings(max_batch_size=8, inputs=(GIVEN_X,)), [wide], [Y], 4)
    assert signature_of("m", done).inputs[0].shape == (-1, 4)


def test_only_some_outputs_may_be_served() -> None:
    odd = GraphTensor("probabilities", "seq(map(int64,tensor(float)))", ())
    done = complete(ModelSettings(max_batch_size=8, outputs=(GIVEN_Y,)), [X], [Y], 4)
    assert [tensor.name for tensor in done.outputs] == ["y"]
    assert "zipmap" in refused(ModelSettings(), [X], [odd])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ModelSettings(backend="python"), "backend 'python' is not served here"),
        (ModelSettings(platform="tensorrt_plan"), "platform 'tensorrt_plan' is not served here"),
        (ModelSettings(unsupported=("sequence_batching",)), "asks for what is not served here"),
        (ModelSettings(max_batch_size=-1), "must not be negative, got -1"),
        (ModelSettings(outputs=(GIVEN_X,)), "output 'x' of the configuration is not in the graph, which has ['y']"),
        (ModelSettings(max_batch_size=2, outputs=(GIVEN_Y, GIVEN_Y)), "output 'y' of the configuration appears twice"),
        (
            ModelSettings(max_batch_size=2, inputs=(TensorSettings(name="x", datatype="INT8", dims=(4,)),)),
            "input 'x' is INT8 in the configuration but FP32 in the graph",
        ),
        (
            ModelSettings(max_batch_size=2, inputs=(TensorSettings(name="x", datatype="FP32", dims=(5,)),)),
            "input 'x' has shape [-1, 5] in the configuration but [-1, 4] in the graph",
        ),
        (
            ModelSettings(
                max_batch_size=2, inputs=(TensorSettings(name="x", datatype="FP32", dims=(3,), reshape=(4,)),)
            ),
            "cannot be reshaped from [3] to [4]: the number of elements differs",
        ),
    ],
)
def test_what_contradicts_the_graph_is_named(settings: ModelSettings, words: str) -> None:
    assert words in refused(settings, [X], [Y])


def test_batching_that_the_graph_cannot_do_is_refused_with_the_tensor() -> None:
    words = refused(ModelSettings(max_batch_size=8), [FIXED], [Y])
    assert "does not support batching while non-zero max_batch_size is specified" in words
    assert "'x' [1, 4]" in words


def test_an_input_that_the_configuration_forgot_is_named() -> None:
    other = GraphTensor("z", "FP32", (-1, 4))
    assert "has no input ['z']" in refused(ModelSettings(max_batch_size=8, inputs=(GIVEN_X,)), [X, other], [Y])
