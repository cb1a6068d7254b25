"""What an operator may say about a model: the part of Triton's ``config.pbtxt`` that applies here.

Values only. ``rpc/model_config.py`` reads them from text and writes them to the wire; ``serving``
completes them from the graph. "Unset" is 0, "" or an empty tuple, as in the protobuf message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

LABEL_PREFIX = "version_label."


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSettings:
    """One input or output as configured.

    ``dims`` leave the batch dimension out when the model batches; -1 is free. ``datatype`` is an OIP name
    ("FP32", "BYTES", ...). ``reshape`` is what the graph sees in place of ``dims`` (None: the same). ``scalar``
    marks what was filled in for a tensor without dimensions: ModelConfig must say ``dims: [1]`` and an empty
    ``reshape``, but callers get the graph's own shape.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None = None
    optional: bool = False
    allow_ragged_batch: bool = False
    label_filename: str = ""
    scalar: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which versions of a directory are served: the ``latest`` n, all, or exactly ``versions``."""

    kind: Literal["latest", "all", "specific"] = "latest"
    num_versions: int = 1
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How a queue ends waiting. ``max_queue_size`` 0 takes the gateway's own bound."""

    timeout_action: Literal["reject", "delay"] = "reject"
    default_timeout_us: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Batching while busy. ``max_queue_delay_us`` > 0 waits that long for a preferred size."""

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    queue: QueuePolicy = QueuePolicy()
    priority_queues: Mapping[int, QueuePolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """``count`` executions of the model may run at once."""

    name: str = ""
    count: int = 0
    kind: Literal["auto", "cpu", "gpu", "model"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInput:
    """One input of a warm-up sample. ``dims`` leave the batch dimension out; ``file`` lies in ``warmup/``."""

    datatype: str
    dims: tuple[int, ...]
    fill: Literal["zero", "random", "file"] = "zero"
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupSample:
    """A request that runs ``count`` times before a version becomes ready; ``batch_size`` 0 skips it."""

    name: str
    batch_size: int = 0
    inputs: Mapping[str, WarmupInput] = field(default_factory=dict)
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model's configuration, before or after completion from its graph.

    ``max_batch_size`` 0 means "not given" before completion and "does not batch" after it.
    ``dynamic_batching`` is None when the file has none. ``parameters`` are the backend's
    (``intra_op_thread_count``, ...).
    ``accelerators`` are execution providers in order of preference. ``unsupported`` names what the file asks
    for and this server does not do (``sequence_batching``, ``ensemble_scheduling``, decoupled, ...).
    ``given`` is the configuration as it was given, in the wire's own form, so that it can be answered whole.
    """

    name: str = ""
    platform: str = ""
    backend: str = ""
    default_model_filename: str = ""
    max_batch_size: int = 0
    inputs: tuple[TensorSettings, ...] = ()
    outputs: tuple[TensorSettings, ...] = ()
    version_policy: VersionPolicy = VersionPolicy()
    dynamic_batching: DynamicBatching | None = None
    instance_groups: tuple[InstanceGroup, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    graph_level: int = 0
    accelerators: tuple[str, ...] = ()
    op_libraries: tuple[str, ...] = ()
    warmups: tuple[WarmupSample, ...] = ()
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    response_cache: bool = False
    unsupported: tuple[str, ...] = ()

    @property
    def version_labels(self) -> Mapping[str, str]:
        """Other names of versions: the parameters ``version_label.<label>``, whose values are versions."""
        return {
            key.removeprefix(LABEL_PREFIX): value
            for key, value in self.parameters.items()
            if key.startswith(LABEL_PREFIX)
        }

    given: bytes = b""
