"""ONNX models by ONNX Runtime: the only file that knows it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import onnxruntime as ort

from gateway.errors import ModelFailed
from gateway.serving.completion import GraphTensor, complete, signature_of
from gateway.serving.datatypes import Array
from gateway.serving.model import ModelServable
from gateway.serving.pace import SHORT_NS, Pace
from gateway.serving.servable import Arrays, ModelUnloadable
from gateway.serving.settings import InstanceGroup, ModelSettings
from gateway.serving.version_files import Contents
from gateway.serving.warmup import attempt
from gateway.types import ModelFacts, ServableId

CPU = "CPUExecutionProvider"
BFLOAT16 = 16
"""``TensorProto.BFLOAT16``."""

VALUE_DRIVEN = frozenset({"Loop", "Range", "ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad"})
"""Operators whose cost depends on values, not on sizes: their models never run on the event loop."""

_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}


class Files(Protocol):
    """Where a version's bytes come from."""

    def size(self) -> int:
        """Bytes of all files, without reading them. Raises: ModelUnloadable."""
        ...

    def read(self) -> Contents:
        """Read and digest them. Raises: ModelUnloadable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """How models are run in this process; ``loader`` makes one version's loader.

    ``executor`` runs what is too long for the event loop. ``threads`` is the number of threads inside one
    run for models whose configuration says nothing, ``instances`` how many runs of one model may be under
    way at once. ``providers`` are execution providers in order of preference. ``inline_ns`` bounds a run
    on the event loop. ``default_max_batch_size`` is for models that can batch and do not say how much.
    """

    executor: Executor
    threads: int = 1
    instances: int = 2
    providers: tuple[str, ...] = (CPU,)
    inline_ns: int = SHORT_NS
    default_max_batch_size: int = 64
    clock_ns: Callable[[], int] = field(default=time.monotonic_ns)

    def loader(self, id_: ServableId, files: Files, settings: ModelSettings) -> OnnxLoader:
        """The loader of exactly ``id_``."""
        return OnnxLoader(id_, files, settings, self)


@dataclass(frozen=True, slots=True)
class OnnxLoader:
    """Loads one version: reads its files once, digests those bytes and hands the same bytes to the runtime."""

    id: ServableId
    files: Files
    settings: ModelSettings
    runtime: OnnxRuntime

    def estimate_bytes(self) -> int:
        """Three times the files, and 16 MiB: the bytes, the runtime's copy, and its pre-packed weights."""
        return 3 * self.files.size() + 16 * 1024 * 1024

    def load(self) -> ModelServable:
        """Read, check, build, complete, try. Raises: ModelUnloadable."""
        contents = self.files.read()
        if contents.digest != self.id.digest:
            raise ModelUnloadable(
                f"the files of '{self.id.name}' version {self.id.version} changed while they were loaded: "
                f"expected {self.id.digest}, read {contents.digest}"
            )
        model = OnnxModel(self.id.name, _session(contents, self.settings, self.runtime))
        operators = {name for _, name in contents.facts.operators}
        pace = Pace(0 if operators & VALUE_DRIVEN else self.runtime.inline_ns)
        return self._tried(model, pace, self.runtime.default_max_batch_size)

    def _tried(self, model: OnnxModel, pace: Pace, default_rows: int) -> ModelServable:
        settings = complete(self.settings, model.inputs, model.outputs, default_rows)
        if not settings.instance_groups:
            here = InstanceGroup(name=self.id.name, count=self.runtime.instances, kind="cpu")
            settings = replace(settings, instance_groups=(here,))
        model.select([tensor.name for tensor in settings.outputs])
        signature = signature_of(self.id.name, settings)
        trial = attempt(model, signature.inputs, settings.max_batch_size, pace, self.runtime.clock_ns)
        if trial.ran and settings.max_batch_size > 1 and not trial.leads:
            if self.settings.max_batch_size:
                raise ModelUnloadable(
                    f"max_batch_size is {settings.max_batch_size}, but for a batch of 2 rows "
                    f"the outputs of '{self.id.name}' do not have 2 rows"
                )
            return self._tried(model, pace, 0)
        return ModelServable(
            facts=ModelFacts(id=self.id, batching=settings.max_batch_size > 0, labels=settings.metric_tags),
            signature=signature,
            settings=settings,
            model=model,
            pace=pace,
            executor=self.runtime.executor,
            instances=_instances(settings),
            clock_ns=self.runtime.clock_ns,
        )


class OnnxModel:
    """A session and the names it is run with. Thread-safe: ONNX Runtime's ``run`` is, and releases the GIL."""

    def __init__(self, name: str, session: ort.InferenceSession) -> None:
        self._name = name
        self._session: ort.InferenceSession | None = session
        self.inputs = [_describe(arg) for arg in session.get_inputs()]
        self.outputs = [_describe(arg) for arg in session.get_outputs()]
        self._wanted = [tensor.name for tensor in self.outputs]
        self._values = any(tensor.datatype == "BF16" for tensor in (*self.inputs, *self.outputs))
        self._half = frozenset(tensor.name for tensor in self.inputs if tensor.datatype == "BF16")

    def select(self, outputs: Sequence[str]) -> None:
        """Compute only these outputs, in this order."""
        self._wanted = list(outputs)

    def run(self, inputs: Arrays) -> Sequence[Array]:
        """Run once. Raises: ModelFailed; its cause is the runtime's own error."""
        if self._session is None:
            raise ModelFailed(f"model '{self._name}' is closed")
        try:
            if self._values:
                return self._run_values(self._session, inputs)
            outputs: Sequence[Array] = self._session.run(self._wanted, inputs)
        except Exception as error:  # the runtime raises a dozen classes of its own
            raise ModelFailed(f"model '{self._name}' failed to run on these inputs") from error
        return outputs

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _run_values(self, session: ort.InferenceSession, inputs: Mapping[str, Array]) -> Sequence[Array]:
        """The way for BF16, which numpy lacks: its elements come and go as uint16."""
        feed = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), BFLOAT16)
            if name in self._half
            else ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        return [_array(value) for value in session.run_with_ort_values(self._wanted, feed)]


def _array(value: ort.OrtValue) -> Array:
    if value.element_type() != BFLOAT16:
        plain: Array = value.numpy()
        return plain
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.ndarray(tuple(value.shape()), np.dtype("<u2"), data)


def _describe(arg: ort.NodeArg) -> GraphTensor:
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in arg.shape or ())
    return GraphTensor(arg.name, _TYPES.get(arg.type, arg.type), shape)


def _instances(settings: ModelSettings) -> int:
    return sum(group.count or 1 for group in settings.instance_groups)


def _session(contents: Contents, settings: ModelSettings, runtime: OnnxRuntime) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(settings.parameters.get("intra_op_thread_count", runtime.threads))
    options.inter_op_num_threads = int(settings.parameters.get("inter_op_thread_count", "1"))
    if contents.external:
        names, blobs = list(contents.external), list(contents.external.values())
        options.add_external_initializers_from_files_in_memory(names, blobs, [len(blob) for blob in blobs])
    providers = list(settings.accelerators or runtime.providers)
    missing = [provider for provider in providers if provider not in ort.get_available_providers()]
    if missing:
        raise ModelUnloadable(
            f"execution provider {missing} is not in the installed onnxruntime, "
            f"which offers {ort.get_available_providers()}"
        )
    try:
        return ort.InferenceSession(contents.model, options, providers=providers)
    except Exception as error:  # the runtime raises a dozen classes of its own
        raise ModelUnloadable(f"ONNX Runtime cannot load the model: {error}") from error
