"""ONNX models by ONNX Runtime: the only file that knows it."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnxruntime as ort

from gateway.errors import ModelFailed
from gateway.serving.assembly import assemble
from gateway.serving.completion import GraphTensor
from gateway.serving.datatypes import Array
from gateway.serving.load_journal import LoadJournal
from gateway.serving.model import ModelServable
from gateway.serving.pace import SHORT_NS, Pace
from gateway.serving.servable import Arrays, ModelUnloadable
from gateway.serving.settings import ModelSettings
from gateway.serving.time_limit import TimeLimit
from gateway.serving.version_files import Contents
from gateway.types import ServableId

CPU = "CPUExecutionProvider"
BFLOAT16 = 16
"""``TensorProto.BFLOAT16``."""

VALUE_DRIVEN = frozenset({"Loop", "Range", "ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad"})
"""Operators whose cost depends on values, not on sizes: their models never run on the event loop, and every run of
them has a time limit, for one input may ask for an endless loop."""

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


_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Triton's names of accelerators."""

_GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
"""Triton's ``optimization.graph.level``."""


class Files(Protocol):
    """Where a version's bytes come from; its text names the place."""

    def size(self) -> int:
        """Bytes of all files, without reading them. Raises: ModelUnloadable."""
        ...

    def read(self) -> Contents:
        """Read and digest them. Raises: ModelUnloadable."""
        ...

    def beside(self, path: str) -> bytes:
        """A file of the model's directory, by its path in there. Raises: ModelUnloadable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """How models are run in this process; ``loader`` makes one version's loader.

    ``executor`` runs what is too long for the event loop. ``threads`` is the number of threads inside one
    run for models whose configuration says nothing (0: the runtime's choice), ``instances`` how many runs of
    one model may be under way at once, ``max_queue`` how many calls may wait for it and ``budget_ns`` how long (0: no
    bound). ``providers`` are execution providers in order of preference. ``inline_ns`` bounds a run on the event loop;
    0 allows none. ``default_max_batch_size`` is for models that can batch and do not say how much. ``op_libraries`` are
    the custom-operator libraries that models may ask for, by path. ``journal`` refuses what killed this worker before.
    """

    executor: Executor
    threads: int = 1
    instances: int = 2
    max_queue: int = 1024
    budget_ns: int = 0
    providers: tuple[str, ...] = (CPU,)
    inline_ns: int = SHORT_NS
    run_limit_s: float = 30.0
    default_max_batch_size: int = 64
    op_libraries: frozenset[str] = frozenset()
    journal: LoadJournal | None = None
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
        """Read, check, build, complete, try. Raises: ModelUnloadable naming the file and the cause."""
        contents = self.files.read()
        if contents.digest != self.id.digest:
            raise ModelUnloadable(
                f"{self.files}: changed while it was loaded: expected {self.id.digest}, read {contents.digest}"
            )
        journal = self.runtime.journal
        try:
            with journal.loading(self.id.digest) if journal else nullcontext():
                return self._built(contents)
        except UnicodeDecodeError as error:
            raise ModelUnloadable(f"{self.files}: a name in it is not UTF-8: {error.reason}") from error
        except ModelUnloadable as error:
            raise ModelUnloadable(f"{self.files}: {error}") from error

    def _built(self, contents: Contents) -> ModelServable:
        session = _session(contents, self.settings, self.runtime)
        by_value = bool({name for _, name in contents.facts.operators} & VALUE_DRIVEN)
        model = OnnxModel(self.id.name, session, self.runtime.run_limit_s if by_value else 0)
        batching = self.settings.dynamic_batching
        in_order = batching is not None and batching.preserve_ordering  # one queue keeps it, not a queue and the loop
        pace = Pace(0 if by_value or in_order else self.runtime.inline_ns)
        return assemble(self.id, self.settings, model, pace, self.runtime, self.files.beside)


class OnnxModel:
    """A session and the names it is run with. Thread-safe: ONNX Runtime's ``run`` is, and releases the GIL."""

    def __init__(self, name: str, session: ort.InferenceSession, limit_s: float = 0) -> None:
        """``limit_s`` ends a run that takes longer; 0 for no limit."""
        self._name = name
        self._limit_s = limit_s
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
        session = self._session
        if session is None:
            raise ModelFailed(f"model '{self._name}' is closed")
        if not self._limit_s:
            return self._run(session, inputs, None)
        options = ort.RunOptions()
        with TimeLimit(self._limit_s, lambda: setattr(options, "terminate", True)) as limit:
            try:
                return self._run(session, inputs, options)
            except ModelFailed as error:
                if not limit.passed:
                    raise
                raise ModelFailed(f"model '{self._name}' was stopped after {self._limit_s:g} s") from error

    def _run(self, session: ort.InferenceSession, inputs: Arrays, options: ort.RunOptions | None) -> Sequence[Array]:
        try:
            if self._values:
                return self._run_values(session, inputs, options)
            outputs: Sequence[Array] = session.run(self._wanted, inputs, options)
        except Exception as error:  # the runtime raises a dozen classes of its own
            raise ModelFailed(f"model '{self._name}' failed to run on these inputs") from error
        return outputs

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _run_values(
        self, session: ort.InferenceSession, inputs: Mapping[str, Array], options: ort.RunOptions | None
    ) -> Sequence[Array]:
        """The way for BF16, which numpy lacks: its elements come and go as uint16."""
        feed = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), BFLOAT16)
            if name in self._half
            else ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        return [_array(value) for value in session.run_with_ort_values(self._wanted, feed, options)]


