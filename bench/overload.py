"""What happens when more is asked than can be done: an open loop from half to three times what the gateway can do.

Requests come by the clock, whatever the answers do (``open_loop.py``). A good server keeps answering at its capacity,
refuses the rest at once with RESOURCE_EXHAUSTED, stays within its memory, and is itself again when the flood is over.
The peak is what the best step answered. What a refusal costs those who are answered is measured once more, in turns of
two floods (``in_turns.py``): a machine that is not ours alone changes its speed more from step to step than overload
does. Where a refusal takes the share p of what an answer takes, and x times as many calls come as can be answered,
(1 - px) / (1 - p) of these are.

Two models: one of 0.1 ms, whose queue is the event loop, and one of some 5 ms, which runs in a thread.

    python bench/overload.py --seconds 3 --rounds 4 --json overload.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from in_turns import Block
from load import METHOD, Shape, framed, require_h2load, send
from machine import cores, describe
from open_loop import Outcome
from request import MODEL, digits
from rich.console import Console
from rich.table import Table
from servers import ROOT, Server, create_key, governed
from slow_model import slow_model, slow_question

CONNECTIONS = 32
CLOSED = Shape(CONNECTIONS, 4)
"""The capacity is found over as many connections as the flood has: it matters how many calls share a read."""
FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
WARM_UP, SLOW_WARM_UP = 5000, 400
AFTER = 0.5  # of the capacity is what comes when the flood is over
RECOVERY_S = 5.0
FULL, FLOOD = 1.25, 2.5  # of the peak: what is offered in turns, both more than can be answered
TURNS = {"short runs": (0.3, 0.08, 12.0), "runs of 5 ms": (4.0, 2.0, 36.0)}
"""Seconds of a block, of it until the queue is that of its rate, and of all blocks."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rate for some seconds, and the processor time that the gateway used for it."""

    factor: float
    outcome: Outcome
    cpu_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Round:
    """All steps once; ``after`` is the first second of ordinary load right after the worst of them."""

    capacity: float
    steps: tuple[Step, ...]
    after: Outcome

    def answered(self, factor: float) -> float:
        """Calls a second that were answered at ``factor`` times the capacity."""
        return next(s.outcome.answered for s in self.steps if s.factor == factor)


@dataclass(frozen=True, slots=True)
class Target:
    """A running gateway and the request that it is asked."""

    name: str
    server: Server
    body: Path
    key: str
    core: int | None

    def flood(self, rate: float, seconds: float) -> Outcome:
        """Send ``rate`` calls a second. Raises: subprocess.CalledProcessError."""
        said = self._run("open_loop.py", seconds, "--rate", str(rate))
        return msgspec.json.decode(said, type=Outcome)

    def in_turns(self, low: float, high: float) -> list[Block]:
        """Send both rates in turns. Raises: subprocess.CalledProcessError."""
        block, settle, seconds = map(str, TURNS[self.name])
        options = ("--rates", str(low), str(high), "--block", block, "--settle", settle)
        said = self._run("in_turns.py", float(seconds), *options)
        return msgspec.json.decode(said, type=list[Block])

    def _run(self, program: str, seconds: float, *options: str) -> str:
        command = [sys.executable, str(Path(__file__).with_name(program)), str(self.server.port), str(self.body)]
        command += ["--seconds", str(seconds), "--connections", str(CONNECTIONS), *options]
        command += ["--header", f"x-api-key: {self.key}", "--path", f"/{METHOD}"]
        if self.core is not None:
            command = ["taskset", "--cpu-list", str(self.core), *command]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout

    def capacity(self, requests: int) -> float:
        """What a closed loop gets out of it."""
        runs = [
            send(self.server.port, self.body, requests, CLOSED, headers=(f"x-api-key: {self.key}",), core=self.core)
            for _ in range(3)
        ]
        return max(run.rate for run in runs)


def one_round(target: Target, seconds: float, requests: int) -> Round:
    """Find the capacity, then offer every share of it, the last one followed by ordinary load."""
    capacity = target.capacity(requests)
    steps = []
    for factor in FACTORS:
        target.server.settle()
        before = target.server.cpu_s()
        outcome = target.flood(capacity * factor, seconds)
        steps.append(Step(factor, outcome, target.server.cpu_s() - before, target.server.rss_mb()))
    return Round(capacity, tuple(steps), target.flood(capacity * AFTER, RECOVERY_S))


def typical(rounds: list[Round]) -> dict[float, float]:
    """What was answered at each share of the capacity: the median over all rounds."""
    return {each: statistics.median(one.answered(each) for one in rounds) for each in FACTORS}


def prices_in_turns(blocks: list[Block]) -> list[float]:
    """How many answers fewer there were for each refusal more, of each block of the flood beside its neighbours."""
    return [
        (statistics.mean((before.answered, after.answered)) - flood.answered)
        / (flood.refused - statistics.mean((before.refused, after.refused)))
        for before, flood, after in zip(blocks, blocks[1:], blocks[2:], strict=False)
        if before.low and not flood.low and after.low
    ]


def goodput(price: float) -> float:
    """What is answered at twice the capacity, of the capacity, when a refusal costs ``price`` answers."""
    return (1 - 2 * price) / (1 - price)


