"""Slices: the part of an input document that a policy reads, kept with a record so that it can be decided again.

A slice has the document's shape. Two extra keys say what it does not show by itself: ``absent`` lists read paths that
the document did not have, ``partial`` lists open maps of which only some entries were kept. They are none of the
schema's paths, so no policy that passed the lint reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from gateway.policy.input import Document, encode
from gateway.policy.reads import Path, Reads
from gateway.policy.schema import OPEN_MAPS, type_at

_Tree: TypeAlias = dict[str, "_Tree"]
"""Read paths by segment; a leaf is empty, as no read path begins another."""

ABSENT = "absent"
PARTIAL = "partial"


def cut(document: Document, reads: Reads | None) -> bytes:
    """Canonical JSON of ``document`` at ``reads``; all of it when the reads are not known."""
    if reads is None or () in reads:
        return encode(document)
    kept: dict[str, object] = {}
    absent = [".".join(path) for path in sorted(reads) if not _copy(document, path, kept)]
    partial = sorted({".".join(path[:2]) for path in reads if len(path) > 2 and path[:2] in OPEN_MAPS})
    if absent:
        kept[ABSENT] = absent
    if partial:
        kept[PARTIAL] = partial
    return encode(kept)


def cutter(reads: Reads | None) -> Callable[[Document], bytes]:
    """``cut`` for one policy, prepared: a request that misses the cache pays for it."""
    if reads is None or () in reads:
        return encode
    tree: _Tree = {}
    for path in reads:
        node = tree
        for segment in path[:-1]:
            node = node.setdefault(segment, {})
        node[path[-1]] = {}
    partial = sorted({".".join(path[:2]) for path in reads if len(path) > 2 and path[:2] in OPEN_MAPS})

    def cut_one(document: Document) -> bytes:
        try:
            kept = _picked(document, tree)
        except (KeyError, TypeError):  # a read path that is not there is stated: the long way
            return cut(document, reads)
        return encode({**kept, PARTIAL: partial} if partial else kept)

    return cut_one


def lacks(kept: Mapping[str, object], reads: Reads | None) -> Iterator[str]:
    """The read paths whose value a slice does not hold: deciding without them would be inventing them."""
    if not _complete((), kept, _listed(kept, PARTIAL)):
        yield from (".".join(path) or "the whole input" for path in sorted(reads or {()}) if not _has(kept, path))


def without_marks(kept: Mapping[str, object]) -> Document:
    """The slice as an input document."""
    return {key: value for key, value in kept.items() if key not in (ABSENT, PARTIAL)}


def _picked(source: Any, tree: _Tree) -> dict[str, Any]:
    """The values of ``source`` at the leaves of ``tree``. Raises: KeyError, TypeError where one is not there."""
    return {name: _picked(source[name], below) if below else source[name] for name, below in tree.items()}


def _listed(kept: Mapping[str, object], mark: str) -> frozenset[Path]:
    names = kept.get(mark, ())
    return frozenset(tuple(str(name).split(".")) for name in names) if isinstance(names, list) else frozenset()


def _has(kept: Mapping[str, object], path: Path) -> bool:
    """Whether the slice holds the value at ``path``, or the knowledge that there is none."""
    absent, partial = _listed(kept, ABSENT), _listed(kept, PARTIAL)
    if any(path[: len(gone)] == gone for gone in absent):
        return True
    node: object = kept
    for depth, segment in enumerate(path):
        if isinstance(node, Mapping) and segment in node:
            node = node[segment]
            continue
        inside = depth >= 3 and path[:2] in OPEN_MAPS  # a kept entry is whole, whatever it holds
        return inside or (path[:depth] in OPEN_MAPS and path[:depth] not in partial)
    return _complete(path, node, partial)


def _complete(path: Path, node: object, partial: frozenset[Path]) -> bool:
    """Whether ``node`` is all there is at ``path``."""
    found = type_at(path)
    if not isinstance(found, msgspec.inspect.StructType):
        return path not in partial
    return isinstance(node, Mapping) and all(
        field.encode_name in node and _complete((*path, field.encode_name), node[field.encode_name], partial)
        for field in found.fields
    )


def _copy(document: Mapping[str, object], path: Path, into: dict[str, object]) -> bool:
    """Copy the value at ``path``; False when there is none."""
    source: object = document
    for segment in path:
        if not isinstance(source, Mapping) or segment not in source:
            return False
        source = source[segment]
    target = into
    for segment in path[:-1]:
        nested = target.setdefault(segment, {})
        if not isinstance(nested, dict):
            return False
        target = nested
    target[path[-1]] = source
    return True
