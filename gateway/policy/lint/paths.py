"""References into the input: a path that schema v1 lacks is a check that is never proven, or never denies."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.policy.findings import Finding
from gateway.policy.lint.place import finding
from gateway.policy.lint.scope import walk
from gateway.policy.schema import type_at
from gateway.policy.syntax import Module, Node, imports, kind_of, segment_of


def check_paths(module: Module) -> Iterator[Finding]:
    """Findings on every reference that begins at ``input`` or at ``data.system``, and on imports of ``input``."""
    for (_, path), node in zip(imports(module.imports, module.contents), module.imports, strict=True):
        if path[0] == "input":
            text = "import of input hides what a policy reads: write input.… where it is read"
            yield finding(module, node["refr"], "input-import", text)
    for rule in module.rules:
        for node in walk(rule):
            if kind_of(node) in ("RefDot", "RefBrack"):
                yield from _reference(module, node)


def _reference(module: Module, node: Node) -> Iterator[Finding]:
    """Only the reference that ends at ``node``: each prefix of a longer one is looked at in its own turn."""
    root, segments = chain(node)
    if root == "data" and segments[:1] == ["system"]:
        yield finding(module, node, "system-reference", "data.system is OPA's own")
    if root != "input" or segments[-1] is None or type_at(segments[:-1]) is None:
        return
    if type_at(segments) is None:
        known = ", ".join(sorted(fields_at(segments[:-1]))) or "no fields: it is a plain value"
        text = f"input.{'.'.join(s or '[…]' for s in segments)} is not in the schema; there: {known}"
        yield finding(module, node, "unknown-input-path", text)


def chain(node: Node) -> tuple[str, list[str | None]]:
    """The root variable ("" for another base) and the segments of a reference, None for a computed one."""
    segments: list[str | None] = []
    while kind_of(node) in ("RefDot", "RefBrack"):
        segments.append(segment_of(node))
        node = node[kind_of(node)]["refr"]
    segments.reverse()
    return (str(node["Var"]["value"]) if kind_of(node) == "Var" else ""), segments


def fields_at(segments: list[str | None]) -> Iterator[str]:
    """The names under a path."""
    found = type_at(segments)
    if isinstance(found, msgspec.inspect.StructType):
        yield from (f.encode_name for f in found.fields)
