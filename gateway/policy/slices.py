"""Slices: the part of an input document that a policy reads, kept with a record so that it can be decided again."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.input import Document, encode
from gateway.policy.reads import Path, Reads

ABSENT = "absent"
"""Key of a slice that lists (dotted) the read paths which the document did not have."""


def cut(document: Document, reads: Reads | None) -> bytes:
    """Canonical JSON of ``document`` at ``reads``; all of it when the reads are not known."""
    if reads is None or () in reads:
        return encode(document)
    kept: dict[str, object] = {}
    absent: list[str] = []
    for path in sorted(reads):
        if not _copy(document, path, kept):
            absent.append(".".join(path))
    if absent:
        kept[ABSENT] = absent
    return encode(kept)


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
