"""How the price of governing one request grows with its rows: 1, 64 and 1,024 rows.

*Beyond the model* is the worker's CPU a request less the CPU of the model's own run on as many rows, measured here with
ONNX Runtime alone: it pays for receiving, hashing and answering so many bytes. *Bare* is the same without governance.
The server has one core, h2load the other.

    python bench/rows.py --seconds 2
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import onnxruntime
from load import Shape, require_h2load
from machine import cores, describe
from request import MODEL, Question, digits
from rich.console import Console
from rich.table import Table
from servers import ROOT, TENANT, bare, create_key, governed
from throughput import Bench

ROWS = (1, 64, 1024)
SHAPE = Shape(8, 4)


def allowing(scratch: Path, rows: int) -> tuple[Path, Path]:
    """Models and policies that take requests of ``rows`` rows."""
    models, policies = scratch / "models", scratch / "policies"
    shutil.copytree(ROOT / "policies", policies)
    document = json.loads((policies / "data.json").read_text())
    document["tenants"][TENANT]["max_batch"] = rows
    (policies / "data.json").write_text(json.dumps(document))
    shutil.copytree(MODEL, models / MODEL.name)
    (models / MODEL.name / "config.pbtxt").write_text(f"max_batch_size: {rows}\ndynamic_batching {{ }}\n")
    return models, policies


def alone_us(question: Question) -> float:
    """CPU microseconds of one run of the model on the question's rows, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])
    names, begun, runs = [output.name for output in session.get_outputs()], time.process_time(), 0
    while time.process_time() - begun < 0.5:
        session.run(names, question.inputs)
        runs += 1
    return (time.process_time() - begun) / runs * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    require_h2load()
    console = Console(width=110)
    console.print(describe(), highlight=False)
    table = Table(
        "rows", "kB", "req/s", "rows/s", "CPU us/req", "the model's", "bare beyond it", "beyond it", "of 1 row's"
    )
    for column in table.columns:
        column.justify = "right"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
        models, policies = allowing(scratch, ROWS[-1])
        key = create_key(scratch / "data")
        server = governed("h2", scratch / "data", models=models, policies=policies)
        ungoverned = bare("h2", MODEL)
        for each in (server, ungoverned):
            stack.callback(each.stop)
            each.pin(*cores())
        one = 0.0
        for rows in ROWS:
            question = digits(rows)
            bench = Bench(question, question.write(scratch / "body"), options.seconds, warm_up=400)
            sample, run_us = bench.measure(server, SHAPE, key), alone_us(question)
            bare_us = bench.measure(ungoverned, SHAPE, "none").cpu_us
            beyond = sample.cpu_us - run_us
            one = one or beyond
            table.add_row(
                f"{rows:,}",
                f"{len(question.message) / 1e3:,.1f}",
                f"{sample.load.rate:,.0f}",
                f"{sample.load.rate * rows:,.0f}",
                f"{sample.cpu_us:,.1f}",
                f"{run_us:,.1f}",
                f"{bare_us - run_us:,.1f}",
                f"{beyond:,.1f}",
                f"{beyond / one:.2f} x",
            )
    console.print(table)


if __name__ == "__main__":
    main()
