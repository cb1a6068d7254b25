"""Messages on one stream against unary calls: the same gateway, connection, messages and depth.

One ``ModelStreamInfer`` carries all messages, of which the gateway runs at most 32 at once; the unary calls share a
connection with 32 in flight. Each message is authenticated, decided and recorded by itself either way. The server has
one core, h2load the other; the two take turns, and the median round is printed.

    python bench/streams.py --rounds 3 --messages 20000
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from load import METHOD, STREAM_METHOD, LoadFailed, Shape, framed, require_h2load, send
from machine import cores, describe
from request import MODEL, digits, probe
from rich.console import Console
from rich.table import Table
from servers import ROOT, Server, create_key, governed

DEPTH = 32
WARM_UP = 2000


@dataclass(frozen=True, slots=True)
class Sample:
    """Messages a second, and CPU microseconds a message."""

    rate: float
    cpu_us: float


def measure(server: Server, method: str, body: Path, requests: int, messages: int, key: str, size: int) -> Sample:
    """Send ``messages`` in ``requests`` calls. Raises: LoadFailed unless each got a full answer of ``size`` bytes."""
    before = server.cpu_s()
    shape = Shape(1, DEPTH if requests > 1 else 1)
    load = send(server.port, body, requests, shape, headers=(f"x-api-key: {key}",), core=cores()[1], method=method)
    if load.data_bytes < messages * size:
        raise LoadFailed(f"{messages} answers of at least {size} bytes expected, {load.data_bytes} bytes came")
    return Sample(messages / load.seconds, (server.cpu_s() - before) / messages * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args()
    require_h2load()
    console = Console(width=110)
    console.print(describe(), highlight=False)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
        question, data = digits(), scratch / "data"
        one, many = question.write(scratch / "one"), scratch / "many"
        many.write_bytes(framed(question.message) * options.messages)
        key = create_key(data)
        server = governed("h2", data, models=MODEL.parent, policies=ROOT / "policies")
        stack.callback(server.stop)
        server.pin(*cores())
        size = probe(server.port, question, (("x-api-key", key),))
        measure(server, METHOD, one, WARM_UP, WARM_UP, key, size)
        unary, stream = [], []
        for _ in range(options.rounds):
            unary.append(measure(server, METHOD, one, options.messages, options.messages, key, size))
            stream.append(measure(server, STREAM_METHOD, many, 1, options.messages, key, size))
            server.settle()
        console.print(table(unary, stream))


def table(unary: list[Sample], stream: list[Sample]) -> Table:
    """Medians, and the ratio as the median of each round's own."""
    printed = Table(f"on one connection, {DEPTH} at once", "messages/s", "CPU us/message", "of unary")
    for column in printed.columns[1:]:
        column.justify = "right"
    for name, rounds in (("ModelInfer", unary), ("ModelStreamInfer", stream)):
        ratio = statistics.median(s.rate / u.rate for s, u in zip(rounds, unary, strict=True))
        rate, cpu = statistics.median(s.rate for s in rounds), statistics.median(s.cpu_us for s in rounds)
        printed.add_row(name, f"{rate:,.0f}", f"{cpu:.1f}", f"{ratio:.2f}")
    return printed


if __name__ == "__main__":
    main()
