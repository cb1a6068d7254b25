"""What a verifier demands of a head (c2sp.org/tlog-policy): which logs, which witnesses, and how many of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.ledger.errors import LedgerError
from gateway.ledger.note import BadNote, BadSignature, Note, VerifierKey, lines_of, parse_key
from gateway.ledger.signature import verify


class BadPolicy(LedgerError):
    """The file is no trust policy; the text names the line."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """``groups`` maps a name to its threshold and members; ``quorum`` is a witness, a group, or "none"."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: Mapping[str, tuple[int, tuple[str, ...]]]
    quorum: str

    def unmet(self, signed: Note) -> str:
        """Why ``signed`` is not enough; "" when it is."""
        try:
            if self.logs:
                verify(signed, self.logs)
            present = {key for key, _ in lines_of(signed, tuple(self.witnesses.values()))}
            if present:
                verify(signed, tuple(self.witnesses.values()))
        except BadSignature as error:
            return str(error)
        seen = {name for name, key in self.witnesses.items() if key in present}
        if self.quorum == "none" or self._met(self.quorum, seen):
            return ""
        return f"quorum {self.quorum!r} is not met: cosigned by {', '.join(sorted(seen)) or 'nobody'}"

    def _met(self, name: str, seen: set[str]) -> bool:
        if name in self.witnesses:
            return name in seen
        threshold, members = self.groups[name]
        return sum(self._met(member, seen) for member in members) >= threshold


def read(path: Path) -> TrustPolicy:
    """Read a policy file. Raises: BadPolicy naming file, line and what was expected; OSError."""
    reader = _Reader()
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{path}: a policy is UTF-8 text, this is not ({error})") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            reader.take(words)
        except (BadNote, ValueError, IndexError) as error:
            raise BadPolicy(f"{path}:{number}: {error}") from error
    if not reader.quorum:
        raise BadPolicy(f"{path}: there is no quorum line; 'quorum none' asks for no witness")
    return TrustPolicy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)


class _Reader:
    """Names must be defined before they are used, and used once."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.quorum = ""
        self._members: set[str] = set()

    def take(self, words: list[str]) -> None:
        kind = words[0]
        if kind == "log" and len(words) in (2, 3):
            self._fresh(parse_key(words[1]), self.logs)
            self.logs.append(parse_key(words[1]))
        elif kind == "witness" and len(words) in (3, 4):
            self._name(words[1])
            self._fresh(parse_key(words[2]), list(self.witnesses.values()))
            self.witnesses[words[1]] = parse_key(words[2])
        elif kind == "group" and len(words) >= 4:
            self._group(words[1], words[2], words[3:])
        elif kind == "quorum" and len(words) == 2:
            if self.quorum:
                raise ValueError("there is one quorum line")
            if words[1] != "none" and words[1] not in self.witnesses and words[1] not in self.groups:
                raise ValueError(f"{words[1]!r} is not defined above")
            self.quorum = words[1]
        else:
            raise ValueError(
                f"expected log, witness, group or quorum with their arguments, not {' '.join(words)[:60]!r}"
            )

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._name(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise ValueError(f"{member!r} is not defined above")
            if member in self._members:
                raise ValueError(f"{member!r} is a member twice")
            self._members.add(member)
        k = {"all": len(members), "any": 1}.get(threshold) or int(threshold)
        if not 1 <= k <= len(members):
            raise ValueError(f"{k} of {len(members)} cannot be met")
        self.groups[name] = (k, tuple(members))

    def _name(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name!r} is taken")

    def _fresh(self, key: VerifierKey, others: list[VerifierKey]) -> None:
        if any(other.public == key.public for other in others):
            raise ValueError(f"the key of {key.name!r} is listed twice")
