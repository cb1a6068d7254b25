from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.errors import PermissionDenied
from gateway.policy.bundle import Bundle
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import FIXED, ModedPoint, ModeEntry, read_entries
from gateway.policy.obligations import merge
from gateway.policy.pdp import Query, enforce
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway

MakeQuery = Callable[..., Query]
NOW_US = 1_795_000_000_000_000


def entry(reason: str = "batch", **changes: object) -> ModeEntry:
    stated = {"reason": reason, "mode": "warn", "owner": "ann", "until_us": NOW_US + 1, **changes}
    return msgspec.convert(stated, ModeEntry)


@pytest.fixture
def point(shipped: Bundle) -> EmbeddedPoint:
    return EmbeddedPoint(shipped, gateway=Gateway())


async def test_warn_serves_and_the_evidence_still_says_deny(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    moded = ModedPoint(point, [entry()])
    decision = await moded.decide(make_query(model="breast-cancer", shapes=((33, 10),)))
    assert (decision.allow, decision.effect, decision.codes) == (False, "warned", ("batch",))
    now = moded.decide_now(make_query(model="breast-cancer", shapes=((33, 10),)))
    assert now is not None
    assert msgspec.structs.replace(now, id=decision.id) == decision
    assert enforce(decision).servable == decision.servable
    duties = merge(decision.obligations)
    assert duties.mask == {"probabilities": "zero"}
    assert duties.headers == (("x-policy-warning", "batch"),)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry(until_us=NOW_US)],
        [entry("network")],
        [entry(tenant="research")],
        [entry(model="digits")],
        [entry(mode="enforce")],
        [entry(mode="deny")],
        [entry(), entry(tenant="clinic", mode="enforce")],
    ],
)
async def test_everything_else_enforces(point: EmbeddedPoint, make_query: MakeQuery, entries: list[ModeEntry]) -> None:
    decision = await ModedPoint(point, entries).decide(make_query(shapes=((33, 10),)))
    assert (decision.allow, decision.effect) == (False, "enforced")
    with pytest.raises(PermissionDenied):
        enforce(decision)


async def test_every_reason_needs_its_own_exception(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    query = make_query(shapes=((33, 10),), peer="8.8.8.8")
    assert (await ModedPoint(point, [entry()]).decide(query)).effect == "enforced"
    assert (await ModedPoint(point, [entry(), entry("network", mode="dryrun")]).decide(query)).effect == "warned"


async def test_a_narrow_exception_wins_over_a_wide_one(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    entries = [entry(mode="enforce"), entry(tenant="clinic", model="diabetes")]
    assert (await ModedPoint(point, entries).decide(make_query(shapes=((33, 10),)))).effect == "warned"
    assert ModedPoint(point, entries).in_force(NOW_US) == (entries[1],)
    assert ModedPoint(point, entries).in_force(NOW_US + 1) == ()


@pytest.mark.parametrize("reason", sorted(FIXED))
def test_the_gateways_own_denials_cannot_be_named(reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="cannot be softened"):
        entry(reason)


def test_an_exception_without_owner_or_end_is_none() -> None:
    for missing in ("owner", "until_us"):
        stated = {"reason": "batch", "mode": "warn", "owner": "ann", "until_us": 1}
        del stated[missing]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(stated, ModeEntry)


def test_exceptions_on_file(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.json"
    stated = {
        "reason": "batch",
        "mode": "warn",
        "tenant": "clinic",
        "owner": "ann",
        "until": "2026-12-01T00:00:00+01:00",
    }
    file.write_text(json.dumps([stated]))
    (found,) = read_entries(file)
    assert found == ModeEntry(reason="batch", mode="warn", tenant="clinic", owner="ann", until_us=1_796_079_600_000_000)
    for wrong in ({"until": "2026-12-01T00:00:00"}, {"until": "soon"}, {"owner": ""}, {"mode": "off"}, {"extra": 1}):
        file.write_text(json.dumps([{**stated, **wrong}]))
        with pytest.raises(PolicyInvalid, match="exceptions"):
            read_entries(file)
    file.unlink()
    with pytest.raises(PolicyInvalid, match="No such file"):
        read_entries(file)


async def test_other_exceptions_hold_from_the_next_query_on(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    moded, query = ModedPoint(point, []), make_query(shapes=((33, 10),))
    assert (await moded.decide(query)).effect == "enforced"
    moded.replace([entry()])
    assert (await moded.decide(query)).effect == "warned"
