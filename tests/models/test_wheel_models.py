"""Through the whole gateway, by Triton's client, bit for bit what onnxruntime answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.models


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


def test_every_model_loaded(gateway: triton.InferenceServerClient) -> None:
    index = gateway.get_model_repository_index(as_json=True)["models"]
    assert {row["name"]: (row["state"], row.get("reason", "")) for row in index} == {
        row["name"]: ("READY", "") for row in index
    }
    assert len(index) == 9


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_integers_in_batches(served, direct, rows: int) -> None:  # type: ignore[no-untyped-def]
    text = (b"def main():\n    return 42\n" * 90)[:2048]
    inputs = {"bytes": np.tile(np.frombuffer(text, np.uint8).astype(np.int32), (rows, 1))}
    same(served("magika", inputs), direct("magika", inputs))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (320, 480)])
def test_images_of_any_size(served, direct, height: int, width: int) -> None:  # type: ignore[no-untyped-def]
    inputs = {"x": np.random.default_rng(1).random((1, 3, height, width), np.float32)}
    same(served("ocr-detect", inputs), direct("ocr-detect", inputs))


@pytest.mark.parametrize("width", [48, 160, 320])
def test_lines_of_any_length_and_several_at_once(served, direct, width: int) -> None:  # type: ignore[no-untyped-def]
    inputs = {"x": np.random.default_rng(2).random((2, 3, 48, width), np.float32)}
    same(served("ocr-read", inputs), direct("ocr-read", inputs))
    turned = {"x": np.random.default_rng(3).random((2, 3, 48, 192), np.float32)}
    same(served("ocr-turn", turned), direct("ocr-turn", turned))


@pytest.mark.parametrize("model", ["voice", "voice-half"])
def test_state_passed_back_and_forth_with_a_scalar_beside_it(served, direct, model: str) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(4)
    state = np.zeros((2, 1, 128), np.float32)
    expected_state = state
    for _ in range(20):
        sound = random.standard_normal((1, 576), np.float32) * np.float32(0.1)
        scalar = {"sr": np.array(16000, np.int64)} if model == "voice" else {}
        got = served(model, {"input": sound, "state": state} | scalar)
        expected = direct(model, {"input": sound, "state": expected_state} | scalar)
        same(got, expected)
        state, expected_state = got["stateN"], expected["stateN"]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("model", ["ocr-turn", "ocr-read"])
def test_half_precision_in_and_out(served, direct, model: str, rows: int) -> None:  # type: ignore[no-untyped-def]
    image = np.random.default_rng(7).random((rows, 3, 48, 192), np.float32)
    got = served(f"{model}-fp16", {"x": image.astype(np.float16)})
    assert {array.dtype for array in got.values()} == {np.dtype(np.float16)}
    same(got, direct(f"{model}-fp16", {"x": image.astype(np.float16)}))
    for half, whole in zip(got.values(), direct(model, {"x": image}).values(), strict=True):
        assert np.abs(half.astype(np.float32) - whole).max() < 0.05  # and it is the model that it was made of


def test_a_scalar_written_as_one_element(served, direct) -> None:  # type: ignore[no-untyped-def]
    sound, state = np.zeros((1, 576), np.float32), np.zeros((2, 1, 128), np.float32)
    got = served("voice", {"input": sound, "state": state, "sr": np.array([16000], np.int64)})
    same(got, direct("voice", {"input": sound, "state": state, "sr": np.array(16000, np.int64)}))


def test_a_sequence_whose_first_dimension_is_not_a_batch(served, direct) -> None:  # type: ignore[no-untyped-def]
    inputs = {"input": np.random.default_rng(5).standard_normal((9, 576), np.float32)}
    inputs |= {name: np.zeros((1, 1, 128), np.float32) for name in "hc"}
    same(served("voice-sequence", inputs), direct("voice-sequence", inputs))


def test_many_callers_at_once_get_their_own_answers(served, direct) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(6)
    images = [{"x": random.random((1, 3, 48, 192), np.float32)} for _ in range(24)]
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda image: served("ocr-turn", image), images))
    for image, answer in zip(images, answers, strict=True):
        expected = direct("ocr-turn", image)
        for name in expected:
            np.testing.assert_allclose(answer[name], expected[name], rtol=1e-3, atol=1e-4)


def test_a_wrong_shape_says_what_was_expected(served) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InferenceServerException, match=r"Expected \[-1,2048\], got \[1,7\]"):
        served("magika", {"bytes": np.zeros((1, 7), np.int32)})
