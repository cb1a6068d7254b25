"""A model's configuration between text, wire and values: ``config.pbtxt``, JSON overrides, the ModelConfig answer.

Every field of the message parses; ``unsupported`` names those that ask for what is not served here, and what
neither applies nor harms (pinned memory, CUDA graphs, metric tags of GPUs) is returned as it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf import json_format, text_format

from gateway.rpc.model_batching import dynamic_batching, instance_groups, warmups
from gateway.serving.settings import ModelSettings, TensorSettings, VersionPolicy
from gateway.v1.model_config import DataType, ModelConfig, ModelInput, ModelOutput, ModelVersionPolicy

_OPENVINO = "OpenVINOExecutionProvider"
_PROVIDERS = {
    "openvino": _OPENVINO,
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}


def parse(text: str) -> ModelSettings:
    """The settings in the text of a ``config.pbtxt``.

    Raises: ValueError saying where (line:column) and what is wrong.
    """
    try:
        config = text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(str(error)) from None
    return settings_of(config)


def parse_json(text: str) -> ModelSettings:
    """The settings in a JSON ModelConfig, as load requests carry it; numbers may be strings.

    Raises: ValueError, also for an unknown key.
    """
    try:
        config = json_format.Parse(text, ModelConfig())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    return settings_of(config)


def settings_of(config: ModelConfig) -> ModelSettings:
    """The settings that ``config`` means. Raises: ValueError naming field and value."""
    if config.max_batch_size < 0:
        raise ValueError(f"max_batch_size must not be negative, got {config.max_batch_size}")
    accelerators = config.optimization.execution_accelerators
    wanted = [*accelerators.gpu_execution_accelerator, *accelerators.cpu_execution_accelerator]
    return ModelSettings(
        name=config.name,
        platform=config.platform,
        backend=config.backend,
        default_model_filename=config.default_model_filename,
        max_batch_size=config.max_batch_size,
        inputs=tuple(_input(tensor) for tensor in config.input),
        outputs=tuple(_output(tensor) for tensor in config.output),
        version_policy=_version_policy(config.version_policy),
        dynamic_batching=dynamic_batching(config),
        instance_groups=instance_groups(config),
        parameters={key: value.string_value for key, value in config.parameters.items()},
        graph_level=config.optimization.graph.level,
        accelerators=tuple(_PROVIDERS.get(a.name, a.name) for a in wanted),
        op_libraries=tuple(config.model_operations.op_library_filename),
        warmups=warmups(config),
        metric_tags=dict(config.metric_tags),
        response_cache=config.response_cache.enable,
        unsupported=tuple(_unsupported(config)),
        given=config.SerializeToString(deterministic=True),
    )


def _input(tensor: ModelInput) -> TensorSettings:
    return TensorSettings(
        name=_named(tensor.name, "input"),
        datatype=datatype_of(tensor.data_type, f"input '{tensor.name}'"),
        dims=_dims(tensor, "input"),
        reshape=tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        optional=tensor.optional,
        allow_ragged_batch=tensor.allow_ragged_batch,
    )


def _output(tensor: ModelOutput) -> TensorSettings:
    return TensorSettings(
        name=_named(tensor.name, "output"),
        datatype=datatype_of(tensor.data_type, f"output '{tensor.name}'"),
        dims=_dims(tensor, "output"),
        reshape=tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None,
        label_filename=tensor.label_filename,
    )


def datatype_of(number: int, where: str) -> str:
    """The protocol's name of a configured datatype. Raises: ValueError."""
    if not number:
        raise ValueError(f"{where} has no data_type; write one such as TYPE_FP32")
    try:
        name = DataType.Name(number).removeprefix("TYPE_")
    except ValueError:
        raise ValueError(f"{where} has the unknown data_type {number}") from None
    return "BYTES" if name == "STRING" else name


def datatype_to(name: str) -> str:
    """The configured name of a datatype; the inverse of ``datatype_of``."""
    return f"TYPE_{'STRING' if name == 'BYTES' else name}"


def _named(name: str, kind: str) -> str:
    if not name:
        raise ValueError(f"an {kind} has no name")
    return name


def _dims(tensor: ModelInput | ModelOutput, kind: str) -> tuple[int, ...]:
    if not tensor.dims:
        raise ValueError(f"{kind} '{tensor.name}' has no dims; a scalar is dims: [ 1 ] with reshape {{ shape: [ ] }}")
    for size in tensor.dims:
        if size == 0 or size < -1:
            raise ValueError(f"{kind} '{tensor.name}' has the dimension {size}, expected -1 (free) or 1 and more")
    return tuple(tensor.dims)


def _version_policy(policy: ModelVersionPolicy) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(kind="all")
        case "specific":
            if not policy.specific.versions:
                raise ValueError("version_policy specific names no versions")
            return VersionPolicy(kind="specific", versions=tuple(policy.specific.versions))
        case _:
            return VersionPolicy(kind="latest", num_versions=policy.latest.num_versions or 1)


def _unsupported(config: ModelConfig) -> Iterable[str]:
    asked: Mapping[str, bool] = {
        "sequence_batching": config.HasField("sequence_batching"),
        "ensemble_scheduling": config.HasField("ensemble_scheduling"),
        "model_transaction_policy.decoupled": config.model_transaction_policy.decoupled,
        "batch_input": bool(config.batch_input),
        "batch_output": bool(config.batch_output),
        "runtime": bool(config.runtime),
        "is_shape_tensor": any(t.is_shape_tensor for t in config.input)
        or any(t.is_shape_tensor for t in config.output),
        "model_repository_agents": bool(config.model_repository_agents.agents),
    }
    return (name for name, present in asked.items() if present)
