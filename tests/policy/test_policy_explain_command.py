"""``gateway policy explain`` and ``replay`` on a ledger that was really written."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from gateway.cli.policy import app
from gateway.ledger import leaf as leaves
from gateway.ledger.ledger import Payload
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger
from gateway.ledger.vault import Vault
from gateway.pipeline.payload import encode_payload
from gateway.policy.bundle import Bundle
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.revisions import Revisions
from gateway.policy.schema import Gateway
from gateway.types import Decision

SHIPPED = Path(__file__).parents[2] / "policies"
FIRST = "a" * 32


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def decide(bundle: Bundle, query: Query) -> Decision:
    with pytest.raises(StopIteration) as done:
        EmbeddedPoint(bundle, gateway=Gateway()).decide(query).send(None)
    decision: Decision = done.value.value
    return decision


@pytest.fixture
def data(tmp_path: Path, shipped: Bundle, make_query: Callable[..., Query]) -> Path:
    """A denial of 33 rows, one whose record does not fit its revision, one erased, one never kept, two metadata calls,
    one undecided, one that repeats the second."""
    Revisions(tmp_path / "policy", clock_us=lambda: 1).save(shipped)
    decision = decide(shipped, make_query(shapes=((33, 10),)))
    first = Record(
        v=1, kind="call", shard="gw.0", t_us=1, tenant="clinic", action="inference:infer", model="diabetes",
        decision_id=FIRST, reasons=decision.codes, policy_rev=shipped.revision, policy_sha=shipped.digest, pol_c="00",
        outcome="denied",
    )  # fmt: skip
    unkept = msgspec.structs.replace(first, decision_id="d" * 32, payload="none", pol_c="")
    metadata = msgspec.structs.replace(unkept, action="metadata:model_metadata", payload="")
    undecided = msgspec.structs.replace(unkept, decision_id="", outcome="unauthenticated")
    otherwise = msgspec.structs.replace(first, decision_id="f" * 32, allow=True)
    repeats = msgspec.structs.replace(otherwise, decision_id="b" * 32, cached=True, cached_from="f" * 32, pol_c="")
    erased = msgspec.structs.replace(first, decision_id="c" * 32)
    payload = Payload(salts=bytes(32), body=encode_payload((), (), decision.slice), tenant="clinic")

    async def fill() -> None:
        vault = Vault(FileKeys(tmp_path / "keys" / "payload"))
        ledger = await ShardLedger.open(tmp_path / "ledger", "gw.0", boot={}, clock_us=lambda: 1, vault=vault)
        for made in (first, otherwise, erased, unkept, metadata, metadata, undecided, repeats):
            kept = payload if made in (first, otherwise) else None
            encoder = lambda shard, seq, made=made: leaves.encode(msgspec.structs.replace(made, shard=shard, seq=seq))  # noqa: E731  # bound to this one
            await ledger.append(encoder, kept)
        await ledger.close()

    asyncio.run(fill())
    return tmp_path


def test_a_decision_is_explained_by_the_revision_that_made_it(data: Path) -> None:
    for name in (FIRST, "gw.0/1"):
        explained = run("explain", name, "--data", data)
        assert explained.exit_code == 0, explained.output
        assert "recorded: deny (batch) under" in explained.output
        assert f"gw.0/1, decision {FIRST}" in explained.output
        assert "missing batch" in explained.output
        assert "DIFFERS" not in explained.output


def test_what_repeats_a_decision_is_explained_by_its_input(data: Path) -> None:
    explained = run("explain", "b" * 32, "--data", data)
    assert "gw.0/8, decision bbbb" in explained.output
    assert "input.tensors.batch = 33" in explained.output


def test_other_rules_are_used_when_asked_for_and_a_difference_is_loud(data: Path, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(SHIPPED, policies)
    file = policies / "data.json"
    file.write_text(file.read_text().replace('"max_batch": 32', '"max_batch": 99'))
    explained = run("explain", FIRST, "--data", data, "--policies", policies)
    assert explained.exit_code == 0, explained.output
    assert "explained by other rules than those that decided" in explained.output
    assert "DIFFERS FROM THE RECORD: deny_to_allow (batch)" in explained.output
    shown = json.loads(run("explain", FIRST, "--data", data, "--policies", policies, "--json").output)
    assert (shown["recorded"]["allow"], shown["verdict"]["allow"]) == (False, True)
    assert shown["recorded"]["prediction_id"] == "gw.0/1"


def test_rules_that_read_more_than_the_record_holds_say_so(data: Path, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(SHIPPED, policies)
    file = policies / "gateway" / "authz" / "decision.rego"
    file.write_text(file.read_text().replace("count(missing) == 0", 'count(missing) == 0\n\tinput.subject.auth == "x"'))
    explained = run("explain", FIRST, "--data", data, "--policies", policies)
    assert "THE RECORD LACKS what these rules read: subject.auth" in explained.output


def test_a_revision_that_now_decides_otherwise_is_an_error(data: Path) -> None:
    explained = run("explain", "f" * 32, "--data", data)
    assert explained.exit_code == 1
    assert "recorded: allow (batch) under" in explained.output
    assert "DIFFERS FROM THE RECORD: allow_to_deny (batch)" in explained.output
    assert "other rules" not in explained.output


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("c" * 32, "input erased or expired"),
        ("gw.0/4", "the obligation was log none"),
        ("gw.0/7", "ended before a decision (unauthenticated)"),
        ("e" * 32, "has the decision id"),
    ],
)
def test_what_cannot_be_explained_says_why(data: Path, what: str, said: str) -> None:
    explained = run("explain", what, "--data", data)
    assert explained.exit_code == 2
    assert said in explained.output


def test_a_revision_that_is_gone_is_named(data: Path) -> None:
    shutil.rmtree(data / "policy")
    explained = run("explain", FIRST, "--data", data)
    assert explained.exit_code == 2
    assert "recorded: deny (batch) under" in explained.output
    assert "--policies DIR" in explained.output


def test_replay_counts_what_is_lost_apart_from_what_never_is_kept(data: Path) -> None:
    replayed = run("replay", "--candidate", SHIPPED, "--data", data)
    assert replayed.exit_code == 0, replayed.output
    assert "3 of 5 decisions replayed" in replayed.output
    assert "apart: 2 x metadata, no predictions" in replayed.output
    assert "1 x input erased or expired" in replayed.output
    shown = json.loads(run("replay", "--candidate", SHIPPED, "--data", data, "--json").output)
    assert shown["others"] == {"metadata": 2}
    assert shown["skipped"]["input erased or expired"] == 1
