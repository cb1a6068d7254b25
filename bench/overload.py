"""What happens when more is asked than can be done: an open loop from half to three times what the gateway can do.

First a closed loop finds the capacity. Then requests come by the clock, whatever the answers do. A good server keeps
answering at its capacity, refuses the rest at once with RESOURCE_EXHAUSTED, and stays within its memory. Refusals
are told from answers by their size: a refusal has no body.

    python bench/overload.py --seconds 4
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from load import Shape, require_h2load, send
from machine import cores, describe
from request import MODEL, digits, probe
from rich.console import Console
from rich.table import Table
from servers import ROOT, create_key, governed

CLOSED = Shape(8, 16)
OPEN = Shape(32, 200)
FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
WARM_UP = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one step")
    parser.add_argument("--max-inflight", type=int, default=512, help="limits.max_inflight of the gateway")
    options = parser.parse_args()
    require_h2load()
    console = Console(width=110)
    console.print(describe(), highlight=False)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT)))
        question, data = digits(), scratch / "data"
        body, key = question.write(scratch / "body"), create_key(data)
        extra = ("--limits-max-inflight", str(options.max_inflight))
        server = governed("h2", data, models=MODEL.parent, policies=ROOT / "policies", extra=extra)
        stack.callback(server.stop)
        core, other = cores()
        server.pin(core, other)
        size = probe(server.port, question, (("x-api-key", key),))
        headers = (f"x-api-key: {key}",)
        capacity = max(send(server.port, body, WARM_UP, CLOSED, headers=headers, core=other).rate for _ in range(5))
        console.print(f"closed loop, {CLOSED}: {capacity:,.0f} requests/s; in flight at most {options.max_inflight}")
        table = Table("offered/s", "of capacity", "answered/s", "refused", "p50 ms", "p99 ms", "RSS MB")
        for column in table.columns:
            column.justify = "right"
        for factor in FACTORS:
            requests = max(int(capacity * factor * options.seconds), WARM_UP)
            load = send(server.port, body, requests, OPEN, headers=headers, core=other, rate=capacity * factor)
            answered = load.data_bytes / size
            table.add_row(
                f"{load.rate:,.0f}",
                f"{factor:.1f}",
                f"{answered / load.seconds:,.0f}",
                f"{1 - answered / load.requests:.1%}",
                f"{load.p50_us / 1e3:,.1f}",
                f"{load.p99_us / 1e3:,.1f}",
                f"{server.rss_mb():,.0f}",
            )
            server.settle()
        console.print(table)


if __name__ == "__main__":
    main()
