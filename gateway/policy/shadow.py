"""Shadow: a candidate bundle decides the same calls, in another process, after the answer, with no effect at all.

The embedded engine holds the interpreter lock, so the candidate has a process of its own. What it cannot keep up with
is dropped and counted; if it fails, is slow or dies, no answer changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, field

import msgspec

from gateway.policy.bundle import Bundle
from gateway.policy.comparison import compare
from gateway.policy.input import PARAMS, document, encode
from gateway.policy.interpreter import Interpreter
from gateway.policy.obligations import kind
from gateway.policy.pdp import DecisionPoint, Query
from gateway.policy.schema import Gateway
from gateway.policy.verdict import failed, read
from gateway.types import Decision

MAX_EXAMPLES = 20


class Candidate(msgspec.Struct, frozen=True):
    """The first line to a shadow process: what shall decide there."""

    modules: dict[str, str]
    data: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A decided call, sent to the shadow process: one line of JSON."""

    id: str
    input: msgspec.Raw
    allow: bool
    codes: tuple[str, ...]
    types: tuple[str, ...]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a case came to: one line of JSON back. ``kind`` is "" when nothing changed."""

    id: str
    kind: str = ""
    checks: tuple[str, ...] = ()


@dataclass(slots=True)
class ShadowReport:
    """Coverage first: of ``seen`` decisions ``compared`` were decided again. Then changes, with first examples."""

    seen: int = 0
    compared: int = 0
    dropped: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    examples: list[Judgement] = field(default_factory=list)

    @property
    def coverage(self) -> float:
        """Share of decisions that the candidate decided too."""
        return self.compared / self.seen if self.seen else 0.0


class Shadow:
    """A decision point that hands a sample of its decisions to a candidate. For one event loop.

    ``share`` is the sampled part; at most ``queue`` cases wait. ``open`` starts the process, ``close`` ends it.
    """

    def __init__(
        self,
        point: DecisionPoint,
        candidate: Bundle,
        *,
        gateway: Gateway,
        share: float = 1.0,
        queue: int = 1000,
        params: frozenset[str] = PARAMS,
    ) -> None:
        self.report = ShadowReport()
        self._point = point
        self._candidate = candidate
        self._gateway = gateway
        self._share = share
        self._params = params
        self._limit = queue
        self._waiting: deque[tuple[Query, Decision]] = deque()
        self._wake = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def revision(self) -> str:
        """Names the bundle that decides, never the candidate."""
        return self._point.revision

    async def decide(self, query: Query) -> Decision:
        """The point's own decision. Raises: what the point raises."""
        decision = await self._point.decide(query)
        self.report.seen += 1
        if random.random() < self._share:  # noqa: S311  # sampling, not a secret
            if len(self._waiting) < self._limit and self._tasks:
                self._waiting.append((query, decision))
                self._wake.set()
            else:
                self.report.dropped += 1
        return decision

    async def open(self) -> None:
        """Start the shadow process. Raises: OSError."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.policy.shadow",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def close(self) -> None:
        """End the shadow process; what waits is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _send(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        candidate = Candidate(dict(self._candidate.modules), self._candidate.data)
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(candidate) + b"\n")
            while True:
                await process.stdin.drain()
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                process.stdin.write(self._line(*self._waiting.popleft()))

    def _line(self, query: Query, decision: Decision) -> bytes:
        case = Case(
            id=decision.id,
            input=msgspec.Raw(encode(document(query, self._gateway, self._params))),
            allow=decision.allow,
            codes=decision.codes,
            types=tuple(kind(obligation) for obligation in decision.obligations),
        )
        return msgspec.json.encode(case) + b"\n"

    async def _receive(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        async for line in process.stdout:
            judgement = msgspec.json.decode(line, type=Judgement)
            self.report.compared += 1
            if judgement.kind:
                self.report.changes[judgement.kind] += 1
                if len(self.report.examples) < MAX_EXAMPLES:
                    self.report.examples.append(judgement)


def judge(engine: Interpreter, case: Case) -> Judgement:
    """Decide ``case`` with the candidate."""
    try:
        verdict = read(engine.evaluate(bytes(case.input).decode()))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # an engine panic is not an Exception; it is a denial
        verdict = failed(error)
    change = compare(case.allow, case.codes, case.types, verdict)
    if verdict.kind and case.allow:
        return Judgement(id=case.id, kind="error", checks=tuple(reason.code for reason in verdict.reasons))
    return Judgement(id=case.id) if change is None else Judgement(id=case.id, kind=change[0], checks=change[1])


def main() -> None:
    """The shadow process: a candidate on the first line of stdin, then cases; a judgement a line on stdout."""
    candidate = msgspec.json.decode(sys.stdin.buffer.readline(), type=Candidate)
    engine = Interpreter(candidate.modules, candidate.data)
    for line in sys.stdin.buffer:
        judgement = judge(engine, msgspec.json.decode(line, type=Case))
        sys.stdout.buffer.write(msgspec.json.encode(judgement) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
