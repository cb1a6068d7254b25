"""A policy bundle: Rego modules and JSON data, read from a directory, checked before anything is decided with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from gateway.policy.files import read_directory
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.interpreter import Ast, Interpreter, RegoError
from gateway.policy.lint import lint
from gateway.policy.reads import Reads, reads_of


@dataclass(frozen=True, slots=True)
class Bundle:
    """One revision of a policy, checked. ``data`` is canonical JSON text; ``tests`` and ``canaries`` never decide.

    ``digest`` is over the sorted names and bytes of modules and data: equal digests decide equally. ``reads`` are
    the input paths that the modules can read, None when that cannot be told.
    """

    modules: Mapping[str, str]
    data: str
    digest: str
    label: str = ""
    tests: Mapping[str, str] = field(default_factory=dict)
    canaries: bytes = b""
    reads: Reads | None = None
    warnings: tuple[Finding, ...] = ()

    @property
    def revision(self) -> str:
        """``label@digest``, digest shortened: what records and metrics show."""
        short = self.digest[:12]
        return f"{self.label}@{short}" if self.label else short

    @classmethod
    def read(cls, path: FilePath) -> Bundle:
        """Read and check the bundle at ``path``.

        Raises: PolicyInvalid with every finding; nothing is half-loaded.
        """
        files = read_directory(path)
        data = json.dumps(files.data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        ast = _parse(files.modules, data)
        findings = lint(ast, files.data)
        errors = [f for f in findings if f.severity == "error"]
        if errors:
            raise PolicyInvalid(findings)
        return cls(
            modules=files.modules,
            data=data,
            digest=digest_of(files.modules, data),
            label=files.label,
            tests=files.tests,
            canaries=files.canaries,
            reads=reads_of(ast),
            warnings=tuple(findings),
        )


def digest_of(modules: Mapping[str, str], data: str) -> str:
    """SHA-256 in hex over names and contents, each with its length, in sorted order."""
    digest = hashlib.sha256()
    for name, text in [*sorted(modules.items()), ("data.json", data)]:
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _parse(modules: Mapping[str, str], data: str) -> Ast:
    """Raises: PolicyInvalid with the engine's file, line and column."""
    findings: list[Finding] = []
    for name in sorted(modules):
        try:
            Interpreter({name: modules[name]}, "{}")
        except RegoError as error:
            findings.append(Finding.of_engine(str(error), name))
    if findings:
        raise PolicyInvalid(findings)
    try:
        return Interpreter(modules, data).ast()
    except RegoError as error:
        raise PolicyInvalid([Finding.of_engine(str(error), "data.json")]) from error
