"""Which input paths a set of modules can read, found in their syntax trees.

Sound before small: what is not understood makes the answer "everything" (None), never a shorter list. The exact
cache and replay rest on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from gateway.policy.interpreter import Ast
from gateway.policy.syntax import Node, Unknown, children, imports, kind_of, modules, segment_of

Path: TypeAlias = tuple[str, ...]
Reads: TypeAlias = frozenset[Path]


def reads_of(ast: Ast) -> Reads | None:
    """The prefix-free set of input paths that the modules read; None when it cannot be told.

    A bare ``input`` reads everything and gives ``{()}``.
    """
    found: set[Path] = set()
    try:
        for module in modules(ast):
            aliases = _aliases(module.imports, module.contents)
            if aliases.keys() & {"input", "data"}:
                return None
            roots = {"input": (), **aliases}
            for rule in module.rules:
                found.update(_walk(rule, roots))
            found.update(aliases.values())
    except Unknown:
        return None
    return frozenset(path for path in found if not any(path[:n] in found for n in range(len(path))))


def _aliases(nodes: list[Node], contents: str) -> dict[str, Path]:
    """Names that stand for an input path in one module."""
    return {name: path[1:] for name, path in imports(nodes, contents) if path and path[0] == "input"}


def _walk(node: Node, roots: dict[str, Path]) -> Iterator[Path]:
    """Every input path read at or under ``node``."""
    if kind_of(node) in ("RefDot", "RefBrack", "Var"):
        base, segments, indices = _chain(node)
        if kind_of(base) == "Var":
            name = str(base["Var"]["value"])
            if name in roots:
                yield roots[name] + segments
        else:
            yield from _walk(base, roots)
        yield from _walk_all(indices, roots)
        return
    yield from _walk_all(children(node), roots)


def _walk_all(nodes: Iterable[Node], roots: dict[str, Path]) -> Iterator[Path]:
    for node in nodes:
        yield from _walk(node, roots)


def _chain(node: Node) -> tuple[Node, Path, list[Node]]:
    """The root of a reference, its literal segments up to the first that is not literal, and every index."""
    links: list[Node] = []
    while kind_of(node) in ("RefDot", "RefBrack"):
        links.append(node)
        node = node[kind_of(node)]["refr"]
    segments: list[str] = []
    literal = True
    for link in reversed(links):
        segment = segment_of(link)
        literal = literal and segment is not None
        if literal and segment is not None:
            segments.append(segment)
    indices = [link["RefBrack"]["index"] for link in links if kind_of(link) == "RefBrack"]
    return node, tuple(segments), indices
