"""What changed between two revisions: modules, data, checks, reads. For people; nothing decides by it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from gateway.policy.bundle import Bundle


def difference(old: Bundle, new: Bundle) -> Iterator[str]:
    """A unified diff of every module and of the data, after a summary of read paths."""
    before, after = old.reads or frozenset(), new.reads or frozenset()
    for path in sorted(after - before):
        yield f"reads now: input.{'.'.join(path)}"
    for path in sorted(before - after):
        yield f"reads no more: input.{'.'.join(path)}"
    old_files, new_files = _files(old), _files(new)
    for name in sorted({*old_files, *new_files}):
        yield from difflib.unified_diff(
            old_files.get(name, []),
            new_files.get(name, []),
            f"{old.revision}/{name}",
            f"{new.revision}/{name}",
            lineterm="",
        )


def _files(bundle: Bundle) -> dict[str, list[str]]:
    data = json.dumps(json.loads(bundle.data), indent=2, sort_keys=True, ensure_ascii=False)
    texts = {**bundle.modules, "data.json": data}
    return {name: text.splitlines() for name, text in texts.items()}
