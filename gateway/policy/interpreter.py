"""regorus, the embedded Rego interpreter: the only module that knows its package.

Its traps are closed here: a new policy is always a new engine (adding a path twice makes both copies fire), values
cross as JSON both ways (its own conversion fails on sets of objects), an engine belongs to the thread that built it
(on any other it panics with a ``BaseException``, and dropped on any other it is never freed), undefined arrives as
the string ``"<undefined>"``.
"""

from __future__ import annotations

import importlib.metadata
import json
import threading
from collections.abc import Mapping
from typing import NewType

import regorus

ENTRYPOINT = "data.gateway.authz.decision"
DISTRIBUTION = "gordon-to-regorus"
VERSION = "0.13.0"

Ast = NewType("Ast", list[dict[str, object]])
"""Syntax trees of all modules, as ``get_ast_as_json`` gives them."""


class RegoError(Exception):
    """The engine refused a module or an evaluation; the text has the engine's own ``file:line:col``."""


class Home(threading.local):
    """Where a thread's engines go to be freed: another thread may leave them here, only their own takes them out."""

    def __init__(self) -> None:
        self.returned: list[regorus.Engine] = []


_HOME = Home()


class Interpreter:
    """One set of modules and data, ready to evaluate. For the thread that built it alone; any thread may forget it."""

    def __init__(self, modules: Mapping[str, str], data: str) -> None:
        """Raises: RegoError on a syntax error or bad data, naming file, line and column."""
        _guard()
        self._returned = _HOME.returned
        self._returned.clear()
        self._engine = regorus.Engine()
        try:
            for name in sorted(modules):
                self._engine.add_policy(name, modules[name])
            self._engine.add_data_json(data)
        except RuntimeError as error:
            raise RegoError(_cut(error)) from error

    def __del__(self) -> None:
        """The collector finds cycles on whatever thread it runs; the engine must not be dropped there."""
        if hasattr(self, "_engine") and _HOME.returned is not self._returned:
            self._returned.append(self._engine)

    def evaluate(self, document: str, rule: str = ENTRYPOINT) -> bytes:
        """The rule's value for the input ``document``, both as JSON; ``"<undefined>"`` when it has none.

        Raises: RegoError; and whatever a panic raises, which is not an ``Exception``.
        """
        try:
            self._engine.set_input_json(document)
            answer: str = self._engine.eval_rule_as_json(rule)
        except RuntimeError as error:
            raise RegoError(_cut(error)) from error
        return answer.encode()

    def query(self, text: str) -> object:
        """The value of any query over the loaded modules, decoded. Raises: RegoError."""
        try:
            return json.loads(self._engine.eval_query_as_json(text))
        except RuntimeError as error:
            raise RegoError(_cut(error)) from error

    def ast(self) -> Ast:
        """The syntax trees of all modules."""
        return Ast(json.loads(self._engine.get_ast_as_json()))

    def start_coverage(self) -> None:
        """Count executed lines from now on."""
        self._engine.set_enable_coverage(True)
        self._engine.clear_coverage_data()

    def coverage(self) -> dict[str, tuple[frozenset[int], frozenset[int]]]:
        """Per file: lines that ran, lines that did not."""
        report = json.loads(self._engine.get_coverage_report_as_json())
        return {file["path"]: (frozenset(file["covered"]), frozenset(file["not_covered"])) for file in report["files"]}

    def gather_prints(self) -> None:
        """Keep what ``print`` says instead of writing it to stderr."""
        self._engine.set_gather_prints(True)

    def take_prints(self) -> list[str]:
        """What was printed since the last call."""
        return list(self._engine.take_prints())


def _guard() -> None:
    """The distribution's provenance is one person's account, so exactly one version is believed."""
    found = importlib.metadata.version(DISTRIBUTION)
    if found != VERSION:
        raise RegoError(f"{DISTRIBUTION} {found} is installed, this gateway was proved with {VERSION}")


def _cut(error: BaseException) -> str:
    return str(error).split("\n\nStack backtrace", 1)[0].strip()
