"""Writes imported names out: the embedded engine loses ``with`` on a reference that begins at an import."""

from __future__ import annotations

from gateway.policy.interpreter import Interpreter
from gateway.policy.lint.scope import walk
from gateway.policy.syntax import imports, modules


def written_out(name: str, source: str) -> str:
    """``source`` with every reference that begins at an import of data spelled from ``data`` on.

    Lines stay where they are. Raises: RegoError for a source that does not parse.
    """
    (module,) = modules(Interpreter({name: source}, "{}").ast())
    full = {
        alias: ".".join(path) for alias, path in imports(module.imports, source) if path[0] == "data" and len(path) > 1
    }
    places: dict[int, str] = {}
    for rule in module.rules:
        for node in walk(rule):
            if "Var" in node and node["Var"]["value"] in full:
                places[node["Var"]["span"]["start"]] = str(node["Var"]["value"])
    text = source.encode()
    for start in sorted(places, reverse=True):
        alias = places[start].encode()
        if text[start : start + len(alias)] == alias:
            text = text[:start] + full[places[start]].encode() + text[start + len(alias) :]
    return text.decode()
