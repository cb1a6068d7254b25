"""API keys in force: lookup, expiry, revocation, and the file changing underneath."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.errors import Unauthenticated
from gateway.identity.api_keys import ApiKeys
from gateway.identity.key_file import KeyFile, KeyFileError
from gateway.types import Principal


class Clock:
    """Wall-clock seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A key file and the keys in force, over one clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.path = folder / "keys.json"
        self.file = KeyFile(self.path, self.clock)
        self.keys = ApiKeys(self.path, self.clock)

    def cause(self, key: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.keys.prove(key)
        return caught.value.cause


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_a_key_proves_whom_it_was_made_for(gate: Gate) -> None:
    text, stored = gate.file.create(id="app", tenant="risk", groups=["callers"], kind="user")
    gate.keys.open()
    assert gate.keys.prove(text) == Principal(
        id="app",
        kind="user",
        tenant="risk",
        groups=("callers",),
        auth="api_key",
        credential=stored.prefix,
        authenticated_s=int(gate.clock.now),
    )


@pytest.mark.parametrize("change", ["", "x", "gwk_", "gwk_\ud800", "ä" * 40, "gwk_" + "0" * 100_000])
def test_what_is_no_key_of_ours_is_refused(gate: Gate, change: str) -> None:
    gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    assert gate.cause(change) in ("api_key_unknown", "api_key_malformed")


def test_a_key_with_one_letter_changed_is_unknown(gate: Gate) -> None:
    text, _ = gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    for n in range(len(text)):
        other = text[:n] + ("0" if text[n] != "0" else "1") + text[n + 1 :]
        assert gate.cause(other) == "api_key_unknown"


def test_a_key_expires_on_time_without_the_file_changing(gate: Gate) -> None:
    text, stored = gate.file.create(id="app", tenant="risk", expires_in_s=10)
    gate.keys.open()
    gate.clock.now += 9.9
    assert gate.keys.prove(text).id == "app"
    gate.clock.now += 0.1
    assert gate.cause(text) == f"api_key_expired: {stored.prefix}"


def test_a_revoked_key_is_refused_within_the_check_interval(gate: Gate) -> None:
    text, stored = gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    gate.file.revoke(stored.prefix)
    gate.clock.now += 0.1
    assert gate.keys.prove(text).id == "app"
    gate.clock.now += 0.11
    assert gate.cause(text) == f"api_key_revoked: {stored.prefix}"


def test_a_new_key_works_without_a_restart(gate: Gate) -> None:
    gate.keys.open()
    text, _ = gate.file.create(id="app", tenant="risk")
    gate.clock.now += 1
    assert gate.keys.prove(text).id == "app"


def test_a_clock_set_back_does_not_stop_reloading(gate: Gate) -> None:
    gate.keys.open()
    text, _ = gate.file.create(id="app", tenant="risk")
    gate.clock.now -= 3600
    assert gate.keys.prove(text).id == "app"


@pytest.mark.parametrize("bad", [b"", b"{", b'{"keys": [{"id": "x"}]}', b"\x00" * 4096])
def test_a_bad_file_is_logged_and_the_last_good_one_stays(
    gate: Gate, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    text, stored = gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    good = gate.path.read_bytes()
    gate.path.write_bytes(bad)
    gate.clock.now += 1
    with caplog.at_level(logging.ERROR):
        assert gate.keys.prove(text).id == "app"
        gate.clock.now += 1
        assert gate.keys.prove(text).id == "app"
    assert [r.message for r in caplog.records] == ["identity.keys.refused"]  # once a change, not once a call
    assert str(gate.path) in caplog.records[0].cause
    gate.path.write_bytes(good)
    gate.file.revoke(stored.prefix)
    gate.clock.now += 1
    assert gate.cause(text).startswith("api_key_revoked")


def test_a_gateway_does_not_start_on_a_bad_file(gate: Gate) -> None:
    gate.path.write_bytes(b"{")
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        gate.keys.open()


def test_a_file_that_everybody_may_write_is_refused(gate: Gate) -> None:
    gate.file.create(id="app", tenant="risk")
    gate.path.chmod(0o602)
    with pytest.raises(KeyFileError, match="chmod 600"):
        gate.keys.open()


def test_a_removed_file_holds_no_keys(gate: Gate) -> None:
    text, _ = gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    gate.path.unlink()
    gate.clock.now += 1
    assert gate.cause(text) == "api_key_unknown"


def test_several_keys_of_one_holder_overlap_in_a_rotation(gate: Gate) -> None:
    old, stored = gate.file.create(id="app", tenant="risk")
    new, _ = gate.file.create(id="app", tenant="risk")
    gate.keys.open()
    assert gate.keys.prove(old).id == gate.keys.prove(new).id == "app"
    gate.file.revoke(stored.prefix)
    gate.clock.now += 1
    assert gate.cause(old).startswith("api_key_revoked")
    assert gate.keys.prove(new).id == "app"
