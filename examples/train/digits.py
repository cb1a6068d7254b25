"""Train ``digits``: which digit is on an 8 x 8 image? UCI digits bundled with scikit-learn, a multi-layer perceptron.

The graph is written with ONNX's own operators, so a client sends images as they are: ``image`` FP32 [N, 8, 8], 0 to 16.

    python -m examples.train.digits
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from examples.train.export import OPSET, write_model, write_rows

NAME = "digits"
HELD_OUT = 0.2
SEED = 20
INK = 16.0  # the brightest pixel


def graph(network: MLPClassifier) -> ModelProto:
    """``network`` as ONNX: flatten, scale, two dense layers, softmax; outputs ``digit`` and ``probabilities``."""
    (w1, w2), (b1, b2) = network.coefs_, network.intercepts_
    constants = {"ink": np.float32(INK), "w1": w1, "b1": b1, "w2": w2, "b2": b2}
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"]),
        helper.make_node("Div", ["pixels", "ink"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "w1", "b1"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["digit"], axis=1, keepdims=0),
    ]
    classes = len(network.classes_)
    return helper.make_model(
        helper.make_graph(
            nodes,
            NAME,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 8, 8])],
            [
                helper.make_tensor_value_info("digit", TensorProto.INT64, ["N"]),
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]),
            ],
            [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in constants.items()],
        ),
        producer_name="examples.train.digits",
        opset_imports=[helper.make_opsetid("", OPSET[""])],
    )


def main() -> None:
    """Train on four fifths, print how it does on the rest, write model and held-out rows."""
    data = load_digits()
    images = data.data.astype(np.float32)
    train, test, truth_train, truth = train_test_split(
        images, data.target, test_size=HELD_OUT, stratify=data.target, random_state=SEED
    )
    network = MLPClassifier(hidden_layer_sizes=(64,), alpha=1e-3, max_iter=400, random_state=SEED)
    network.fit(train / INK, truth_train)
    accuracy = accuracy_score(truth, network.predict(test / INK))
    print(f"{NAME}: {len(train)} images trained, {len(test)} held out: accuracy {accuracy:.3f}")
    write_model(NAME, graph(network))
    pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    write_rows(NAME, pixels, ([label, *map(int, image)] for label, image in zip(truth, test, strict=True)))


if __name__ == "__main__":
    main()