def show_turns(console: Console, target: Target, peak: float, rounds: int) -> list[Block]:
    """Measure what a refusal costs those who are answered, and print what follows for twice the capacity."""
    target.server.settle()
    blocks = [block for _ in range(rounds) for block in target.in_turns(FULL * peak, FLOOD * peak)]
    for factor, low in ((FULL, True), (FLOOD, False)):
        some = [block for block in blocks if block.low is low]
        console.print(
            f"in turns of {TURNS[target.name][0]} s, {factor * peak:,.0f}/s offered: answered "
            f"{statistics.median(b.answered for b in some):,.0f}/s, refused "
            f"{statistics.median(b.refused for b in some):,.0f}/s"
        )
    if statistics.median(block.refused for block in blocks if block.low) < FLOOD * peak / 100:
        console.print(
            "the machine became quicker: the lower rate was no flood, so the next line says little; run it again"
        )
    prices = sorted(prices_in_turns(blocks))
    price, least, most = statistics.median(prices), prices[len(prices) // 4], prices[len(prices) * 3 // 4]
    console.print(
        f"a refusal costs {price:.3f} of an answer (median of {len(prices)} blocks, half of them between {least:.3f} "
        f"and {most:.3f}): [bold]at twice the capacity {goodput(price):.2f} of it is answered[/bold]"
    )
    return blocks


def show(console: Console, name: str, rounds: list[Round]) -> None:
    """The medians over all rounds. ``unseen`` is what the generator itself may have added to a refusal, in ms."""
    table = Table("offered/s", "of capacity", "answered/s", "of peak", "refused/s", "lost", "answers p50, p99 ms")
    table.add_column("refusals p50, p99 ms")
    table.add_column("unseen")
    table.add_column("RSS MB")
    for column in table.columns:
        column.justify = "right"
    answered = typical(rounds)
    for place, factor in enumerate(FACTORS):
        steps = [one.steps[place] for one in rounds]
        seen = [step.outcome for step in steps]
        table.add_row(
            f"{statistics.median(o.offered for o in seen):,.0f}",
            f"{factor:.1f}",
            f"{statistics.median(o.answered for o in seen):,.0f}",
            f"{answered[factor] / max(answered.values()):.2f}",
            f"{statistics.median(o.refused for o in seen):,.0f}",
            f"{sum(o.lost for o in seen)}",
            f"{statistics.median(o.answers_ms[0] for o in seen):,.1f}, {max(o.answers_ms[1] for o in seen):,.0f}",
            f"{statistics.median(o.refusals_ms[0] for o in seen):,.1f}, {max(o.refusals_ms[1] for o in seen):,.0f}",
            f"{statistics.median(o.unseen_ms[0] for o in seen):,.1f}",
            f"{max(step.rss_mb for step in steps):,.0f}",
        )
    console.print(f"\n[bold]{name}[/bold], capacity {statistics.median(one.capacity for one in rounds):,.0f}/s")
    console.print(table)
    shares = " ".join(f"{one.after.answers / one.after.offered / RECOVERY_S:.1%}" for one in rounds)
    console.print(f"of half the capacity, in the {RECOVERY_S:.0f} s right after: {shares} answered")
    answer_us, refusal_us = prices(rounds)
    console.print(f"processor time by least squares: {answer_us:.0f} us an answer, {refusal_us:.1f} us a refusal")


def prices(rounds: list[Round]) -> tuple[float, float]:
    """Microseconds of processor time that an answer and a refusal cost: those that explain all steps best.

    On a machine that others use too, this says more than rates: what they take is in neither.
    """
    steps = [step for one in rounds for step in one.steps]
    ended = np.array([(step.outcome.answers, step.outcome.refusals) for step in steps])
    costs, *_ = np.linalg.lstsq(ended, np.array([step.cpu_s for step in steps]), rcond=None)
    return float(costs[0]) * 1e6, float(costs[1]) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one step")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--program", help="the gateway command of another environment")
    parser.add_argument("--queue-ms", type=int, default=None, help="limits.queue_ms of the gateway")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    options = parser.parse_args()
    require_h2load()
    console = Console(width=130)
    console.print(describe(), highlight=False)
    extra = () if options.queue_ms is None else ("--limits-queue-ms", str(options.queue_ms))
    results = {}
    for name in ("short runs", "runs of 5 ms"):
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
            key = create_key(scratch / "data")
            body, models, requests = digits().write(scratch / "body"), MODEL.parent, WARM_UP
            if name != "short runs":
                models, requests = slow_model(scratch), SLOW_WARM_UP
                body.write_bytes(framed(slow_question()))
            server = governed(
                "h2", scratch / "data", models=models, policies=ROOT / "policies", extra=extra, program=options.program
            )
            stack.callback(server.stop)
            core, other = cores()
            server.pin(core, other)
            target = Target(name, server, body, key, other)
            rounds = [one_round(target, options.seconds, requests) for _ in range(options.rounds)]
            show(console, name, rounds)
            results[name] = [asdict(one) for one in rounds]
            blocks = show_turns(console, target, max(typical(rounds).values()), options.rounds)
            results[f"{name}, in turns"] = [asdict(block) for block in blocks]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
