"""The committed models run in plain ONNX Runtime and still do what their cards say, on rows never trained on."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from held_out import BREAST_CANCER, DIABETES, DIGITS, EXAMPLES, SENTIMENT, Example, inputs, outputs, session, truths


def run(example: Example) -> dict[str, np.ndarray]:
    return outputs(session(example), example, inputs(example))


def breast_cancer_accuracy() -> float:
    found = run(BREAST_CANCER)
    np.testing.assert_array_equal(found["label"], found["probabilities"].argmax(axis=1))
    return float(np.mean(np.where(found["label"] == 0, "malignant", "benign") == truths(BREAST_CANCER)))


def digits_accuracy() -> float:
    found = run(DIGITS)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-5)
    return float(np.mean(found["digit"] == truths(DIGITS).astype(np.int64)))


def sentiment_accuracy() -> float:
    return float(np.mean(run(SENTIMENT)["label"] == truths(SENTIMENT)))


def diabetes_error() -> float:
    return float(np.mean(np.abs(run(DIABETES)["progression"][:, 0] - truths(DIABETES).astype(np.float64))))


@pytest.mark.parametrize(
    ("example", "measure", "metric", "digits"),
    [
        (BREAST_CANCER, breast_cancer_accuracy, "accuracy", 3),
        (DIGITS, digits_accuracy, "accuracy", 3),
        (SENTIMENT, sentiment_accuracy, "accuracy", 3),
        (DIABETES, diabetes_error, "mean absolute error", 1),
    ],
)
def test_the_card_says_what_the_model_does(
    example: Example, measure: Callable[[], float], metric: str, digits: int
) -> None:
    lines = (EXAMPLES / "README.md").read_text().splitlines()
    card = next(line for line in lines if f"| `{example.name}` |" in line)
    stated = re.search(rf"{metric} (\d+\.\d+)", card)
    assert stated is not None
    assert f"{measure():.{digits}f}" == stated[1]
