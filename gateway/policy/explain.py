"""Explains one decision: which checks it needed, which were proven, what the policy read, which lines ran."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.bundle import Bundle
from gateway.policy.input import Document, encode
from gateway.policy.interpreter import Interpreter, RegoError
from gateway.policy.reads import Path
from gateway.policy.verdict import Verdict, failed, read


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision taken apart. ``required``, ``proven`` and ``missing`` are None for a policy without such rules."""

    verdict: Verdict
    required: tuple[str, ...] | None
    proven: tuple[str, ...] | None
    missing: tuple[str, ...] | None
    values: dict[str, object]
    lines: dict[str, tuple[int, ...]]


def explain(bundle: Bundle, document: Document) -> Explanation:
    """Decide ``document`` once more and look at how."""
    engine = Interpreter(bundle.modules, bundle.data)
    engine.start_coverage()
    text = encode(document).decode()
    try:
        verdict = read(engine.evaluate(text))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # an engine panic is not an Exception; it is a denial
        verdict = failed(error)
    lines = {file: tuple(sorted(ran)) for file, (ran, _) in engine.coverage().items() if ran}
    return Explanation(
        verdict,
        _names(engine, text, "required"),
        _names(engine, text, "proven"),
        _names(engine, text, "missing"),
        _values(bundle, document),
        lines,
    )


def _names(engine: Interpreter, text: str, rule: str) -> tuple[str, ...] | None:
    """A rule's set of strings; None when there is no such rule or it is no such set."""
    try:
        names = msgspec.json.decode(engine.evaluate(text, f"data.gateway.authz.{rule}"), type=list[str])
    except (RegoError, *MALFORMED):
        return None
    return tuple(sorted(names))


def _values(bundle: Bundle, document: Document) -> dict[str, object]:
    """Values at the paths that the policy reads; a path without a value is left out."""
    found = {}
    for path in sorted({()} if bundle.reads is None else bundle.reads):
        value = _at(document, path)
        if value is not _NOTHING:
            found[".".join(("input", *path))] = value
    return found


_NOTHING = object()


def _at(document: object, path: Path) -> object:
    for segment in path:
        if not isinstance(document, dict) or segment not in document:
            return _NOTHING
        document = document[segment]
    return document
