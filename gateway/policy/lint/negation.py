"""``not`` over something that can be undefined: true in one engine, undefined in the other, open in both."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.findings import Finding
from gateway.policy.lint.place import finding
from gateway.policy.lint.scope import Rules, nested_queries, queries, rule_name, variables
from gateway.policy.syntax import Module, Node, children, kind_of, literal_path

_LITERALS = ("String", "RawString", "Number", "Bool", "Null")
_COMPREHENSIONS = ("ArrayCompr", "SetCompr", "ObjectCompr")


def check_negations(module: Module, rules: Rules) -> Iterator[Finding]:
    """Findings on every ``not`` of a module."""
    for rule in module.rules:
        for statements, arguments in queries(rule):
            yield from _query(module, rules, rule, statements, set(arguments))
        for statements, names in nested_queries(rule):
            yield from _query(module, rules, rule, statements, names | _all_bound(rule))


def _all_bound(rule: Node) -> set[str]:
    """Names bound in the bodies around a nested query: they are bound before it is asked."""
    bound: set[str] = set()
    for statements, arguments in queries(rule):
        bound |= arguments
        for statement in statements:
            if "NotExpr" not in statement["literal"]:
                bound.update(_binds(statement["literal"]))
    return bound


def _query(module: Module, rules: Rules, rule: Node, statements: list[Node], bound: set[str]) -> Iterator[Finding]:
    for statement in statements:
        literal = statement["literal"]
        if kind_of(literal) == "NotExpr":
            yield from _negation(module, rules, rule, literal, bound)
        else:
            bound.update(_binds(literal))


def _binds(literal: Node) -> Iterator[str]:
    """Variables that are bound once a positive statement held."""
    if kind_of(literal) == "SomeVars":
        return
    yield from variables(literal)


def _negation(module: Module, rules: Rules, rule: Node, literal: Node, bound: set[str]) -> Iterator[Finding]:
    operand = literal["NotExpr"]["expr"]
    path = _path_of(operand)
    if path is not None and path[0] == "input":
        if rule_name(rule) != "reasons":
            text = f"not {'.'.join(path)} holds when the field is missing: state the positive"
            yield finding(module, literal, "undefined-negation", text, "warning")
        return
    if path is None and not _defined(operand, rules, bound):
        text = "the operand can be undefined, then engines disagree: negate a rule with a default or a set rule"
        yield finding(module, literal, "undefined-negation", text)


def _path_of(node: Node) -> tuple[str, ...] | None:
    return literal_path(node) if kind_of(node) in ("Var", "RefDot", "RefBrack") else None


def _defined(node: Node, rules: Rules, bound: set[str]) -> bool:
    """Whether every leaf is certainly defined."""
    kind = kind_of(node)
    if kind in _LITERALS or kind in _COMPREHENSIONS:
        return True
    if kind == "Var":
        name = str(node["Var"]["value"])
        return (name in bound and name not in rules.names) or name in rules.partial_sets or name in rules.defaults
    if kind in ("RefDot", "RefBrack"):
        return False
    if kind == "Call":
        return all(_defined(param, rules, bound) for param in node["Call"]["params"])
    return all(_defined(child, rules, bound) for child in children(node))
