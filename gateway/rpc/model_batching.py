"""Schedulers, instances and warm-ups of a model's configuration, as values."""

from __future__ import annotations

from typing import Final, Literal

from gateway.serving.settings import DynamicBatching, InstanceGroup, QueuePolicy, WarmupInput, WarmupSample
from gateway.v1.model_config import DataType, ModelConfig, ModelInstanceGroup, ModelQueuePolicy, ModelWarmup

_KINDS: Final[dict[int, Literal["auto", "cpu", "gpu", "model"]]] = {
    ModelInstanceGroup.KIND_AUTO: "auto",
    ModelInstanceGroup.KIND_GPU: "gpu",
    ModelInstanceGroup.KIND_CPU: "cpu",
    ModelInstanceGroup.KIND_MODEL: "model",
}


def dynamic_batching(config: ModelConfig) -> DynamicBatching | None:
    """How requests are batched, None when the configuration does not say. Raises: ValueError."""
    if not config.HasField("dynamic_batching"):
        return None
    batching = config.dynamic_batching
    for size in batching.preferred_batch_size:
        if size < 1 or size > config.max_batch_size:
            raise ValueError(
                f"dynamic_batching prefers a batch of {size}, expected 1 to max_batch_size {config.max_batch_size}"
            )
    if batching.preserve_ordering and batching.priority_levels > 1:
        raise ValueError("dynamic_batching cannot both preserve_ordering and have several priority_levels")
    if batching.default_priority_level > batching.priority_levels:
        raise ValueError(
            f"dynamic_batching has default_priority_level {batching.default_priority_level}, "
            f"but priority_levels is {batching.priority_levels}"
        )
    queue = _queue(batching.default_queue_policy)
    if batching.preserve_ordering and queue.timeout_action == "delay":
        raise ValueError("dynamic_batching cannot both preserve_ordering and DELAY what timed out")
    return DynamicBatching(
        preferred_batch_size=tuple(batching.preferred_batch_size),
        max_queue_delay_us=batching.max_queue_delay_microseconds,
        preserve_ordering=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
        queue=queue,
        priority_queues={level: _queue(policy) for level, policy in batching.priority_queue_policy.items()},
    )


def _queue(policy: ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        timeout_action="delay" if policy.timeout_action == ModelQueuePolicy.DELAY else "reject",
        default_timeout_us=policy.default_timeout_microseconds,
        allow_timeout_override=policy.allow_timeout_override,
        max_queue_size=policy.max_queue_size,
    )


def instance_groups(config: ModelConfig) -> tuple[InstanceGroup, ...]:
    """How many runs may be under way at once. Raises: ValueError."""
    for group in config.instance_group:
        if group.count < 0:
            raise ValueError(f"instance_group '{group.name}' has the count {group.count}, expected 1 or more")
    return tuple(
        InstanceGroup(name=group.name, count=group.count, kind=_KINDS[group.kind]) for group in config.instance_group
    )


def warmups(config: ModelConfig) -> tuple[WarmupSample, ...]:
    """What runs before a version is ready. Raises: ValueError."""
    return tuple(
        WarmupSample(
            name=sample.name,
            batch_size=sample.batch_size,
            inputs={name: _warmup_input(sample.name, name, value) for name, value in sample.inputs.items()},
            count=sample.count or 1,
        )
        for sample in config.model_warmup
    )


def _warmup_input(sample: str, name: str, value: ModelWarmup.Input) -> WarmupInput:
    where = f"input '{name}' of warm-up '{sample}'"
    datatype = DataType.Name(value.data_type).removeprefix("TYPE_")
    if datatype == "INVALID":
        raise ValueError(f"{where} has no data_type")
    if any(size < 0 for size in value.dims):
        raise ValueError(f"{where} has the dims {list(value.dims)}, expected no free dimension")
    chosen = value.WhichOneof("input_data_type")
    fill: Literal["zero", "random", "file"] = (
        "file" if chosen == "input_data_file" else "random" if chosen == "random_data" else "zero"
    )
    return WarmupInput(
        datatype="BYTES" if datatype == "STRING" else datatype,
        dims=tuple(value.dims),
        fill=fill,
        file=value.input_data_file,
    )
