"""The trial of a policy in a process of its own, before this one lets the engine near it.

The embedded engine holds the interpreter lock, has no time limit, parses deep nesting in exponential time and dies of
unbounded recursion. A policy that does any of that must kill a child and not the gateway, so modules are parsed, every
rule is evaluated once and the entrypoint is timed in a child with a deadline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import orjson

from gateway.policy.canaries import Canary, failures, parse
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.input import encode
from gateway.policy.interpreter import ENTRYPOINT, Interpreter, RegoError
from gateway.policy.lint import lint
from gateway.policy.lint.calls import full_name
from gateway.policy.lint.scope import head_kind
from gateway.policy.reads import Reads, reads_of
from gateway.policy.samples import laden, samples
from gateway.policy.slices import cut
from gateway.policy.syntax import Unknown, modules
from gateway.policy.testing import TestResult, run_tests
from gateway.policy.verdict import Verdict, failed, read

DEADLINE_S = 20.0
MAX_DECISION_MS = 5.0
WHAT_TO_DO = "a running gateway serves on with its last good revision; change the rule, the data, or the test"
_STATIC = ("is unsafe", "could not find function", "recursion detected", "expects", "cyclic")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is asked to try. ``vet`` adds the bundle's tests and canaries to what must hold."""

    modules: dict[str, str]
    data: str
    tests: dict[str, str] = {}
    canaries: bytes = b""
    vet: bool = False
    max_decision_ms: float = MAX_DECISION_MS


class Outcome(msgspec.Struct, frozen=True):
    """What a child found: everything the lint and the engine say, the input paths that the modules read, and how many
    tests and canaries it ran."""

    findings: tuple[Finding, ...]
    reads: Reads | None = None
    tests: int = 0
    canaries: int = 0


