"""Where a governed request's time goes: microseconds per stage of the handler, in process, with the real parts.

Each stage is called alone, in a loop, with the values that the stage before it gave; the best of five rounds is
printed, for the rest is noise. Below stands the whole handler with 128 calls in flight, as the transport would call it:
CPU of the loop's thread and of the ledger's, and what a call waits for.

    python bench/stages.py --policies policies
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from load import METHOD
from machine import describe
from request import MODEL, digits
from rich.console import Console
from rich.table import Table
from servers import ROOT, create_key

from gateway import __version__
from gateway.app.assembly import recorder, table
from gateway.app.child import Brief
from gateway.app.clocks import clock_ns, clock_s, clock_us
from gateway.app.data import DataDir
from gateway.app.worker import open_parts
from gateway.config import Config
from gateway.config.tree import Models, Policy
from gateway.ledger import leaf as leaves
from gateway.ledger.commitment import Salts, commit, commit_bytes
from gateway.pipeline.draft import Draft, record_of
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.obligations import Obligations
from gateway.policy.bundle import Bundle
from gateway.policy.pdp import Query, enforce
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.rpc import codec
from gateway.rpc.actions import INFER
from gateway.rpc.context import Clocks, context
from gateway.transport.h2.turn_length import FIRST
from gateway.transport.seam import Answer, Head, Refused
from gateway.types import ModelRef, Reply

ROUNDS = 5
INFLIGHT = 128


@dataclass(frozen=True, slots=True)
class Timing:
    """One row of the table."""

    stage: str
    us: float
    note: str = ""


def timed(stage: str, call: Callable[[], object], loops: int = 4000, note: str = "") -> Timing:
    """Microseconds of one ``call``: the best of five rounds of ``loops``."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(loops):
            call()
        best = min(best, (time.perf_counter_ns() - start) / loops / 1e3)
    return Timing(stage, best, note)


async def awaited(stage: str, call: Callable[[], Awaitable[object]], company: int, note: str) -> Timing:
    """Microseconds of one ``call``, ``company`` of them in one turn of the loop: the best of five rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(200):
            await asyncio.gather(*(call() for _ in range(company)))
        best = min(best, (time.perf_counter_ns() - start) / (200 * company) / 1e3)
    return Timing(stage, best, note)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not suspend. Raises: RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("this stage suspends; it cannot be timed alone")


class Told:
    """Stands for the transport: hears the end of ``calls`` calls, after which ``all`` is done."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, _: Answer) -> None:
        self._left -= 1
        if not self._left:
            self.all.set_result(None)

    def refuse(self, refused: Refused) -> None:
        if not self.all.done():
            self.all.set_exception(refused)

    def stopped(self) -> None:
        raise RuntimeError("nobody cancels these calls")


