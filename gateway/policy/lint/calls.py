"""Calls: only portable builtins and the policy's own functions, with the right number of arguments, no recursion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.policy.builtins import ARITY, TESTS_ONLY, why_banned
from gateway.policy.findings import Finding
from gateway.policy.lint.place import finding
from gateway.policy.lint.scope import head_kind, head_of, head_segments, walk
from gateway.policy.syntax import Module, Node, children, imports, literal_path


def check_calls(modules: list[Module]) -> Iterator[Finding]:
    """Findings on every call, in rules that the entrypoint reaches and in those it does not."""
    functions = _functions(modules)
    for module in modules:
        known = {imported[0]: ".".join(imported[1]) for imported in imports(module.imports, module.contents)}
        for rule in module.rules:
            for node in walk(rule):
                if "Call" in node:
                    yield from _check(module, node, functions, known)
    yield from _recursion(modules, functions)


def _functions(modules: list[Module]) -> dict[str, int]:
    """Every function by its full path, with its number of arguments."""
    return {
        full_name(module, rule): len(rule["Spec"]["head"]["Func"]["args"])
        for module in modules
        for rule in module.rules
        if head_kind(rule) == "Func"
    }


def full_name(module: Module, rule: Node) -> str:
    """``data.package.rule``."""
    return ".".join(("data", *module.package, *head_segments(rule)))


def resolve(module: Module, path: tuple[str, ...], known: Mapping[str, str]) -> str:
    """The full path that a name in ``module`` means."""
    if path[0] == "data":
        return ".".join(path)
    if path[0] in known:
        return ".".join((known[path[0]], *path[1:]))
    return ".".join(("data", *module.package, *path))


def _check(module: Module, node: Node, functions: Mapping[str, int], known: Mapping[str, str]) -> Iterator[Finding]:
    path = literal_path(node["Call"]["fcn"])
    given = len(node["Call"]["params"])
    if path is None:
        yield finding(module, node, "unknown-function", "a call to a computed name")
        return
    name = ".".join(path)
    expected = functions.get(resolve(module, path, known), ARITY.get(name))
    if name in TESTS_ONLY:
        yield finding(module, node, "banned-builtin", f"{name} belongs into tests")
    elif expected is None:
        why = why_banned(name)
        code = "banned-builtin" if why else "unknown-function"
        yield finding(module, node, code, f"{name} is not in the portable profile{': ' + why if why else ''}")
    elif given != expected:
        yield finding(module, node, "wrong-arity", f"{name} takes {expected} arguments, here it gets {given}")


def _recursion(modules: list[Module], functions: Mapping[str, int]) -> Iterator[Finding]:
    """Functions that call themselves, directly or around a corner: the embedded engine would die of it."""
    edges: dict[str, set[str]] = {}
    places: dict[str, tuple[Module, Node]] = {}
    for module in modules:
        known = {name: ".".join(path) for name, path in imports(module.imports, module.contents)}
        for rule in module.rules:
            name = full_name(module, rule)
            places.setdefault(name, (module, rule))
            edges.setdefault(name, set()).update(_uses(module, rule, known))
    for name in sorted(edges):
        if name in functions and name in _reachable(name, edges):
            module, rule = places[name]
            yield finding(module, rule, "recursion", f"{name} calls itself")


def _uses(module: Module, rule: Node, known: Mapping[str, str]) -> Iterator[str]:
    """Full paths of all rules and functions that a rule may refer to, its own head's name aside."""
    for node in (n for part in _parts(rule) for n in walk(part)):
        path = literal_path(node) if next(iter(node)) in ("Var", "RefDot", "RefBrack") else None
        if path is not None and path[0] != "input":
            full = resolve(module, path, known)
            yield full
            if "Var" in node:
                yield ".".join(("data", *module.package, path[0]))


def _parts(rule: Node) -> Iterator[Node]:
    if head_kind(rule) == "Default":
        yield rule["Default"]["value"]
        return
    head = head_of(rule)
    names = head["refr"]
    for part in (head.get("key"), (head.get("assign") or {}).get("value"), *(head.get("args") or ())):
        if part:
            yield part
    yield from (child for child in children(rule) if child is not rule["Spec"]["head"])
    while next(iter(names)) == "RefBrack":
        yield names["RefBrack"]["index"]
        names = names["RefBrack"]["refr"]


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for target in edges.get(stack.pop(), ()):
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return seen
