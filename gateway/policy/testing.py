"""Runs a bundle's ``test_*`` rules in process, without OPA, and counts the policy's lines that they reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.policy import syntax
from gateway.policy.interpreter import Interpreter, RegoError
from gateway.policy.lint.calls import full_name
from gateway.policy.lint.imports import written_out
from gateway.policy.lint.place import place, start_of
from gateway.policy.lint.scope import rule_name


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test, where it stands and how it ended: ``text`` says why it failed, "" when it passed."""

    __test__ = False

    name: str
    file: str
    line: int
    passed: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """All tests of a bundle. ``missed`` are the policy's lines that no test ran, by file."""

    __test__ = False

    results: tuple[TestResult, ...]
    covered: int
    missed: dict[str, tuple[int, ...]]

    @property
    def passed(self) -> bool:
        """Whether there are tests and every one passed."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def coverage(self) -> float:
        """Percent of the policy's lines that ran."""
        total = self.covered + sum(map(len, self.missed.values()))
        return 100.0 * self.covered / total if total else 0.0


def run_tests(modules: Mapping[str, str], tests: Mapping[str, str], data: str) -> TestReport:
    """Run every test rule in ``tests`` against ``modules`` and ``data``. Raises: RegoError."""
    spelled = {name: written_out(name, source) for name, source in tests.items()}
    engine = Interpreter({**modules, **spelled}, data)
    engine.start_coverage()
    engine.gather_prints()
    results = tuple(_run(engine, *test) for test in _tests(engine, tests))
    ran = {file: lines for file, (lines, _) in engine.coverage().items()}
    missed = {file: tuple(sorted(all_ - ran.get(file, frozenset()))) for file, all_ in _lines(modules, data).items()}
    return TestReport(results, sum(len(ran.get(file, ())) for file in modules), missed)


def _lines(modules: Mapping[str, str], data: str) -> dict[str, frozenset[int]]:
    """The lines of each module that can run at all: the engine only tells of modules that it has evaluated."""
    engine = Interpreter(modules, data)
    engine.start_coverage()
    for module in syntax.modules(engine.ast()):
        for rule in module.rules:
            with contextlib.suppress(RegoError):  # a function is no value; what a test says counts, not this
                engine.evaluate("{}", full_name(module, rule))
    return {file: ran | idle for file, (ran, idle) in engine.coverage().items() if file in modules}


def _tests(engine: Interpreter, tests: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Full names of test rules with their file and line, each once."""
    seen: set[str] = set()
    for module in syntax.modules(engine.ast()):
        for rule in module.rules:
            name = full_name(module, rule)
            if module.file in tests and rule_name(rule).startswith("test_") and name not in seen:
                seen.add(name)
                yield name, module.file, place(module, start_of(rule))[0]


def _run(engine: Interpreter, name: str, file: str, line: int) -> TestResult:
    short = name.removeprefix("data.")
    try:
        answer = engine.evaluate("{}", name)
    except RegoError as error:
        return TestResult(short, file, line, False, str(error))
    prints = engine.take_prints()
    if answer == b"true":
        return TestResult(short, file, line, True)
    said = "".join(f"\n    {line}" for line in prints)
    return TestResult(short, file, line, False, f"it is {answer.decode()}, expected true{said}")
