"""Where training scripts put what they made: the model in Triton layout, the held-out rows as CSV."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from onnx import ModelProto, checker

EXAMPLES = Path(__file__).resolve().parent.parent
OPSET = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 8
"""Old enough for every ONNX Runtime that the gateway accepts."""


def write_model(name: str, model: ModelProto) -> Path:
    """Check ``model`` and write it as ``models/<name>/1/model.onnx``; the same weights give the same bytes."""
    model.ir_version = IR_VERSION
    model.doc_string = ""
    operator_sets = sorted(model.opset_import, key=lambda entry: entry.domain)  # converters write them in any order
    del model.opset_import[:]
    model.opset_import.extend(operator_sets)
    checker.check_model(model, full_check=True)
    path = EXAMPLES / "models" / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = model.SerializeToString(deterministic=True)
    path.write_bytes(payload)
    print(f"{name}: {path.relative_to(EXAMPLES)} {len(payload):,} bytes sha256:{hashlib.sha256(payload).hexdigest()}")
    return path


def write_rows(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write held-out rows as ``data/<name>.csv``; the first column is the truth, the rest is the input."""
    path = EXAMPLES / "data" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["truth", *header])
        writer.writerows(rows)
