"""Train ``breast-cancer``: is a biopsy malignant? Wisconsin data bundled with scikit-learn, logistic regression.

python -m examples.train.breast_cancer
"""

from __future__ import annotations

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.train.export import OPSET, write_model, write_rows

NAME = "breast-cancer"
HELD_OUT = 0.2
SEED = 20


def main() -> None:
    """Train on four fifths, print how it does on the rest, write model and held-out rows."""
    data = load_breast_cancer()
    features = data.data.astype(np.float32)
    train, test, truth_train, truth = train_test_split(
        features, data.target, test_size=HELD_OUT, stratify=data.target, random_state=SEED
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000, random_state=SEED))
    pipeline.fit(train, truth_train)
    predicted = pipeline.predict(test)
    malignant = pipeline.predict_proba(test)[:, 0]
    print(
        f"{NAME}: {len(train)} rows trained, {len(test)} held out: accuracy {accuracy_score(truth, predicted):.3f}, "
        f"recall of malignant {recall_score(truth, predicted, pos_label=0):.3f}, "
        f"AUC {roc_auc_score(truth == 0, malignant):.3f}"
    )
    model = to_onnx(
        pipeline,
        initial_types=[("features", FloatTensorType([None, features.shape[1]]))],
        options={"zipmap": False},
        target_opset=OPSET,
        name=NAME,
    )
    write_model(NAME, model)
    write_rows(
        NAME,
        [str(feature) for feature in data.feature_names],
        ([data.target_names[label], *map(str, row)] for label, row in zip(truth, test, strict=True)),
    )


if __name__ == "__main__":
    main()
