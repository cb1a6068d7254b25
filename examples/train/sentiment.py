"""Train ``sentiment``: is a sentence of feedback positive or negative? Strings in, strings out.

240 sentences, written and labelled by hand for this project (``sentiment.tsv``, CC0): small, and no one's private text.
Each line tells one occasion well and badly; pairs stay together in the split.
TF-IDF over words, logistic regression. Clients send ``text`` BYTES [N, 1].

    python -m examples.train.sentiment
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from examples.train.export import OPSET, write_model, write_rows

NAME = "sentiment"
SENTENCES = Path(__file__).with_name("sentiment.tsv")
HELD_OUT = 0.25
SEED = 20
WORDS = "[a-zA-Z0-9]+"


def sentences() -> tuple[list[str], list[str], list[int]]:
    """Texts, labels, and for each text the pair that it belongs to."""
    with SENTENCES.open(newline="") as file:
        pairs = list(csv.DictReader(file, delimiter="\t"))
    rows = [(text, label, number) for number, pair in enumerate(pairs) for label, text in pair.items()]
    texts, labels, groups = zip(*rows, strict=True)
    return list(texts), list(labels), list(groups)


def main() -> None:
    """Train on three quarters, print how it does on the rest, write model and held-out rows."""
    all_texts, all_labels, groups = sentences()
    texts, labels = np.array(all_texts, dtype=object).reshape(-1, 1), np.array(all_labels)
    split = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=SEED)
    train, test = next(split.split(texts, labels, groups))
    words = TfidfVectorizer(lowercase=True, token_pattern=WORDS, sublinear_tf=True)
    pipeline = make_pipeline(
        ColumnTransformer([("words", words, 0)]), LogisticRegression(C=10.0, max_iter=1000, random_state=SEED)
    )
    pipeline.fit(texts[train], labels[train])
    truth = labels[test]
    scores = pipeline.predict_proba(texts[test])[:, list(pipeline.classes_).index("positive")]
    print(
        f"{NAME}: {len(train)} sentences trained, {len(test)} held out: "
        f"accuracy {accuracy_score(truth, pipeline.predict(texts[test])):.3f}, "
        f"AUC {roc_auc_score(truth == 'positive', scores):.3f}"
    )
    model = to_onnx(
        pipeline,
        initial_types=[("text", StringTensorType([None, 1]))],
        # The locale "C" lowers ASCII and exists on every machine; ONNX Runtime's default, en_US, does not.
        options={
            "zipmap": False,
            "columntransformer__words__tokenexp": WORDS,
            "columntransformer__words__locale": "C",
        },
        target_opset={**OPSET, "com.microsoft": 1},
        name=NAME,
    )
    write_model(NAME, model)
    write_rows(NAME, ["text"], ([label, row[0]] for label, row in zip(truth, texts[test], strict=True)))


if __name__ == "__main__":
    main()
