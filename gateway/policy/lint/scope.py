"""Names of a rule body: which variables are bound before a statement, which names are rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.policy.syntax import Module, Node, children, kind_of


@dataclass(slots=True)
class Rules:
    """The rules of one package, over all its modules."""

    names: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    partial_sets: set[str] = field(default_factory=set)
    defaults: dict[str, list[tuple[Module, Node]]] = field(default_factory=dict)


def rules_by_package(modules: list[Module]) -> Mapping[tuple[str, ...], Rules]:
    """What each package defines."""
    found: dict[tuple[str, ...], Rules] = {}
    for module in modules:
        rules = found.setdefault(module.package, Rules())
        for rule in module.rules:
            name = rule_name(rule)
            rules.names.add(name)
            if kind_of(rule) == "Default":
                rules.defaults.setdefault(name, []).append((module, rule))
            elif head_kind(rule) == "Func":
                rules.functions.add(".".join(head_segments(rule)))
            elif head_kind(rule) == "Set":
                rules.partial_sets.add(name)
    return found


def head_kind(rule: Node) -> str:
    """``Compr``, ``Set`` or ``Func``; ``Default`` for a default rule."""
    return "Default" if kind_of(rule) == "Default" else kind_of(rule["Spec"]["head"])


def head_of(rule: Node) -> Node:
    """The body of a rule's head."""
    if kind_of(rule) == "Default":
        return dict(rule["Default"])
    head = rule["Spec"]["head"]
    return dict(head[kind_of(head)])


def head_segments(rule: Node) -> list[str]:
    """The names in a rule's head reference, up to the first that is computed."""
    node = head_of(rule)["refr"]
    segments: list[str] = []
    while kind_of(node) in ("RefDot", "RefBrack"):
        segments.append(str(node["RefDot"]["field"][1]) if "RefDot" in node else "")
        node = node[kind_of(node)]["refr"]
    segments.append(str(node["Var"]["value"]))
    segments.reverse()
    return segments[: segments.index("")] if "" in segments else segments


def rule_name(rule: Node) -> str:
    """The first name in a rule's head."""
    return head_segments(rule)[0]


def queries(rule: Node) -> Iterator[tuple[list[Node], set[str]]]:
    """The statements of every body of a rule with the names its arguments bind; nested queries are apart."""
    if kind_of(rule) != "Spec":
        return
    bound = {v for arg in head_of(rule).get("args", []) or [] for v in variables(arg)}
    for body in rule["Spec"]["bodies"]:
        yield body["query"]["stmts"], bound


def nested_queries(node: Node) -> Iterator[tuple[list[Node], set[str]]]:
    """Queries of comprehensions and ``every`` directly or deeply under ``node``, with the names they add."""
    body = node[kind_of(node)]
    if "query" in body:
        names = {text for text in (body.get("key"), body.get("value")) if isinstance(text, str)}
        yield body["query"]["stmts"], names
    for child in children(node):
        yield from nested_queries(child)


def variables(node: Node) -> Iterator[str]:
    """Every variable named under ``node``."""
    if kind_of(node) == "Var":
        yield str(node["Var"]["value"])
    for child in children(node):
        yield from variables(child)


def walk(node: Node) -> Iterator[Node]:
    """``node`` and every node under it."""
    yield node
    for child in children(node):
        yield from walk(child)
