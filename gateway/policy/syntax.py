"""The syntax tree that regorus gives as JSON, made walkable: modules, imports, nodes and their children.

Every node is a one-key object ``{"Kind": {...}}``. The table of kinds is closed: a kind or a shape that is not in it
raises ``Unknown``, so that whoever reasons about a tree never reasons about less than there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.policy.interpreter import Ast

AST_VERSION = 1

Node: TypeAlias = dict[str, Any]  # JSON of the engine: its shape is checked here, node by node

CHILDREN: dict[str, tuple[str, ...]] = {
    "Var": (),
    "String": (),
    "RawString": (),
    "Number": (),
    "Bool": (),
    "Null": (),
    "RefDot": ("refr",),
    "RefBrack": ("refr", "index"),
    "Call": ("fcn", "params"),
    "NotExpr": ("expr",),
    "Expr": ("expr",),
    "UnaryExpr": ("expr",),
    "BoolExpr": ("lhs", "rhs"),
    "ArithExpr": ("lhs", "rhs"),
    "BinExpr": ("lhs", "rhs"),
    "AssignExpr": ("lhs", "rhs"),
    "Membership": ("key", "value", "collection"),
    "SomeIn": ("key", "value", "collection"),
    "SomeVars": (),
    "Every": ("domain", "query"),
    "ArrayCompr": ("term", "query"),
    "SetCompr": ("term", "query"),
    "ObjectCompr": ("key", "value", "query"),
    "Array": ("items",),
    "Set": ("items",),
    "Object": ("fields",),
    "Spec": ("head", "bodies"),
    "Default": ("refr", "args", "value"),
    "Compr": ("refr", "assign"),
    "Func": ("refr", "args", "assign"),
}
"""Child fields of each node kind. A rule head of kind ``Set`` has ``refr`` and ``key`` instead of ``items``."""


class Unknown(Exception):
    """The tree holds something that this module does not know."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module: its file, source, package path, imports and rules."""

    file: str
    contents: str
    package: tuple[str, ...]
    imports: list[Node]
    rules: list[Node]


def modules(ast: Ast) -> Iterator[Module]:
    """The modules of ``ast``. Raises: Unknown for a tree of another version."""
    for entry in ast:
        tree: Any = entry["ast"]
        source: Any = entry["source"]
        if entry.get("version") != AST_VERSION:
            raise Unknown(f"syntax tree version {entry.get('version')}, expected {AST_VERSION}")
        yield Module(
            source["file"],
            source["contents"],
            literal_path(tree["package"]["refr"]) or (),
            tree["imports"],
            tree["rules"],
        )


def kind_of(node: Node) -> str:
    """The node's kind. Raises: Unknown."""
    if len(node) != 1:
        raise Unknown(f"not a node: keys {sorted(node)}")
    return next(iter(node))


def children(node: Node) -> Iterator[Node]:
    """The nodes directly under ``node``. Raises: Unknown."""
    kind = kind_of(node)
    body = node[kind]
    if kind not in CHILDREN:
        raise Unknown(f"node kind {kind}")
    fields = ("refr", "key") if kind == "Set" and "items" not in body else CHILDREN[kind]
    for field in fields:
        if field not in body:
            raise Unknown(f"{kind} without {field}")
        yield from _nodes(field, body[field])


def _nodes(field: str, value: Any) -> Iterator[Node]:
    if value is None:
        return
    if field == "head":
        yield value
    elif field == "bodies":
        for body in value:
            yield from _nodes("assign", body["assign"])
            yield from _nodes("query", body["query"])
    elif field == "assign":
        yield value["value"]
    elif field == "query":
        for statement in value["stmts"]:
            yield from _statement(statement)
    elif field == "fields":
        for _, key, item in value:
            yield key
            yield item
    elif isinstance(value, list):
        yield from value
    else:
        yield value


def _statement(statement: Node) -> Iterator[Node]:
    yield statement["literal"]
    for modifier in statement.get("with_mods", ()):
        yield modifier["refr"]
        yield modifier["as"]


def segment_of(link: Node) -> str | None:
    """The literal name that one ``RefDot`` or ``RefBrack`` adds to a path; None for an index that is not literal."""
    if "RefDot" in link:
        return str(link["RefDot"]["field"][1])
    index = link["RefBrack"]["index"]
    for kind in ("String", "RawString"):
        if kind in index:
            return str(index[kind]["value"])
    return None


def literal_path(node: Node) -> tuple[str, ...] | None:
    """A reference whose every segment is literal, root first; None for anything else."""
    segments: list[str] = []
    while kind_of(node) in ("RefDot", "RefBrack"):
        segment = segment_of(node)
        if segment is None:
            return None
        segments.append(segment)
        node = node[kind_of(node)]["refr"]
    if kind_of(node) != "Var":
        return None
    return (str(node["Var"]["value"]), *reversed(segments))


def imports(nodes: list[Node], contents: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The local name and the path of each import. Raises: Unknown for one that is not a plain path."""
    text = contents.encode()
    for node in nodes:
        path = literal_path(node["refr"])
        if path is None:
            raise Unknown("an import that is not a plain path")
        alias = node.get("as")
        name = text[alias["start"] : alias["end"]].decode() if alias else path[-1]
        yield name, path
