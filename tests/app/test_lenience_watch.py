"""Grants and exceptions become events once, and gauges at each scrape."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.app.lenience_watch import LenienceWatch
from gateway.policy.breakglass import Claims, sign

NOW_S = 1_795_000_000
KEY = ec.generate_private_key(ec.SECP256R1())


class Notes:
    """Keeps what was written down: state or file, and by whom."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []

    async def event(
        self,
        kind: str,
        *,
        actor: str = "",
        reason: str = "",
        fields: Mapping[str, str | int | bool | Sequence[str]] | None = None,
    ) -> None:
        assert kind == "break_glass"
        stated = dict(fields or {})
        self.events.append((str(stated["state"]), actor, stated.get("grant", stated.get("file"))))


class Clock:
    """Microseconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now_us = NOW_S * 1_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the signers, and a grant under a name."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signers = {"keys": [{"keyid": "ann", "algorithm": "ES256", "public_pem": pem}]}
    (tmp_path / "signers.json").write_text(json.dumps(signers))
    (tmp_path / "grants").mkdir()

    def place(name: str) -> Path:
        claims = Claims(
            jti=name,
            scope="break-glass",
            sub="u",
            tenant="t",
            action="inference:infer",
            model="*",
            reasons=("batch",),
            why="incident",
            iat=NOW_S,
            exp=NOW_S + 60,
        )
        private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path = tmp_path / "grants" / f"{name}.jwt"
        path.write_text(sign(claims, private_pem=private, keyid="ann", algorithm="ES256"))
        return path

    return place


def watch(folder: Path, notes: Notes, clock: Clock) -> LenienceWatch:
    made = LenienceWatch(
        notes,
        signers=folder / "signers.json",
        grants=folder / "grants",
        exceptions=folder / "exceptions.json",
        memory=folder / "memory.json",
        clock_us=clock,
    )
    made.open()
    return made


def shown(watch: LenienceWatch) -> dict[str, float]:
    return {family.name: value for family in watch.families() for value in family.cells.values()}


async def test_a_grant_is_written_down_when_it_begins_and_when_it_ends(
    tmp_path: Path, place: Callable[[str], Path]
) -> None:
    notes, clock = Notes(), Clock()
    (tmp_path / "exceptions.json").write_text("[]")
    place("bg-00000001")
    second = place("bg-00000002")
    await watch(tmp_path, notes, clock).step()
    again = watch(tmp_path, notes, clock)  # a restart repeats nothing
    await again.step()
    assert notes.events == [("begun", "ann", "bg-00000001"), ("begun", "ann", "bg-00000002")]
    assert shown(again) == {"gateway_policy_breakglass_active": 2, "gateway_policy_nonenforcing": 0}

    second.unlink()
    (tmp_path / "grants" / "bg-00000003.jwt").write_text("garbage")
    await again.step()
    await again.step()
    assert notes.events[2:] == [("revoked", "ann", "bg-00000002"), ("refused", "", "bg-00000003.jwt")]

    clock.now_us += 60 * 1_000_000
    assert shown(again)["gateway_policy_breakglass_active"] == 0
    await again.step()
    assert notes.events[4:] == [("ended", "ann", "bg-00000001")]


async def test_signers_that_cannot_be_read_end_no_grant(tmp_path: Path, place: Callable[[str], Path]) -> None:
    notes, clock = Notes(), Clock()
    place("bg-00000001")
    watching = watch(tmp_path, notes, clock)
    await watching.step()
    (tmp_path / "signers.json").write_text("{")
    await watching.step()
    assert [state for state, _, _ in notes.events] == ["begun", "refused"]
    assert shown(watching)["gateway_policy_breakglass_active"] == 1


async def test_exceptions_are_counted_while_they_hold(tmp_path: Path, place: Callable[[str], Path]) -> None:
    notes, clock = Notes(), Clock()
    stated = {"reason": "batch", "mode": "warn", "owner": "ann", "until": "2026-11-23T00:00:00Z"}
    later = {**stated, "until": "2027-01-01T00:00:00Z"}
    (tmp_path / "exceptions.json").write_text(json.dumps([stated, later, {**later, "mode": "enforce"}]))
    watching = watch(tmp_path, notes, clock)
    clock.now_us = 1_798_000_000_000_000  # December
    await watching.step()
    assert shown(watching)["gateway_policy_nonenforcing"] == 1
