"""The key file: what is stored, what is refused, and what two writers do to each other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.identity.key_file import KeyFile, KeyFileError, parse_keys

NOW = 1_795_000_000


def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json", lambda: NOW)


def test_a_created_key_is_stored_as_its_hash_only(tmp_path: Path) -> None:
    text, stored = key_file(tmp_path).create(id="app", tenant="risk", groups=["callers"], expires_in_s=60)
    data = (tmp_path / "keys.json").read_text()
    secret = text.rsplit("_", 1)[1]
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in data
    assert stored.hash == hashlib.sha256(text.encode()).hexdigest()
    assert text == f"gwk_{stored.prefix}_{secret}"
    assert (stored.created_s, stored.expires_s, stored.groups) == (NOW, NOW + 60, ("callers",))
    assert key_file(tmp_path).read() == (stored,)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key_file(tmp_path).create(id="app", tenant="risk")
    finally:
        os.umask(before)
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {
        "keys.json": 0o600,
        "keys.json.lock": 0o600,
    }


def test_no_file_holds_no_keys(tmp_path: Path) -> None:
    assert key_file(tmp_path).read() == ()


def test_a_revoked_key_stays_revoked_at_its_first_time(tmp_path: Path) -> None:
    _, stored = key_file(tmp_path).create(id="app", tenant="risk")
    assert key_file(tmp_path).revoke(stored.prefix).revoked_s == NOW
    later = KeyFile(tmp_path / "keys.json", lambda: NOW + 9)
    assert later.revoke(stored.prefix).revoked_s == NOW
    assert later.read()[0].state(0) == "revoked"


def test_expire_shortens_a_life_and_never_lengthens_it(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    _, stored = file.create(id="app", tenant="risk")
    assert file.expire(stored.prefix, NOW + 50).expires_s == NOW + 50
    assert file.expire(stored.prefix, NOW + 99).expires_s == NOW + 50
    assert file.expire(stored.prefix, NOW + 10).expires_s == NOW + 10
    assert file.read()[0].state(NOW + 9.9) == "active"
    assert file.read()[0].state(NOW + 10) == "expired"


def test_the_file_says_who_made_and_who_ended_a_key(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    _, stored = file.create(id="app", tenant="risk", by="ann")
    file.revoke(stored.prefix, by="bob")
    file.revoke(stored.prefix, by="cyd")
    (key,) = file.read()
    assert (key.created_by, key.changed_by) == ("ann", "bob")


def test_an_unknown_prefix_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key with prefix 'deadbeef'"):
        key_file(tmp_path).revoke("deadbeef")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "ä", "anonymous", "x" * 256])
def test_names_that_cannot_stand_in_records_are_refused(tmp_path: Path, name: str) -> None:
    for arguments in ({"id": name, "tenant": "t"}, {"id": "a", "tenant": name}):
        with pytest.raises(KeyFileError, match="key not created"):
            key_file(tmp_path).create(**arguments)
    assert key_file(tmp_path).read() == ()


@pytest.mark.parametrize("group", ["", " a", "a\n", "\x00", "x" * 256])
def test_groups_that_cannot_be_shown_are_refused(tmp_path: Path, group: str) -> None:
    with pytest.raises(KeyFileError, match="groups"):
        key_file(tmp_path).create(id="a", tenant="t", groups=[group])
    _, stored = key_file(tmp_path).create(id="a", tenant="t", groups=["Domain Users", "Prüfer"])
    assert stored.groups == ("Domain Users", "Prüfer")


def entry(**changes: object) -> dict[str, object]:
    good = {"id": "a", "tenant": "t", "prefix": "0123abcd", "hash": "0" * 64, "created_s": 1}
    return {**good, **changes}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "not a key file"),
        (b"{", "not a key file"),
        (b"\xff\xfe", "not a key file"),
        (b"[]", "Expected `object`"),
        (json.dumps({"v": 2, "keys": []}).encode(), "v"),
        (json.dumps({"v": 1, "keyz": []}).encode(), "unknown field `keyz`"),
        (json.dumps({"keys": [entry(role="root")]}).encode(), "unknown field `role`"),
        (json.dumps({"keys": [entry(kind="anonymous")]}).encode(), "kind"),
        (json.dumps({"keys": [entry(hash="0" * 63)]}).encode(), "64 hex digits"),
        (json.dumps({"keys": [entry(hash="Z" * 64)]}).encode(), "64 hex digits"),
        (json.dumps({"keys": [entry(prefix="short")]}).encode(), "8 letters"),
        (json.dumps({"keys": [entry(id="a b")]}).encode(), "keys\\[0\\]: id"),
        (json.dumps({"keys": [entry(expires_s=-1)]}).encode(), "times"),
        (json.dumps({"keys": [entry(), entry(id="b")]}).encode(), "stands twice"),
        (json.dumps({"keys": [entry(), entry(prefix="f" * 8)]}).encode(), "stands twice"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole_and_named(document: bytes, text: str) -> None:
    with pytest.raises(KeyFileError, match=text) as caught:
        parse_keys(document, "DATA/keys.json")
    assert str(caught.value).startswith("DATA/keys.json: ")


def test_a_bad_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(b"{ broken")
    with pytest.raises(KeyFileError, match="restore it"):
        key_file(tmp_path).create(id="a", tenant="t")
    assert (tmp_path / "keys.json").read_bytes() == b"{ broken"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError, match="cannot be changed"):
        KeyFile(tmp_path / "file" / "keys.json", lambda: NOW).create(id="a", tenant="t")


CREATE_MANY = """
import sys
from pathlib import Path
from gateway.identity.key_file import KeyFile

for _ in range(15):
    KeyFile(Path(sys.argv[1]), lambda: 1).create(id=sys.argv[2], tenant="t")
"""


def test_concurrent_writers_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    writers = [subprocess.Popen([sys.executable, "-c", CREATE_MANY, path, f"w{n}"]) for n in range(3)]
    seen = 0
    while any(w.poll() is None for w in writers):
        now = len(KeyFile(path, lambda: NOW).read())  # a reader never sees half a file
        assert now >= seen
        seen = now
    assert [w.returncode for w in writers] == [0, 0, 0]
    keys = KeyFile(path, lambda: NOW).read()
    assert sorted(k.id for k in keys) == sorted(["w0", "w1", "w2"] * 15)
    assert len({k.prefix for k in keys}) == 45
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_what_a_crashed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"keys.json.{os.getpid()}.new").write_bytes(b"half")
    _, stored = key_file(tmp_path).create(id="a", tenant="t")
    assert key_file(tmp_path).read() == (stored,)
