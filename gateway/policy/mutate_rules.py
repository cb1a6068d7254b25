"""Mutation of rules: would the tests and canaries notice a rule that was weakened?

One change at a time: a condition dropped, a comparison flipped, a rule removed. A mutant under which every test passes
and every canary is answered as stated has survived: nothing proves the line that it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.policy.bundle import Bundle
from gateway.policy.canaries import failures, parse
from gateway.policy.interpreter import Ast, Interpreter, RegoError
from gateway.policy.lint.place import place, start_of
from gateway.policy.lint.scope import queries, rule_name, walk
from gateway.policy.mutate import accepted_labels
from gateway.policy.syntax import Module, Node, kind_of, modules
from gateway.policy.testing import run_tests
from gateway.policy.verdict import Verdict, failed, read

_FLIPPED = {
    "Lt": ("<", ">="),
    "Le": ("<=", ">"),
    "Gt": (">", "<="),
    "Ge": (">=", "<"),
    "Eq": ("==", "!="),
    "Ne": ("!=", "=="),
}


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One changed module. ``text`` says what was done, ``source`` is the module with the change."""

    file: str
    line: int
    col: int
    text: str
    source: str

    @property
    def label(self) -> str:
        """How ``mutate.allow`` names it: the file and what was done, without the line, which moves."""
        return f"{self.file}: {self.text}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}: untested-rule: no test fails after: {self.text}"


def mutants(ast: Ast) -> Iterator[Mutant]:
    """Every single-rule change of the modules."""
    for module in modules(ast):
        for rule in module.rules:
            if kind_of(rule) != "Spec":
                continue
            if rule_name(rule) == "proven":
                yield _removed(module, rule["Spec"]["span"])
            for statements, _ in queries(rule):
                if len(statements) > 1:
                    yield from (_removed(module, s["span"]) for s in statements if _drops(s))
            yield from _flips(module, rule)


def survivors(bundle: Bundle) -> tuple[int, tuple[Mutant, ...]]:
    """How many mutants of ``bundle`` there are, and those that neither test nor canary notices nor anyone accepts.

    Raises: PolicyInvalid, ValueError for canaries or a ``mutate.allow`` that do not fit.
    """
    accepted = accepted_labels(bundle.accepted)
    found = list(mutants(Interpreter(bundle.modules, bundle.data).ast()))
    doubtful = (mutant for mutant in found if mutant.label not in accepted)
    return len(found), tuple(sorted(mutant for mutant in doubtful if not _noticed(bundle, mutant)))


def _noticed(bundle: Bundle, mutant: Mutant) -> bool:
    """Whether a mutant fails: at load, in a test, at a canary."""
    changed = {**bundle.modules, mutant.file: mutant.source}
    try:
        engine = Interpreter(changed, bundle.data)
        if failures(parse(bundle.canaries), lambda raw: _ask(engine, raw)):
            return True
        return bool(bundle.tests) and not run_tests(changed, bundle.tests, bundle.data).passed
    except RegoError:
        return True


def _ask(engine: Interpreter, raw: bytes) -> Verdict:
    try:
        return read(engine.evaluate(raw.decode()))
    except RegoError as error:
        return failed(error)


def _drops(statement: Node) -> bool:
    """A condition that only restricts: not one that binds a name which others need."""
    literal = statement["literal"]
    if kind_of(literal) == "NotExpr":
        return True
    return kind_of(literal) == "Expr" and kind_of(literal["Expr"]["expr"]) in ("BoolExpr", "Call", "Membership")


def _removed(module: Module, span: Node) -> Mutant:
    start, end = int(span["start"]), int(span["end"])
    lost = module.contents.encode()[start:end].decode().partition("\n")[0].strip()
    return _replaced(module, start, end, b"", f"without {lost}")


def _flips(module: Module, rule: Node) -> Iterator[Mutant]:
    for node in walk(rule):
        if kind_of(node) != "BoolExpr":
            continue
        body = node["BoolExpr"]
        old, new = _FLIPPED[body["op"]]
        begin = module.contents.encode().find(old.encode(), start_of(body["lhs"]), start_of(body["rhs"]) + 1)
        if begin >= 0:
            rest = module.contents.encode()[start_of(node) :].decode().partition("\n")[0].strip()
            yield _replaced(module, begin, begin + len(old), new.encode(), f"{new} instead of {old} in {rest}")


def _replaced(module: Module, start: int, end: int, new: bytes, text: str) -> Mutant:
    raw = module.contents.encode()
    line, col = place(module, start)
    kept = new or b"\n" * raw[start:end].count(b"\n")
    return Mutant(module.file, line, col, text, (raw[:start] + kept + raw[end:]).decode())
