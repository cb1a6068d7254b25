"""The shape of a policy: an entrypoint that always has a value, and nothing that outranks or outlives a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.policy.findings import Finding
from gateway.policy.lint.place import finding
from gateway.policy.lint.scope import Rules, head_kind, head_of, rule_name, walk
from gateway.policy.syntax import Module, Node

PACKAGE = ("gateway", "authz")
ENTRY = "decision"
_DENYING = ("deny", "denied", "denials", "violation", "violations", "reasons")


def check_shape(
    modules: list[Module], packages: Mapping[tuple[str, ...], Rules], data: Mapping[str, object]
) -> Iterator[Finding]:
    """Findings on packages, defaults, heads, ``with`` and data."""
    yield from _defaults(modules, packages)
    yield from _shadows(modules, data)
    for module in modules:
        for rule in module.rules:
            yield from _head(module, rule)
            yield from _with(module, rule)


def _defaults(modules: list[Module], packages: Mapping[tuple[str, ...], Rules]) -> Iterator[Finding]:
    rules = packages.get(PACKAGE)
    if rules is None or ENTRY not in rules.names:
        text = f"no rule data.{'.'.join(PACKAGE)}.{ENTRY}: the gateway asks for nothing else"
        yield Finding(modules[0].file if modules else "", 1, 1, "no-default", text)
        return
    for name in sorted({ENTRY, "allow"} & rules.names):
        if name not in rules.defaults:
            module, rule = next(
                (m, r) for m in modules if m.package == PACKAGE for r in m.rules if rule_name(r) == name
            )
            yield finding(module, rule, "no-default", f"{name} has no default: it can be undefined")
    for package in packages.values():
        for name, places in package.defaults.items():
            for module, rule in places[1:]:
                yield finding(module, rule, "double-default", f"{name} already has a default")


def _shadows(modules: list[Module], data: Mapping[str, object]) -> Iterator[Finding]:
    roots = {module.package[0] for module in modules if module.package} | {"gateway", "system"}
    for key in sorted(roots & data.keys()):
        text = f"top-level key {key!r} lies where rules are: in the embedded engine it would replace them"
        yield Finding("data.json", 1, 1, "data-shadows-rule", text)


def _head(module: Module, rule: Node) -> Iterator[Finding]:
    """A denial whose own text reads the input is lost when that field is missing."""
    if head_kind(rule) == "Default" or rule_name(rule) not in _DENYING:
        return
    head = head_of(rule)
    parts = [head.get("key"), (head.get("assign") or {}).get("value")]
    for part in (p for p in parts if p):
        for node in walk(part):
            if "Var" in node and node["Var"]["value"] == "input":
                text = f"{rule_name(rule)} reads input in its head: without that field nothing is denied"
                yield finding(module, node, "input-in-deny-head", text)


def _with(module: Module, rule: Node) -> Iterator[Finding]:
    for statement in _statements(rule):
        for modifier in statement.get("with_mods", ()):
            yield finding(module, modifier["refr"], "with-outside-test", "with belongs into tests")


def _statements(node: object) -> Iterator[Node]:
    if isinstance(node, dict):
        if "stmts" in node:
            yield from node["stmts"]
        for value in node.values():
            yield from _statements(value)
    elif isinstance(node, list):
        for value in node:
            yield from _statements(value)