def _array(value: ort.OrtValue) -> Array:
    if value.element_type() != BFLOAT16:
        plain: Array = value.numpy()
        return plain
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.ndarray(tuple(value.shape()), np.dtype("<u2"), data)


def _describe(arg: ort.NodeArg) -> GraphTensor:
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in arg.shape or ())
    return GraphTensor(arg.name, _TYPES.get(arg.type, arg.type), shape)


def _session(contents: Contents, settings: ModelSettings, runtime: OnnxRuntime) -> ort.InferenceSession:
    options = _options(settings, runtime)
    if contents.external:
        # The runtime copies them while it builds the session, so they need not outlive this call.
        names, blobs = list(contents.external), list(contents.external.values())
        options.add_external_initializers_from_files_in_memory(names, blobs, [len(blob) for blob in blobs])
    try:
        providers = _providers(settings, runtime)
        # Without fallback: it prints to standard output and hides the first error.
        return ort.InferenceSession(contents.model, options, providers=providers, enable_fallback=0)
    except ModelUnloadable:
        raise
    except Exception as error:  # the runtime raises a dozen classes of its own
        raise ModelUnloadable(f"ONNX Runtime cannot load it: {brief(str(error))}") from error


def _options(settings: ModelSettings, runtime: OnnxRuntime) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what matters comes back as an error
    options.intra_op_num_threads = _number(settings, "intra_op_thread_count", runtime.threads)
    options.inter_op_num_threads = _number(settings, "inter_op_thread_count", 1)
    if _number(settings, "execution_mode", 0):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = bool(_number(settings, "enable_mem_arena", 1))
    options.enable_mem_pattern = bool(_number(settings, "enable_mem_pattern", 1))
    options.graph_optimization_level = _GRAPH_LEVELS[settings.graph_level]
    # Threads that spin between runs would take the core from the event loop and from other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for library in settings.op_libraries:
        if library not in runtime.op_libraries:
            allowed = sorted(runtime.op_libraries)
            raise ModelUnloadable(f"custom-operator library '{library}' is not allow-listed; allowed: {allowed}")
        try:
            options.register_custom_ops_library(library)
        except Exception as error:  # the runtime raises a dozen classes of its own
            raise ModelUnloadable(
                f"custom-operator library '{library}' cannot be loaded: {brief(str(error))}"
            ) from error
    return options


def _number(settings: ModelSettings, key: str, default: int) -> int:
    text = settings.parameters.get(key, "")
    if text and not text.isdecimal():
        raise ModelUnloadable(f"parameter {key} must be a whole number, got '{text}'")
    return int(text) if text else default


def _providers(settings: ModelSettings, runtime: OnnxRuntime) -> list[str]:
    """The execution providers asked for, and the CPU for whatever they cannot run."""
    wanted = [_PROVIDERS.get(name, name) for name in settings.accelerators] or list(runtime.providers)
    if any(group.kind == "gpu" for group in settings.instance_groups):
        wanted.insert(0, _PROVIDERS["cuda"])
    missing = [name for name in wanted if name not in ort.get_available_providers()]
    if missing:
        offered = ort.get_available_providers()
        raise ModelUnloadable(f"execution provider {missing} is not in the installed onnxruntime, which has {offered}")
    return [*dict.fromkeys([*wanted, CPU])]


def brief(text: str) -> str:
    """The runtime's message in one line: without its prefix and the place in its source."""
    line = " ".join(text.split())
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    line = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", line)
    return line[:400]
