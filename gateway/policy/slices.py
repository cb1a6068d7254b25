"""Slices: the part of an input document that a policy reads, kept with a record so that it can be decided again.

A slice has the document's shape. An entry of an open map is kept whole, whatever of it is read. Two extra keys, the
marks, say what a slice does not show by itself: ``absent`` lists what is read and was not in the document, ``partial``
lists open maps of which only some entries were kept. Paths are written with dots; behind those of an open map stands
the key of an entry, which may have dots of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gateway.policy.input import Document, encode
from gateway.policy.reads import Path, Reads
from gateway.policy.schema import OPEN_MAPS, type_at

_Tree: TypeAlias = dict[str, "_Tree"]
"""Read paths by segment; a leaf is empty, as no read path begins another."""

ABSENT = "absent"
PARTIAL = "partial"


class Cut(NamedTuple):
    """What is ``kept`` with the record, and what of it is ``shown`` to the policy: the same without marks."""

    kept: bytes
    shown: bytes


def cut(document: Document, reads: Reads | None) -> Cut:
    """Canonical JSON of ``document`` at ``reads``; all of it when the reads are not known."""
    if reads is None or () in reads:
        return _unmarked(encode(document))
    found: dict[str, object] = {}
    absent = [".".join(path) for path in sorted(_entries(reads)) if not _copy(document, path, found)]
    marks = {ABSENT: absent, PARTIAL: _partial(reads)}
    marks = {mark: paths for mark, paths in marks.items() if paths}
    return Cut(encode(found | marks), encode(found)) if marks else _unmarked(encode(found))


def cutter(reads: Reads | None) -> Callable[[Document], Cut]:
    """``cut`` for one policy, prepared: a request that misses the cache pays for it."""
    if reads is None or () in reads:
        return lambda document: _unmarked(encode(document))
    tree: _Tree = {}
    for path in _entries(reads):
        node = tree
        for segment in path[:-1]:
            node = node.setdefault(segment, {})
        node[path[-1]] = {}
    partial = _partial(reads)

    def cut_one(document: Document) -> Cut:
        try:
            found = _picked(document, tree)
        except (KeyError, TypeError):  # a read path that is not there is stated: the long way
            return cut(document, reads)
        shown = encode(found)
        return Cut(encode({**found, PARTIAL: partial}), shown) if partial else _unmarked(shown)

    return cut_one


def _unmarked(text: bytes) -> Cut:
    return Cut(text, text)


def _entries(reads: Reads) -> frozenset[Path]:
    """What is kept for ``reads``: of an entry of an open map all, so that what it lacks is known as well."""
    return frozenset(path[:3] if path[:2] in OPEN_MAPS else path for path in reads)


def _partial(reads: Reads) -> list[str]:
    return sorted({".".join(path[:2]) for path in reads if len(path) > 2 and path[:2] in OPEN_MAPS})


def lacks(kept: Mapping[str, object], reads: Reads | None) -> Iterator[str]:
    """The read paths whose value a slice does not hold: deciding without them would be inventing them."""
    if not _complete((), kept, _listed(kept, PARTIAL)):
        wanted = {()} if reads is None else _entries(reads)
        yield from (".".join(path) or "the whole input" for path in sorted(wanted) if not _has(kept, path))


def without_marks(kept: Mapping[str, object]) -> Document:
    """The slice as an input document."""
    return {key: value for key, value in kept.items() if key not in (ABSENT, PARTIAL)}


def _picked(source: Any, tree: _Tree) -> dict[str, Any]:
    """The values of ``source`` at the leaves of ``tree``. Raises: KeyError, TypeError where one is not there."""
    return {name: _picked(source[name], below) if below else source[name] for name, below in tree.items()}


def _listed(kept: Mapping[str, object], mark: str) -> frozenset[Path]:
    names = kept.get(mark, ())
    return frozenset(_path(str(name)) for name in names) if isinstance(names, list) else frozenset()


def _path(text: str) -> Path:
    entry = tuple(text.split(".", 2))
    return entry if entry[:2] in OPEN_MAPS else tuple(text.split("."))


def _has(kept: Mapping[str, object], path: Path) -> bool:
    """Whether the slice holds the value at ``path``, or the knowledge that there is none."""
    absent, partial = _listed(kept, ABSENT), _listed(kept, PARTIAL)
    if any(path[: len(gone)] == gone for gone in absent):
        return True
    node: object = kept
    for depth, segment in enumerate(path):
        if not isinstance(node, Mapping) or segment not in node:
            return path[:depth] in OPEN_MAPS and path[:depth] not in partial
        node = node[segment]
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
