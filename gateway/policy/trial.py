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
from collections.abc import Iterator, Mapping

import orjson

from gateway.policy.findings import Finding
from gateway.policy.interpreter import ENTRYPOINT, Interpreter, RegoError
from gateway.policy.lint import lint
from gateway.policy.lint.calls import full_name
from gateway.policy.lint.scope import head_kind
from gateway.policy.samples import samples
from gateway.policy.syntax import Unknown, modules

DEADLINE_S = 20.0
MAX_DECISION_MS = 5.0
_STATIC = ("is unsafe", "could not find function", "recursion detected", "expects", "cyclic")


def trial(
    sources: Mapping[str, str],
    data: str,
    *,
    tests: Mapping[str, str] | None = None,
    deadline_s: float = DEADLINE_S,
    max_decision_ms: float = MAX_DECISION_MS,
) -> list[Finding]:
    """What lint and engine say of the modules, from a child process that lives at most ``deadline_s``.

    ``tests`` are only parsed.
    """
    task = orjson.dumps({"sources": dict(sources), "tests": dict(tests or {}), "data": data, "max_ms": max_decision_ms})
    command = [sys.executable, "-m", "gateway.policy.trial"]
    first = min(sources, default="")
    try:
        child = subprocess.run(command, input=task, capture_output=True, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired:
        text = f"parsing and evaluating once did not end in {deadline_s:g} s"
        return [Finding(first, 0, 0, "too-slow", text)]
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        text = f"the engine died on it (exit status {child.returncode}){': ' + said[0] if said else ''}"
        return [Finding(first, 0, 0, "compile", text)]
    return [Finding(**item) for item in json.loads(child.stdout)]


def judge(sources: Mapping[str, str], tests: Mapping[str, str], data: str, max_decision_ms: float) -> list[Finding]:
    """What lint and engine say, in this process. What has an error is not evaluated: it might not return."""
    findings = list(_parse_each({**sources, **tests}))
    if findings:
        return findings
    try:
        engine = Interpreter(sources, data)
        findings = [f for f in lint(engine.ast(), json.loads(data)) if f.severity == "error"]
        findings = findings or sorted(set(_evaluate_each(engine)))
    except RegoError as error:
        return [Finding.of_engine(str(error), "data.json")]
    except Unknown as unknown:
        return [Finding("", 0, 0, "compile", f"the syntax tree holds what this gateway cannot judge: {unknown}")]
    return findings or list(_time(engine, min(sources), max_decision_ms))


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
            action = document["action"]
            group = action["group"] if isinstance(action, dict) else ""
            said = f"one {group} decision takes {best:.1f} ms, at most {max_ms:g} ms are allowed"
            yield Finding(file, 0, 0, "too-slow", said)


def _run_ms(engine: Interpreter, document: str) -> float:
    begun = time.perf_counter_ns()
    try:
        engine.evaluate(document, ENTRYPOINT)
    except RegoError:  # a denial at run time; its cost counts all the same
        return (time.perf_counter_ns() - begun) / 1e6
    return (time.perf_counter_ns() - begun) / 1e6


def main() -> None:
    """Read a task from stdin, write findings to stdout, both JSON."""
    task = orjson.loads(sys.stdin.buffer.read())
    findings = judge(task["sources"], task["tests"], task["data"], task["max_ms"])
    sys.stdout.buffer.write(orjson.dumps(findings))


if __name__ == "__main__":
    main()
