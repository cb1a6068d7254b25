"""Where a node stands in its source: the engine's spans made into one honest line and column."""

from __future__ import annotations

from typing import Literal

from gateway.policy.findings import Finding
from gateway.policy.syntax import Module, Node, children, kind_of

_LEAVES = ("Var", "String", "RawString", "Number", "Bool", "Null")


def finding(
    module: Module, node: Node, code: str, text: str, severity: Literal["error", "warning"] = "error"
) -> Finding:
    """A finding at ``node``."""
    line, col = place(module, start_of(node))
    return Finding(module.file, line, col, code, text, severity)


def place(module: Module, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a byte offset; a tab is one column, as editors count."""
    before = module.contents.encode()[:offset].decode(errors="replace")
    line = before.rpartition("\n")[2]
    return before.count("\n") + 1, len(line) + 1


def start_of(node: Node) -> int:
    """Where the node's text begins: a composite's own span may begin at its operator, its leftmost leaf does not."""
    body = node[kind_of(node)]
    own = body["span"]["start"]
    if kind_of(node) in ("String", "RawString"):
        return int(own) - 1  # the engine's span leaves the quote out
    if kind_of(node) in _LEAVES or kind_of(node) in ("NotExpr", "SomeVars", "SomeIn", "Every", "Spec", "Default"):
        return int(own)
    return min((start_of(child) for child in children(node)), default=int(own))
