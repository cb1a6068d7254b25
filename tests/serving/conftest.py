"""What every test of the runtime needs: threads, a manager, permits."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.serving.model import ModelServable
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.settings import ModelSettings
from gateway.serving.version_files import VersionFiles
from gateway.types import ServableId

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def runtime(executor: ThreadPoolExecutor) -> OnnxRuntime:
    """ONNX Runtime as a worker uses it."""
    return OnnxRuntime(executor=executor)


@pytest.fixture
def load(tmp_path: Path, runtime: OnnxRuntime) -> Callable[..., ModelServable]:
    """Write a model and load it as version 1 of ``m``."""

    def do(data: bytes, settings: ModelSettings | None = None, **options: object) -> ModelServable:
        path = tmp_path / "m" / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files = VersionFiles(tmp_path / "m", path)
        id_ = ServableId("m", "1", f"sha256:{hashlib.sha256(data).hexdigest()}")
        return replace(runtime, **options).loader(id_, files, settings or ModelSettings()).load()

    return do
