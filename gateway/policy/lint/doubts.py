"""Warnings: what is probably not meant, though a policy can be right with it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.policy.findings import Finding
from gateway.policy.keys import UNCACHEABLE
from gateway.policy.lint.paths import chain
from gateway.policy.lint.place import finding
from gateway.policy.lint.scope import head_kind, head_of, nested_queries, queries, rule_name, walk
from gateway.policy.reads import Reads
from gateway.policy.schema import type_at
from gateway.policy.syntax import Module, Node, kind_of

_LOW, _HIGH = ("Lt", "Le"), ("Gt", "Ge")


def check_doubts(modules: list[Module], reads: Reads | None) -> Iterator[Finding]:
    """Warnings over all modules."""
    for module in modules:
        for rule in module.rules:
            for statements, _ in [*queries(rule), *nested_queries(rule)]:
                yield from _compares(module, [s["literal"] for s in statements])
                yield from _every(module, [s["literal"] for s in statements])
    yield from _unproven(modules)
    file = modules[0].file if modules else ""
    if reads is None or () in reads:
        text = "reads the whole input: nothing is cached, and replay needs full inputs"
        yield Finding(file, 1, 1, "wide-read", text, "warning")
    for path in sorted((reads or frozenset()) & UNCACHEABLE):
        text = f"reads input.{'.'.join(path)}, which is new with every call: nothing is cached"
        yield Finding(file, 1, 1, "uncacheable", text, "warning")


def _expressions(literals: list[Node]) -> Iterator[Node]:
    for literal in literals:
        if kind_of(literal) == "Expr":
            yield literal["Expr"]["expr"]


def _input_path(node: Node) -> tuple[str | None, ...] | None:
    if kind_of(node) not in ("RefDot", "RefBrack"):
        return None
    root, segments = chain(node)
    return tuple(segments) if root == "input" else None


def _sides(node: Node) -> Iterator[tuple[tuple[str | None, ...], str]]:
    """Input paths that a comparison bounds, with ``upper`` or ``lower``."""
    if kind_of(node) != "BoolExpr" or node["BoolExpr"]["op"] not in (*_LOW, *_HIGH):
        return
    body = node["BoolExpr"]
    for side, upper in ((body["lhs"], _LOW), (body["rhs"], _HIGH)):
        path = _input_path(side)
        if path is not None and isinstance(type_at(list(path)), msgspec.inspect.IntType):
            yield path, "upper" if body["op"] in upper else "lower"


def _compares(module: Module, literals: list[Node]) -> Iterator[Finding]:
    """``null <= 32`` and ``-1 <= 32`` hold: a number is bounded when its type and its floor are stated too."""
    expressions = list(_expressions(literals))
    bounds = {found for node in expressions for found in _sides(node)}
    typed = {_input_path(n["Call"]["params"][0]) for n in expressions if _calls(n, "is_number")}
    for node in expressions:
        for path, side in _sides(node):
            if side == "upper" and ((path, "lower") not in bounds or path not in typed):
                name = "input." + ".".join(s or "[…]" for s in path)
                text = f"{name} needs is_number and a lower bound in the same body"
                yield finding(module, node, "unbounded-compare", text, "warning")


def _calls(node: Node, name: str) -> bool:
    return (
        kind_of(node) == "Call"
        and kind_of(node["Call"]["fcn"]) == "Var"
        and node["Call"]["fcn"]["Var"]["value"] == name
        and len(node["Call"]["params"]) > 0
    )


def _every(module: Module, literals: list[Node]) -> Iterator[Finding]:
    counted = {
        _input_path(node["Call"]["params"][0])
        for literal in literals
        for node in walk(literal)
        if _calls(node, "count")
    }
    for literal in literals:
        if kind_of(literal) != "Every":
            continue
        path = _input_path(literal["Every"]["domain"])
        if path is not None and path not in counted:
            text = "every holds on an empty collection: add count(…) > 0"
            yield finding(module, literal, "vacuous-every", text, "warning")


def _unproven(modules: list[Module]) -> Iterator[Finding]:
    """Obligation types that no ``proven`` rule names: one that fails to appear would not be missed."""
    named = {
        str(node["String"]["value"])
        for module in modules
        for rule in module.rules
        if head_kind(rule) == "Set" and rule_name(rule) == "proven"
        for node in walk(rule)
        if "String" in node
    }
    for module in modules:
        for rule in module.rules:
            if head_kind(rule) == "Set" and rule_name(rule) == "obligations":
                for kind, node in _types(head_of(rule)["key"]):
                    if kind not in named:
                        text = f"no proven rule names {kind!r}: an obligation that vanishes opens"
                        yield finding(module, node, "unproven-obligation", text, "warning")


def _types(head: Node) -> Iterator[tuple[str, Node]]:
    for node in walk(head):
        if "Object" in node:
            for _, key, value in node["Object"]["fields"]:
                if key.get("String", {}).get("value") == "type" and "String" in value:
                    yield str(value["String"]["value"]), value
