"""The example models' held-out rows, as their inputs want them, and what ONNX Runtime itself says about them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True)
class Example:
    """One model: the name and shape of its input, whose ``width`` is that of a row of the CSV file."""

    name: str
    input: str
    shape: tuple[int, ...]
    datatype: str = "FP32"


BREAST_CANCER = Example("breast-cancer", "features", (30,))
DIGITS = Example("digits", "image", (8, 8))
DIABETES = Example("diabetes", "measurements", (10,))
SENTIMENT = Example("sentiment", "text", (1,), "BYTES")
ALL = (BREAST_CANCER, DIGITS, DIABETES, SENTIMENT)


def truths(example: Example) -> np.ndarray:
    """The first column of the held-out rows, as text."""
    return _table(example)[:, 0]


def inputs(example: Example) -> np.ndarray:
    """The held-out rows as one batch."""
    fields = _table(example)[:, 1:]
    typed = fields if example.datatype == "BYTES" else fields.astype(np.float32)
    return typed.reshape(-1, *example.shape)


def session(example: Example) -> onnxruntime.InferenceSession:
    """The model in plain ONNX Runtime."""
    path = EXAMPLES / "models" / example.name / "1" / "model.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def outputs(runtime: onnxruntime.InferenceSession, example: Example, batch: np.ndarray) -> dict[str, np.ndarray]:
    """What ``runtime`` answers for ``batch``."""
    return dict(zip((o.name for o in runtime.get_outputs()), runtime.run(None, {example.input: batch}), strict=True))


def _table(example: Example) -> np.ndarray:
    with (EXAMPLES / "data" / f"{example.name}.csv").open(newline="") as file:
        return np.array(list(csv.reader(file))[1:], dtype=object)
