"""config.pbtxt and JSON to settings, and settings completed to the answer of ModelConfig."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import text_format

from gateway.rpc.model_config import parse, parse_json
from gateway.rpc.model_config_answer import render
from gateway.serving.settings import (
    DynamicBatching,
    InstanceGroup,
    ModelSettings,
    QueuePolicy,
    TensorSettings,
    VersionPolicy,
    WarmupInput,
    WarmupSample,
)
from gateway.v1.model_config import ModelConfig

FULL = """
# a comment
name: "credit"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } optional: true } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ -1 ] label_filename: "labels.txt" } ]
version_policy: { specific: { versions: [ 1, 3 ] } }
instance_group [ { count: 2 kind: KIND_CPU }, { name: "b" } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 allow_timeout_override: true }
  priority_queue_policy { key: 2 value { max_queue_size: 7 } }
}
optimization {
  graph { level: -1 }
  cuda { graphs: true }
  execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] }
}
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
model_warmup [ {
  name: "w" batch_size: 2 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] random_data: true } }
} ]
response_cache { enable: true }
metric_tags { key: "team" value: "risk" }
"""


def test_every_field_that_applies_is_read():
    settings = parse(FULL)
    assert replace(settings, given=b"") == ModelSettings(
        name="credit",
        backend="onnxruntime",
        max_batch_size=8,
        inputs=(TensorSettings(name="x", datatype="FP32", dims=(1,), reshape=(), optional=True),),
        outputs=(TensorSettings(name="y", datatype="BYTES", dims=(-1,), label_filename="labels.txt"),),
        version_policy=VersionPolicy(kind="specific", versions=(1, 3)),
        instance_groups=(InstanceGroup(count=2, kind="cpu"), InstanceGroup(name="b")),
        dynamic_batching=DynamicBatching(
            preferred_batch_size=(4, 8),
            max_queue_delay_us=100,
            priority_levels=2,
            default_priority_level=1,
            queue=QueuePolicy(timeout_action="delay", default_timeout_us=5, allow_timeout_override=True),
            priority_queues={2: QueuePolicy(max_queue_size=7)},
        ),
        graph_level=-1,
        accelerators=("OpenVINOExecutionProvider",),
        parameters={"intra_op_thread_count": "2"},
        warmups=(
            WarmupSample(name="w", batch_size=2, inputs={"x": WarmupInput(datatype="FP32", dims=(1,), fill="random")}),
        ),
        response_cache=True,
        metric_tags={"team": "risk"},
    )


def test_an_empty_file_is_all_defaults():
    assert replace(parse(""), given=b"") == ModelSettings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: 3", "1:7"),
        ("\nmax_batch: 4", "2:1"),
        ("max_batch_size: -1", "max_batch_size must not be negative"),
        ('input [ { name: "x" dims: [ 1 ] } ]', "input 'x' has no data_type"),
        ('input [ { name: "x" data_type: TYPE_FP32 } ]', "input 'x' has no dims"),
        ('output [ { name: "y" data_type: TYPE_FP32 dims: [ 0 ] } ]', "output 'y' has the dimension 0"),
        ("input [ { data_type: TYPE_FP32 dims: [ 1 ] } ]", "an input has no name"),
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 5 ] }", "prefers a batch of 5"),
        ("dynamic_batching { preserve_ordering: true priority_levels: 2 }", "cannot both"),
        ("version_policy { specific { } }", "names no versions"),
        ("instance_group [ { count: -1 } ]", "count -1"),
    ],
)
def test_what_is_wrong_is_named(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("sequence_batching { }", "sequence_batching"),
        ("ensemble_scheduling { }", "ensemble_scheduling"),
        ("model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled"),
    ],
)
def test_what_is_not_served_is_named(text, asked):
    assert parse(text).unsupported == (asked,)


def test_json_takes_numbers_as_text_and_refuses_unknown_keys():
    assert parse_json('{"max_batch_size": "4", "backend": "onnxruntime"}').max_batch_size == 4
    with pytest.raises(ValueError, match="max_batch"):
        parse_json('{"max_batch": 4}')
    with pytest.raises(ValueError, match="JSON"):
        parse_json("{")


COMPLETED = ModelSettings(
    platform="onnxruntime_onnx",
    backend="onnxruntime",
    default_model_filename="model.onnx",
    max_batch_size=64,
    inputs=(TensorSettings(name="x", datatype="FP32", dims=(30,)),),
    outputs=(TensorSettings(name="y", datatype="BYTES", dims=(1,), reshape=()),),
    dynamic_batching=DynamicBatching(),
    instance_groups=(InstanceGroup(name="credit", count=2, kind="cpu"),),
)


def test_a_completed_configuration_is_answered_normalised():
    expected = """
      name: "credit" platform: "onnxruntime_onnx" backend: "onnxruntime" default_model_filename: "model.onnx"
      version_policy { latest { num_versions: 1 } } max_batch_size: 64
      input { name: "x" data_type: TYPE_FP32 dims: 30 }
      output { name: "y" data_type: TYPE_STRING dims: 1 reshape { } }
      instance_group { name: "credit" count: 2 kind: KIND_CPU }
      dynamic_batching { preferred_batch_size: 64 }
      optimization { input_pinned_memory { enable: true } output_pinned_memory { enable: true } }
    """
    assert render(COMPLETED, "credit") == text_format.Parse(expected, ModelConfig())


def test_what_was_given_is_answered_as_given():
    given = parse(FULL)
    completed = replace(given, platform="onnxruntime_onnx", default_model_filename="model.onnx")
    answer = render(completed, "credit")
    assert answer.optimization.cuda.graphs
    assert list(answer.dynamic_batching.preferred_batch_size) == [4, 8]
    assert [(g.name, g.count) for g in answer.instance_group] == [("credit_0", 2), ("b", 1)]
    assert answer.input[0].optional
    assert answer.metric_tags["team"] == "risk"
    assert parse(text_format.MessageToString(answer)).inputs == given.inputs
