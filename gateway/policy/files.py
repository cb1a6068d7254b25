"""Reads the files of a bundle: what may be in it, what its data is, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gateway.policy.findings import Finding, PolicyInvalid

MAX_FILES = 1_000
MAX_BYTES = 16 * 1024 * 1024
BESIDE = frozenset({"canaries.json", "mutate.allow", ".manifest", ".signatures.json"})
"""Files that belong to a bundle and hold no policy."""


@dataclass(slots=True)
class Files:
    """The parts of a bundle as found; ``data`` is merged from every ``data.json`` at its directory's path."""

    modules: dict[str, str] = field(default_factory=dict)
    tests: dict[str, str] = field(default_factory=dict)
    data: dict[str, object] = field(default_factory=dict)
    canaries: bytes = b""
    accepted: str = ""
    label: str = ""


def read_directory(root: Path) -> Files:
    """The bundle in directory ``root``. Raises: PolicyInvalid naming every file that cannot be used."""
    return sort_out(raw_directory(root), str(root))


def raw_directory(root: Path) -> dict[str, bytes]:
    """Name and content of every file under ``root``; hidden directories and ``*.md`` are not part of a bundle.

    Raises: PolicyInvalid for no directory, and for links.
    """
    if not root.is_dir():
        raise PolicyInvalid([Finding("", 0, 0, "no-bundle", "there is no such directory or archive")])
    found: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".md" or any(part.startswith(".") for part in PurePosixPath(name).parts[:-1]):
            continue
        if path.is_symlink():
            raise PolicyInvalid([Finding(name, 0, 0, "link", "a bundle holds no links: copy the file")])
        if path.is_file() and not (path.name.startswith(".") and path.name not in BESIDE):
            found[name] = path.read_bytes()
    return found


def sort_out(found: dict[str, bytes], origin: str) -> Files:
    """Sort raw files into modules, tests, data and what lies beside. Raises: PolicyInvalid."""
    findings = _bounds(found, origin)
    files = Files()
    for name in sorted(found):
        try:
            _take(files, name, found[name])
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 0)
            findings.append(Finding(name, line, getattr(error, "colno", 0), "unreadable", str(error)))
    if not files.modules and not findings:
        findings.append(Finding(origin, 0, 0, "no-bundle", "no *.rego file in it"))
    if findings:
        raise PolicyInvalid(findings)
    return files


def _bounds(found: dict[str, bytes], origin: str) -> list[Finding]:
    size = sum(map(len, found.values()))
    findings = []
    if len(found) > MAX_FILES:
        findings.append(Finding(origin, 0, 0, "too-large", f"{len(found)} files, at most {MAX_FILES}"))
    if size > MAX_BYTES:
        findings.append(Finding(origin, 0, 0, "too-large", f"{size} bytes, at most {MAX_BYTES}"))
    return findings


def _take(files: Files, name: str, content: bytes) -> None:
    """Put one file where it belongs. Raises: ValueError."""
    path = PurePosixPath(name)
    if path.suffix == ".rego":
        target = files.tests if path.name.endswith("_test.rego") else files.modules
        target[name] = content.decode()
    elif path.name == "data.json":
        _merge(files.data, path.parent.parts, parse_json(content))
    elif name == "canaries.json":
        files.canaries = content
    elif name == "mutate.allow":
        files.accepted = content.decode()
    elif name == ".manifest":
        files.label = _label(parse_json(content))
    elif name not in BESIDE:
        raise ValueError("not part of a policy bundle: *.rego, data.json, canaries.json are")


def parse_json(content: bytes) -> object:
    """JSON without duplicate keys. Raises: ValueError."""
    return json.loads(content, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add gives None on purpose
        raise ValueError(f"key {twice!r} appears twice in one object")
    return found


def _merge(data: dict[str, object], parts: tuple[str, ...], value: object) -> None:
    """Put ``value`` at the path ``parts``; two files never write one key."""
    if not isinstance(value, dict):
        raise ValueError("data.json must hold an object")  # noqa: TRY004  # a file's content, not an argument
    for part in parts:
        nested = data.setdefault(part, {})
        if not isinstance(nested, dict):
            raise ValueError(f"{'/'.join(parts)} is already a value in another data.json")  # noqa: TRY004
        data = nested
    for key, item in value.items():
        if key in data:
            raise ValueError(f"key {key!r} is already defined by another data.json")
        data[key] = item


def _label(manifest: object) -> str:
    if not isinstance(manifest, dict):
        raise ValueError(".manifest must hold an object")  # noqa: TRY004
    if manifest.get("rego_version", 1) != 1:
        raise ValueError("rego_version must be 1: this gateway reads Rego v1 alone")
    return str(manifest.get("revision", ""))
