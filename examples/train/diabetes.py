"""Train ``diabetes``: how far will the disease progress in a year? Efron's data bundled with scikit-learn.

Gradient-boosted trees on the measurements as taken (years, mmHg, mg/dl), so that a request can be read.

    python -m examples.train.diabetes
"""

from __future__ import annotations

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

from examples.train.export import OPSET, write_model, write_rows

NAME = "diabetes"
HELD_OUT = 0.2
SEED = 20


def main() -> None:
    """Train on four fifths, print how it does on the rest, write model and held-out rows."""
    data = load_diabetes(scaled=False)
    features = data.data.astype(np.float32)
    train, test, truth_train, truth = train_test_split(features, data.target, test_size=HELD_OUT, random_state=SEED)
    trees = GradientBoostingRegressor(
        n_estimators=120, max_depth=2, learning_rate=0.06, subsample=0.7, random_state=SEED
    )
    trees.fit(train, truth_train)
    predicted = trees.predict(test)
    baseline = mean_absolute_error(truth, np.full_like(truth, truth_train.mean()))
    print(
        f"{NAME}: {len(train)} patients trained, {len(test)} held out: R2 {r2_score(truth, predicted):.3f}, "
        f"mean absolute error {mean_absolute_error(truth, predicted):.1f} (always the mean: {baseline:.1f})"
    )
    model = to_onnx(
        trees,
        initial_types=[("measurements", FloatTensorType([None, features.shape[1]]))],
        final_types=[("progression", FloatTensorType([None, 1]))],
        target_opset=OPSET,
        name=NAME,
    )
    write_model(NAME, model)
    write_rows(
        NAME,
        [str(feature) for feature in data.feature_names],
        ([f"{label:g}", *map(str, row)] for label, row in zip(truth, test, strict=True)),
    )


if __name__ == "__main__":
    main()
