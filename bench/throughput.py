"""Bare against governed, in one table and one run: ``make bench``.

Three servers of the same model run side by side: *bare h2* (``bare.py``: same transport, codec and model, no
governance), *governed h2* and *governed grpcio*. The server that is measured has one core, h2load and everything else
(the observer too) the other. Loads are closed loops; each shape is measured in rounds A B C, A B C, ..., and the
median of the rounds is printed, so that a busy moment hits all alike. Strict ledger, policy with its cache, one row a
request, traces exported to a collector in this process as the default sampling keeps them. Afterwards every request
that got an answer must stand in the ledger, and the ledger must verify.

    make bench ARGS='--rounds 5 --seconds 4'
    make .venv-compiled/.stamp bench ARGS='--beside .venv-compiled/bin/gateway'     # the compiled package in turns
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from collector import collecting
from load import Load, LoadFailed, Shape, require_h2load, send
from machine import cores, describe, fdatasync_us
from request import MODEL, Question, digits, probe
from rich.console import Console
from rich.table import Table
from servers import GATEWAY, PRINCIPAL, ROOT, Server, bare, create_key, governed

SHAPES = (Shape(8, 16), Shape(64, 1), Shape(1, 1))
WARM_UP = 3000


@dataclass(frozen=True, slots=True)
class Sample:
    """One server under one load for a few seconds."""

    load: Load
    cpu_us: float
    rss_mb: float


class Bench:
    """Measures servers with one request and counts what each was asked."""

    def __init__(
        self, question: Question, body: Path, seconds: float, *, pinned: bool = True, warm_up: int = WARM_UP
    ) -> None:
        self._question = question
        self._body = body
        self._seconds = seconds
        self._warm_up = warm_up
        self._core, self._other = cores() if pinned else (None, None)
        self.answered: dict[str, int] = defaultdict(int)

    def measure(self, server: Server, shape: Shape, key: str) -> Sample:
        """Warm up, then load for about ``seconds``. Raises: LoadFailed if any answer was not a full one."""
        server.pin(self._core, self._other)
        size = probe(server.port, self._question, (("x-api-key", key),))
        self.answered[server.name] += 1
        warm = self._send(server, shape, self._warm_up, key, size)
        before = server.cpu_s()
        load = self._send(server, shape, max(self._warm_up, int(warm.rate * self._seconds)), key, size)
        sample = Sample(load, (server.cpu_s() - before) / load.requests * 1e6, server.rss_mb())
        server.settle()
        return sample

    def _send(self, server: Server, shape: Shape, requests: int, key: str, size: int) -> Load:
        load = send(server.port, self._body, requests, shape, headers=(f"x-api-key: {key}",), core=self._other)
        if load.data_bytes != requests * size:
            raise LoadFailed(
                f"{server.name}: {requests} answers of {size} bytes expected, {load.data_bytes} bytes came: "
                "some requests were refused"
            )
        self.answered[server.name] += requests
        return load


def recorded(data: Path) -> int:
    """Verify the ledger in ``data`` and count the benchmark's answered calls in it."""
    subprocess.run([GATEWAY, "ledger", "verify", "--data", str(data)], check=True, capture_output=True)
    command = [GATEWAY, "ledger", "export", "--data", str(data), "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        return sum(is_answer(json.loads(line)) for line in export.stdout)


def is_answer(record: dict[str, object]) -> bool:
    """Whether an exported record is one of the benchmark's answered predictions."""
    return record.get("principal") == PRINCIPAL and record.get("outcome") == "answered"


def table(samples: dict[tuple[str, str], list[Sample]], names: Iterable[str]) -> Table:
    """Medians of the rounds, and the ratio to bare as the median of each round's own."""
    printed = Table("load", "server", "req/s", "p50 us", "p99 us", "CPU us/req", "RSS MB", "of bare h2")
    for column in printed.columns[2:]:
        column.justify = "right"
    for shape in SHAPES:
        reference = samples["bare h2", str(shape)]
        for name in names:
            rounds = samples[name, str(shape)]
            ratios = [r.load.rate / b.load.rate for r, b in zip(rounds, reference, strict=True)]
            printed.add_row(
                str(shape),
                name,
                f"{statistics.median(r.load.rate for r in rounds):,.0f}",
                f"{statistics.median(r.load.p50_us for r in rounds):,.0f}",
                f"{statistics.median(r.load.p99_us for r in rounds):,.0f}",
                f"{statistics.median(r.cpu_us for r in rounds):,.1f}",
                f"{rounds[-1].rss_mb:,.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            )
        printed.add_section()
    return printed


def alone(samples: dict[tuple[str, str], list[Sample]], sync_us: float) -> str:
    """What a lone caller waits for beside the bare answer and the disk."""
    p50 = {
        name: statistics.median(s.load.p50_us for s in samples[name, "1 x 1"]) for name in ("bare h2", "governed h2")
    }
    longer = p50["governed h2"] - p50["bare h2"]
    return (
        f"alone (1 x 1) a governed answer takes {longer:,.0f} us more than a bare one; one fdatasync takes "
        f"{sync_us:,.0f} us here, which leaves {longer - sync_us:,.0f} us"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--policies", type=Path, default=ROOT / "policies")
    parser.add_argument("--beside", help="the gateway command of another environment, measured on h2 in turns")
    options = parser.parse_args()
    require_h2load()
    console = Console(width=110)
    console.print(describe(), highlight=False)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=".")))
        collector = stack.enter_context(collecting())
        export = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        question = digits()
        bench = Bench(question, question.write(scratch / "body"), options.seconds)
        servers = [(bare("h2", MODEL), "none")]
        stack.callback(servers[0][0].stop)
        for transport in ("h2", "grpcio"):
            data = scratch / transport
            key = create_key(data)
            server = governed(transport, data, models=MODEL.parent, policies=options.policies, env=export)
            stack.callback(server.stop)
            servers.append((server, key))
        if options.beside:
            data = scratch / "beside"
            key = create_key(data)
            policies = options.policies
            server = governed("h2", data, models=MODEL.parent, policies=policies, env=export, program=options.beside)
            server.name = "governed beside"
            stack.callback(server.stop)
            servers.append((server, key))
        samples = run(bench, servers, options.rounds, console)
        for server, _ in servers:
            server.stop()
        console.print(table(samples, [server.name for server, _ in servers]))
        console.print(f"{collector.spans:,} spans were exported meanwhile", highlight=False)
        console.print(alone(samples, fdatasync_us(scratch)), highlight=False)
        check(bench, scratch, console)


def run(
    bench: Bench, servers: list[tuple[Server, str]], rounds: int, console: Console
) -> dict[tuple[str, str], list[Sample]]:
    """Every server under every shape, ``rounds`` times, interleaved."""
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for shape in SHAPES:
        for turn in range(rounds):
            for server, key in servers:
                sample = bench.measure(server, shape, key)
                samples[server.name, str(shape)].append(sample)
                console.print(f"{shape} round {turn + 1}: {server.name} {sample.load.rate:,.0f} req/s", style="dim")
    return samples


def check(bench: Bench, scratch: Path, console: Console) -> None:
    """Every request that the governed servers answered is in a ledger that verifies."""
    for transport in ("h2", "grpcio", "beside"):
        if not (scratch / transport).exists():
            continue
        answered, found = bench.answered[f"governed {transport}"], recorded(scratch / transport)
        if found != answered:
            raise SystemExit(f"governed {transport}: {answered} requests answered, {found} in the ledger")
        console.print(f"governed {transport}: {answered:,} requests answered, {found:,} in the ledger, which verifies")


if __name__ == "__main__":
    main()
