"""The committed models run in plain ONNX Runtime and still do what their cards say, on rows never trained on."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def held_out(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Truths and input fields, both as text."""
    with (EXAMPLES / "data" / f"{name}.csv").open(newline="") as file:
        rows = np.array(list(csv.reader(file))[1:], dtype=object)
    return rows[:, 0], rows[:, 1:]


def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    path = EXAMPLES / "models" / name / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs), strict=True))


def breast_cancer_accuracy() -> float:
    truth, fields = held_out("breast-cancer")
    outputs = run("breast-cancer", {"features": fields.astype(np.float32)})
    np.testing.assert_array_equal(outputs["label"], outputs["probabilities"].argmax(axis=1))
    return float(np.mean(np.where(outputs["label"] == 0, "malignant", "benign") == truth))


def digits_accuracy() -> float:
    truth, fields = held_out("digits")
    outputs = run("digits", {"image": fields.astype(np.float32).reshape(-1, 8, 8)})
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)
    return float(np.mean(outputs["digit"] == truth.astype(np.int64)))


def sentiment_accuracy() -> float:
    truth, fields = held_out("sentiment")
    outputs = run("sentiment", {"text": fields})
    return float(np.mean(outputs["label"] == truth))


def diabetes_error() -> float:
    truth, fields = held_out("diabetes")
    outputs = run("diabetes", {"measurements": fields.astype(np.float32)})
    return float(np.mean(np.abs(outputs["progression"][:, 0] - truth.astype(np.float64))))


@pytest.mark.parametrize(
    ("name", "measure", "metric", "digits"),
    [
        ("breast-cancer", breast_cancer_accuracy, "accuracy", 3),
        ("digits", digits_accuracy, "accuracy", 3),
        ("sentiment", sentiment_accuracy, "accuracy", 3),
        ("diabetes", diabetes_error, "mean absolute error", 1),
    ],
)
def test_the_card_says_what_the_model_does(name: str, measure: Callable[[], float], metric: str, digits: int) -> None:
    card = next(line for line in (EXAMPLES / "README.md").read_text().splitlines() if f"| `{name}` |" in line)
    stated = re.search(rf"{metric} (\d+\.\d+)", card)
    assert stated is not None
    assert f"{measure():.{digits}f}" == stated[1]
