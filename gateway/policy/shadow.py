"""The engine of a shadow: a candidate bundle decides recorded calls again, in a process of its own.

The embedded engine holds the interpreter lock and has no time limit, so it runs where neither matters: what it is slow
on, fails on or dies of changes no answer. Parent and child exchange one line of JSON a batch.
"""

from __future__ import annotations

import contextlib
import functools
import select
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.policy.bundle import Bundle
from gateway.policy.comparison import compare
from gateway.policy.incumbents import Incumbents
from gateway.policy.interpreter import Interpreter
from gateway.policy.reads import Reads
from gateway.policy.replay import decide_again
from gateway.policy.verdict import Verdict

DEADLINE_S = 60.0
"""How long a batch may take; a child that takes longer is ended and counts as dead."""
REMEMBERED = 10_000


class Candidate(msgspec.Struct, frozen=True):
    """The first line to the child: what shall decide there, and where the revisions are that decided before."""

    modules: dict[str, str]
    data: str
    reads: Reads | None
    revisions: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded decision: its input as it was kept, its revision's digest, denying codes and obligations' types."""

    input: str
    digest: str = ""
    allow: bool
    codes: tuple[str, ...]
    types: tuple[str, ...]


class Judgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a case came to: ``skipped`` says why the candidate could not decide it; ``kind`` is "" when nothing changed.

    ``checks`` are the codes or types that came or went.
    """

    kind: str = ""
    checks: tuple[str, ...] = ()
    skipped: str = ""


class EngineDied(Exception):
    """The child ended, or did not answer in time."""


class ShadowEngine:
    """A candidate in a child process. For one thread at a time; every call blocks.

    A child that dies is replaced. A case that kills it every time is the candidate's ``error``, and no other's.
    """

    def __init__(self, candidate: Bundle, *, revisions: Path | None = None, deadline_s: float = DEADLINE_S) -> None:
        """``revisions`` is the folder of kept revisions, by which values of obligations are compared."""
        folder = str(revisions) if revisions is not None else ""
        self._first = Candidate(dict(candidate.modules), candidate.data, candidate.reads, folder)
        self._deadline_s = deadline_s
        self._child: subprocess.Popen[bytes] | None = None

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement a case, in order. Raises: OSError when no process can be started."""
        if not cases:
            return []
        try:
            return self._ask(cases)
        except EngineDied:
            self.close()
            if len(cases) == 1:
                return [Judgement(kind="error", checks=("engine_died",))]
            middle = len(cases) // 2
            return [*self.judge(cases[:middle]), *self.judge(cases[middle:])]

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _ask(self, cases: Sequence[Case]) -> list[Judgement]:
        child = self._child or self._start()
        if child.stdin is None or child.stdout is None:
            raise EngineDied
        try:
            child.stdin.write(msgspec.json.encode(cases) + b"\n")
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], self._deadline_s)
            answer = child.stdout.readline() if ready else b""
        except BrokenPipeError as error:
            raise EngineDied from error
        if not answer.endswith(b"\n"):
            raise EngineDied
        return msgspec.json.decode(answer, type=list[Judgement])

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "gateway.policy.shadow"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        if self._child.stdin is not None:
            self._child.stdin.write(msgspec.json.encode(self._first) + b"\n")
        return self._child


class Judge:
    """The child's side. Equal inputs are decided once: a decision depends on nothing else."""

    def __init__(self, candidate: Candidate) -> None:
        """Raises: RegoError."""
        self._engine = Interpreter(candidate.modules, candidate.data)
        self._reads = candidate.reads
        self._incumbents = Incumbents(Path(candidate.revisions) if candidate.revisions else None)
        self._known: OrderedDict[str, Verdict | str] = OrderedDict()

    def judge(self, case: Case) -> Judgement:
        """Decide ``case`` with the candidate and say what differs."""
        answer = self._answer(case.input)
        if isinstance(answer, str):
            return Judgement(skipped=answer)
        before = functools.partial(self._incumbents.obligations, case.digest, case.input.encode(), case.types)
        change = compare(case.allow, case.codes, case.types, answer, before)
        if answer.kind and case.allow:
            return Judgement(kind="error", checks=tuple(reason.code for reason in answer.reasons))
        return Judgement() if change is None else Judgement(kind=change[0], checks=change[1])

    def _answer(self, text: str) -> Verdict | str:
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        answer = self._known[text] = decide_again(self._engine, self._reads, text.encode())
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return answer


def main() -> None:
    """The child: a candidate on the first line of stdin, then lists of cases; a list of judgements a line on stdout."""
    judge = Judge(msgspec.json.decode(sys.stdin.buffer.readline(), type=Candidate))
    for line in sys.stdin.buffer:
        judgements = [judge.judge(case) for case in msgspec.json.decode(line, type=list[Case])]
        sys.stdout.buffer.write(msgspec.json.encode(judgements) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