def trial(task: Task, *, deadline_s: float = DEADLINE_S) -> Outcome:
    """Try ``task`` in a child process that lives at most ``deadline_s``. Makes no engine in this process."""
    command = [sys.executable, "-P", "-m", "gateway.policy.trial"]
    first = min(task.modules, default="")
    try:
        child = subprocess.run(
            command, input=msgspec.json.encode(task), capture_output=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired:
        text = f"parsing and evaluating once did not end in {deadline_s:g} s"
        return Outcome((Finding(first, 0, 0, "too-slow", text),))
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        text = f"the engine died on it (exit status {child.returncode}){': ' + said[0] if said else ''}"
        return Outcome((Finding(first, 0, 0, "compile", text),))
    return msgspec.json.decode(child.stdout, type=Outcome)


def judge(task: Task) -> Outcome:
    """Try ``task`` in this process. What has an error is not evaluated: it might not return."""
    findings = tuple(_parse_each({**task.modules, **task.tests}))
    if findings:
        return Outcome(findings)
    try:
        engine = Interpreter(task.modules, task.data)
        ast = engine.ast()
        findings = tuple(lint(ast, json.loads(task.data)))
        if not any(finding.severity == "error" for finding in findings):
            findings += tuple(sorted(set(_evaluate_each(engine))))
        if not any(finding.severity == "error" for finding in findings):
            reads, canaries = reads_of(ast), parse(task.canaries) if task.vet else ()
            findings += tuple(_time(engine, min(task.modules), task.max_decision_ms))
            findings += tuple(overlooked(engine, reads, min(task.modules), canaries))
            vetted = _vet(engine, task, canaries) if task.vet else Outcome(())
            return Outcome(findings + vetted.findings, reads, vetted.tests, vetted.canaries)
    except RegoError as error:
        return Outcome((Finding.of_engine(str(error), "data.json"),))
    except (PolicyInvalid, Unknown) as trouble:
        unknown = Finding("", 0, 0, "compile", f"the syntax tree holds what this gateway cannot judge: {trouble}")
        return Outcome(trouble.findings if isinstance(trouble, PolicyInvalid) else (unknown,))
    return Outcome(findings, reads_of(ast))


def _vet(engine: Interpreter, task: Task, canaries: tuple[Canary, ...]) -> Outcome:
    """Tests that fail, canaries that are answered wrongly. Raises: RegoError."""
    results = run_tests(task.modules, task.tests, task.data).results if task.tests else ()
    findings = [_failed_test(result) for result in results if not result.passed]
    for finding in failures(canaries, lambda raw: _answer(engine, raw), task.canaries):
        findings.append(replace(finding, text=f"{finding.text} ({WHAT_TO_DO})"))
    return Outcome(tuple(findings), None, len(results), len(canaries))


def _failed_test(result: TestResult) -> Finding:
    said, _, prints = result.text.partition("\n")
    text = f"{result.name}: {said} ({WHAT_TO_DO})"
    return Finding(result.file, result.line, 1, "test", f"{text}\n{prints}" if prints else text)


def _answer(engine: Interpreter, raw: bytes) -> Verdict:
    try:
        return read(engine.evaluate(raw.decode()))
    except RegoError as error:
        return failed(error)


def overlooked(engine: Interpreter, reads: Reads | None, file: str, canaries: Sequence[Canary]) -> Iterator[Finding]:
    """Samples and canaries that are decided otherwise by what the policy was found to read than by the whole document:
    then it reads more, and a gateway, which gives it no more, would not decide as its author wrote."""
    if reads is None or () in reads:
        return  # it is given all
    documents = [(f"a sample of {_group(document)}", document) for document in (*samples(), laden())]
    documents += [(f"canary {canary.name}", canary.document()) for canary in canaries]
    for name, document in documents:
        if _answer(engine, encode(document)) != _answer(engine, cut(document, reads).shown):
            text = f"{name} is decided otherwise by what the policy is known to read: write input.… where it is read"
            yield Finding(file, 0, 0, "overlooked-read", text)


def _group(document: Mapping[str, object]) -> str:
    action = document["action"]
    return str(action["group"]) if isinstance(action, dict) else ""


def _parse_each(sources: Mapping[str, str]) -> Iterator[Finding]:
    """One syntax error for each module that has any."""
    for name in sorted(sources):
        try:
            Interpreter({name: sources[name]}, "{}")
        except RegoError as error:
            yield Finding.of_engine(str(error), name, source=sources[name])


def _evaluate_each(engine: Interpreter) -> Iterator[Finding]:
    """Mistakes that the engine only finds when a rule runs: unsafe variables, unknown functions, recursion."""
    document = orjson.dumps(next(d for d in samples() if d["action"]["group"] == "inference")).decode()  # type: ignore[index]  # our own sample
    seen: set[str] = set()
    for module in modules(engine.ast()):
        for rule in module.rules:
            name = full_name(module, rule)
            if head_kind(rule) == "Func" or name in seen:
                continue
            seen.add(name)
            try:
                engine.evaluate(document, name)
            except RegoError as error:
                if any(mark in str(error) for mark in _STATIC):
                    yield Finding.of_engine(str(error), module.file, "compile", source=module.contents)


def _time(engine: Interpreter, file: str, max_ms: float) -> Iterator[Finding]:
    """The best of three runs over each sample: slow is what is slow every time."""
    for document in samples():
        text = orjson.dumps(document).decode()
        best = min(_run_ms(engine, text) for _ in range(3))
        if best > max_ms:
            said = f"one {_group(document)} decision takes {best:.1f} ms, at most {max_ms:g} ms are allowed"
            yield Finding(file, 0, 0, "too-slow", said)


def _run_ms(engine: Interpreter, document: str) -> float:
    begun = time.perf_counter_ns()
    try:
        engine.evaluate(document, ENTRYPOINT)
    except RegoError:  # a denial at run time; its cost counts all the same
        return (time.perf_counter_ns() - begun) / 1e6
    return (time.perf_counter_ns() - begun) / 1e6


def main() -> None:
    """Read a task from stdin, write its outcome to stdout, both JSON."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(msgspec.json.encode(judge(task)))


if __name__ == "__main__":
    main()
