"""A policy bundle: Rego modules and JSON data, checked before anything is decided with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from gateway.policy.archive import read_archive
from gateway.policy.files import Files, raw_directory, sort_out
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.interpreter import Interpreter, RegoError
from gateway.policy.lint import lint
from gateway.policy.reads import Reads, reads_of
from gateway.policy.signing import Trust, verify
from gateway.policy.trial import Outcome, Task, trial


@dataclass(frozen=True, slots=True)
class Bundle:
    """One revision of a policy, checked. ``data`` is canonical JSON text; ``tests`` and ``canaries`` never decide.

    ``digest`` is over the sorted names and bytes of modules and data: equal digests decide equally. ``reads`` are
    the input paths that the modules can read, None when that cannot be told. ``author`` is whose signature it bears, or
    who owns the file that was written last; ``checks`` says in words what it has passed.
    """

    modules: Mapping[str, str]
    data: str
    digest: str
    label: str = ""
    tests: Mapping[str, str] = field(default_factory=dict)
    canaries: bytes = b""
    accepted: str = ""
    reads: Reads | None = None
    warnings: tuple[Finding, ...] = ()
    author: str = ""
    checks: str = ""

    @property
    def revision(self) -> str:
        """``label@digest``, digest shortened: what records and metrics show."""
        short = self.digest[:12]
        return f"{self.label}@{short}" if self.label else short

    @classmethod
    def read(cls, path: FilePath, *, vet: bool = False, trust: Trust | None = None) -> Bundle:
        """Read the bundle at ``path`` (a directory, or an archive as OPA takes it), lint it, try it in a child process.

        With ``vet`` its own tests and canaries must hold too; with ``trust`` it must be signed. Blocking; may be called
        from any thread.
        Raises: PolicyInvalid with every finding, its files as seen from where ``path`` is; nothing is half-loaded.
        """
        try:
            files, signer = _files(path, trust)
            return replace(cls.checked(files, vet=vet), author=f"key {signer}" if signer else _owner(path))
        except PolicyInvalid as invalid:
            raise PolicyInvalid([finding.under(path) for finding in invalid.findings]) from None

    @classmethod
    def checked(cls, files: Files, *, vet: bool = False) -> Bundle:
        """The bundle of ``files`` after its trial. Raises: PolicyInvalid."""
        data = canonical(files.data)
        task = Task(modules=files.modules, data=data, tests=files.tests, canaries=files.canaries, vet=vet)
        return cls._of(files, data, trial(task))

    @classmethod
    def linted(cls, files: Files) -> Bundle:
        """The bundle of ``files`` after the lint alone, in this process: for modules that it trusts.

        Raises: PolicyInvalid.
        """
        data = canonical(files.data)
        try:
            ast = Interpreter(files.modules, data).ast()
        except RegoError as error:
            raise PolicyInvalid([Finding.of_engine(str(error), "data.json")]) from error
        return cls._of(files, data, Outcome(tuple(lint(ast, files.data)), reads_of(ast)))

    @classmethod
    def _of(cls, files: Files, data: str, outcome: Outcome) -> Bundle:
        """Raises: PolicyInvalid."""
        if any(finding.severity == "error" for finding in outcome.findings):
            raise PolicyInvalid(outcome.findings)
        return cls(
            modules=files.modules,
            data=data,
            digest=digest_of(files.modules, data),
            label=files.label,
            tests=files.tests,
            canaries=files.canaries,
            accepted=files.accepted,
            reads=outcome.reads,
            warnings=outcome.findings,
            checks=f"{outcome.tests} tests, {outcome.canaries} canaries, {len(outcome.findings)} warnings",
        )


def _files(path: FilePath, trust: Trust | None) -> tuple[Files, str]:
    """The parts of the bundle, and the id of the key that signed the very bytes used. Raises: PolicyInvalid."""
    found = read_archive(path) if path.is_file() else raw_directory(path)
    signer = verify(found, trust) if trust is not None else ""
    return sort_out(found, ""), signer


def _owner(path: FilePath) -> str:
    """Who owns what was written last at ``path``; a number for somebody without a name here."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    try:
        newest = max(files, key=lambda file: file.stat().st_mtime_ns)
        try:
            return newest.owner()
        except KeyError:  # no such user in a container
            return str(newest.stat().st_uid)
    except (OSError, ValueError):  # it went while we looked
        return ""


def canonical(data: Mapping[str, object]) -> str:
    """Canonical JSON text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(modules: Mapping[str, str], data: str) -> str:
    """SHA-256 in hex over names and contents, each with its length, in sorted order."""
    digest = hashlib.sha256()
    for name, text in [*sorted(modules.items()), ("data.json", data)]:
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
