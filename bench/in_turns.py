"""Two rates in turns over the same connections, in short blocks: what the higher one costs those who are answered, on
a machine whose speed changes from second to second.

    python bench/in_turns.py PORT BODY --rates 9900 18000 --seconds 30 --header 'x-api-key: ...'
"""

from __future__ import annotations

import argparse
import json
import selectors
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

from open_loop import Line, fields


@dataclass(frozen=True, slots=True)
class Block:
    """What came in a second of one block, of the ``low`` rate or of the other."""

    low: bool
    answered: float
    refused: float


class Schedule:
    """How many calls are due when: ``rates[0]`` a second for ``block_s``, ``rates[1]`` for the next, and so on."""

    def __init__(self, rates: tuple[float, float], block_s: float) -> None:
        self._rates = rates
        self._block_s = block_s

    def due(self, seconds: float) -> int:
        """Calls that are due ``seconds`` after the start."""
        (low, high), block_s = self._rates, self._block_s
        pairs, rest = divmod(seconds, 2 * block_s)
        return int(pairs * block_s * (low + high) + min(rest, block_s) * low + max(rest - block_s, 0.0) * high)


def run(lines: list[Line], rates: tuple[float, float], seconds: float, block_s: float, settle_s: float) -> list[Block]:
    """Send in turns for ``seconds``; what comes within ``settle_s`` of a change of the rate does not count, for the
    queue of the last one is still served. Raises: open_loop.Broken."""
    schedule, selector = Schedule(rates, block_s), selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.flush()
    answers, refusals, blocks = array("d"), array("d"), list[Block]()
    sent, turn, start = 0, 0, time.perf_counter() + 0.2
    number, since, had = -1, 0.0, (0, 0)
    while (spent := time.perf_counter() - start) < seconds:
        while sent < schedule.due(max(spent, 0.0)):
            turn += 1
            free = next((line for at in range(len(lines)) if (line := lines[(turn + at) % len(lines)]).free), None)
            if free is None:
                break
            free.call(start + spent)
            sent += 1
        now, place = divmod(spent, block_s)
        have = len(answers), len(refusals)
        if number >= 0 and now != number:
            counted = [(after - before) / (spent - since) for after, before in zip(have, had, strict=True)]
            blocks.append(Block(number % 2 == 0, *counted))
            number, sent = -1, schedule.due(now * block_s)  # what one rate left unsent is not the other's
        if number < 0 and place >= settle_s and spent > 0:
            number, since, had = int(now), spent, have
        for line in lines:
            line.flush()
        for key, _ in selector.select(0):
            key.data.read(time.perf_counter(), answers, refusals)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("body", type=Path, help="file with the framed request message")
    parser.add_argument("--path", default="/inference.GRPCInferenceService/ModelInfer")
    parser.add_argument("--rates", type=float, nargs=2, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--block", type=float, default=0.3, help="seconds between two changes of the rate")
    parser.add_argument("--settle", type=float, default=0.08, help="seconds after each that do not count")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE")
    options = parser.parse_args()
    extra = [tuple(part.strip() for part in header.split(":", 1)) for header in options.header]
    first, short = fields(options.path, extra)
    message = options.body.read_bytes()
    lines = [Line(options.port, first, short, message) for _ in range(options.connections)]
    blocks = run(lines, tuple(options.rates), options.seconds, options.block, options.settle)
    json.dump([asdict(block) for block in blocks], sys.stdout)


if __name__ == "__main__":
    main()