class Stages:
    """The parts of a worker, opened on a fresh data directory, and one request to put through them."""

    def __init__(self, config: Config, key: str) -> None:
        self._config = config
        self._body = digits().message
        self._head = Head(
            method=METHOD,
            metadata=(("x-api-key", key.encode()),),
            peer="127.0.0.1",
        )
        self._clocks = Clocks(us=clock_us, ns=clock_ns)

    async def open(self, stack: AsyncExitStack) -> None:
        """Open what a worker opens, as it does."""
        DataDir(self._config.data).prepare()
        have = await open_parts(stack, self._config, Brief(role="worker", index=0, workers=(0,), port=0, config=""))
        self._models, self._chain, self._admission = have.models.manager, have.chain, have.admission
        self._point = have.policies.point
        self._uncached = EmbeddedPoint(
            Bundle.read(self._config.policy.dir),
            gateway=Gateway(instance="bench", region="", env="", version=__version__),
        )
        self._salts = Salts()
        self._obligations = Obligations(counters=have.counters, clock_s=clock_s, mask_key=b"k" * 32)
        self._enforcement = Enforcement(
            authenticator=self._chain, models=self._models, decisions=self._point, clock_ns=clock_ns
        )
        self._begin = table(have, recorder(have), lambda: True).prompt[METHOD]

    async def warm(self) -> None:
        """Send a few thousand calls, so that caches and the model's pace are as in service."""
        for _ in range(30):
            await self.burst(INFLIGHT)

    async def burst(self, calls: int) -> None:
        """So many requests through the whole handler, begun in turns of the loop as the transport does it."""
        told = Told(calls)
        for call in range(calls):
            if call % FIRST == 0:
                await asyncio.sleep(0)
            self._begin(self._head, self._body, told)
        await told.all

    def before_the_run(self) -> list[Timing]:
        """From bytes to a permit."""
        asked = context(self._head, INFER, self._clocks, size=len(self._body))
        call = codec.decode_infer(self._body, asked)
        principal = run(self._chain.authenticate(asked.credentials))
        query = Query(
            principal=principal,
            context=asked,
            model=self._models.resolve(ModelRef("digits")),
            requested="digits",
            call=call,
        )
        decision = run(self._point.decide(query))

        def permit() -> None:
            self._enforcement.permit_now(Draft(asked, call, call.model))

        def slot() -> None:
            with self._admission.slot(asked):
                pass

        return [
            timed("context", lambda: context(self._head, INFER, self._clocks, size=len(self._body))),
            timed("decode", lambda: codec.decode_infer(self._body, asked)),
            timed("admission", slot),
            timed("authenticate", lambda: run(self._chain.authenticate(asked.credentials))),
            timed("resolve", lambda: self._models.resolve(call.model)),
            timed("decide, cached", lambda: run(self._point.decide(query))),
            timed("decide, evaluated", lambda: run(self._uncached.decide(query)), 200, "only on a miss"),
            timed("enforce", lambda: enforce(decision)),
            timed("authenticate to permit", permit, note="the four above, together"),
        ]

    async def around_the_run(self) -> list[Timing]:
        """From a permit to an encoded answer and its record."""
        asked = context(self._head, INFER, self._clocks, size=len(self._body))
        call = codec.decode_infer(self._body, asked)
        draft = Draft(asked, call, call.model)
        permit, duties = self._enforcement.permit_now(draft)
        servable = self._models.servable(permit.servable)
        inputs = servable.signature.validate(call.inputs)
        inference = await servable.infer(inputs)
        draft.outputs = inference.outputs
        reply = Reply(call=call, servable=servable.id, outputs=inference.outputs)
        salt, decided = self._salts.take(), permit.decision.slice
        draft.inputs_c = draft.outputs_c = draft.policy_c = commit("in", salt, call.inputs)

        def lease() -> None:
            with self._models.lease(permit):
                pass

        def oblige() -> None:
            self._obligations.before(call, permit.decision, duties, servable.signature, 1, now_ns=0)
            self._obligations.after(inference.outputs, permit.decision, duties)

        def commitments() -> None:
            commit("in", self._salts.take(), call.inputs)
            commit("out", self._salts.take(), inference.outputs)
            commit_bytes("pol", salt, decided)

        def record() -> None:
            now = clock_ns()
            made = record_of(draft, None, shard="gw.0", seq=1, boot="", runtime="", relaxed=False, now_ns=now)
            leaves.encode(made)

        return [
            timed("lease", lease),
            timed("validate", lambda: servable.signature.validate(call.inputs)),
            timed("obligations", oblige, note="this principal has none"),
            await awaited("infer, alone", lambda: servable.infer(inputs), 1, "one row, with a turn of the loop"),
            await awaited("infer, 16 in a turn", lambda: servable.infer(inputs), 16, "each; they share a run"),
            timed("encode the answer", lambda: codec.encode_reply(reply)),
            timed("commitments", commitments, note="inputs, outputs, policy input"),
            timed("make and encode the record", record),
        ]

    async def whole(self, loops: int = 120) -> list[Timing]:
        """The handler with many calls in flight: the loop's own CPU, the other threads', and the wait."""
        wall, own, everyone = time.perf_counter_ns(), time.thread_time_ns(), time.process_time_ns()
        for _ in range(loops):
            await self.burst(INFLIGHT)
        calls = loops * INFLIGHT * 1e3
        wall, own = time.perf_counter_ns() - wall, time.thread_time_ns() - own
        everyone = time.process_time_ns() - everyone
        start = time.perf_counter_ns()
        for _ in range(200):
            await self.burst(1)
        alone = (time.perf_counter_ns() - start) / 200e3
        return [
            Timing("loop's thread", own / calls, f"{INFLIGHT} in flight"),
            Timing("ledger's thread", (everyone - own) / calls, "seal, insert, commit, fdatasync"),
            Timing("wall", wall / calls, "a call, while others run"),
            Timing("one call alone", alone, "waits for its own commit"),
        ]


async def measure(policies: Path, data: Path) -> list[tuple[str, list[Timing]]]:
    """All stages, grouped."""
    config = Config(data=data, models=Models(dirs=(MODEL.parent,)), policy=Policy(dir=policies))
    stages = Stages(config, create_key(data))
    async with AsyncExitStack() as stack:
        await stages.open(stack)
        await stages.warm()
        return [
            ("before the run", stages.before_the_run()),
            ("around the run", await stages.around_the_run()),
            ("the whole handler", await stages.whole()),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=Path, default=ROOT / "policies")
    options = parser.parse_args()
    console = Console(width=100)
    console.print(describe(), highlight=False)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".") as scratch:
        groups = uvloop.run(measure(options.policies, Path(scratch)))
    table = Table("stage", "us", "note")
    table.columns[1].justify = "right"
    for name, timings in groups:
        table.add_row(f"[bold]{name}", "", "")
        for timing in timings:
            table.add_row(f"  {timing.stage}", f"{timing.us:.2f}", timing.note)
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
