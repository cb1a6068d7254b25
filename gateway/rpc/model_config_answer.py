"""The normalised configuration of a loaded model: what was given, what the graph completed, Triton's defaults."""

from __future__ import annotations

from gateway.rpc.model_config import datatype_to
from gateway.serving.settings import ModelSettings, TensorSettings
from gateway.v1.model_config import ModelConfig, ModelInput, ModelInstanceGroup, ModelOutput


def render(settings: ModelSettings, name: str) -> ModelConfig:
    """The configuration of model ``name``, completed, as ModelConfig answers it.

    perf_analyzer and tritonclient read it; they expect inputs and outputs as ModelMetadata names them.
    """
    config = ModelConfig.FromString(settings.given)
    config.name = name
    config.platform = settings.platform
    config.backend = settings.backend
    config.default_model_filename = settings.default_model_filename
    config.max_batch_size = settings.max_batch_size
    if not config.version_policy.WhichOneof("policy_choice"):
        config.version_policy.latest.num_versions = 1
    if not config.input:
        config.input.extend(_input(tensor) for tensor in settings.inputs)
    if not config.output:
        config.output.extend(_output(tensor) for tensor in settings.outputs)
    _schedule(config, settings)
    _instances(config, settings)
    for memory in (config.optimization.input_pinned_memory, config.optimization.output_pinned_memory):
        memory.enable = True
    return config


def _schedule(config: ModelConfig, settings: ModelSettings) -> None:
    if settings.dynamic_batching is None or settings.max_batch_size < 1:
        return
    config.dynamic_batching.SetInParent()
    if not config.dynamic_batching.preferred_batch_size:
        config.dynamic_batching.preferred_batch_size.append(settings.max_batch_size)


def _instances(config: ModelConfig, settings: ModelSettings) -> None:
    if not config.instance_group:
        for here in settings.instance_groups:
            config.instance_group.add(name=here.name or config.name, count=here.count)
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{index}"
        group.count = group.count or 1
        if group.kind == ModelInstanceGroup.KIND_AUTO:
            group.kind = ModelInstanceGroup.KIND_CPU


def _input(tensor: TensorSettings) -> ModelInput:
    made = ModelInput(name=tensor.name, data_type=datatype_to(tensor.datatype), dims=tensor.dims)
    if tensor.reshape is not None:
        made.reshape.shape.extend(tensor.reshape)
        made.reshape.SetInParent()
    return made


def _output(tensor: TensorSettings) -> ModelOutput:
    made = ModelOutput(name=tensor.name, data_type=datatype_to(tensor.datatype), dims=tensor.dims)
    if tensor.reshape is not None:
        made.reshape.shape.extend(tensor.reshape)
        made.reshape.SetInParent()
    return made
