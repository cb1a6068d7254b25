"""Certificates on disk: wrong ones are refused before anything changes."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from certificates import Authority

from gateway.transport.tls import ServerTls


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cert\.pem.*key\.pem: No such file"):
        ServerTls(tmp_path / "cert.pem", tmp_path / "key.pem").pem()


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    cert, key = Authority("ca").issue(tmp_path, "server")
    cert.write_text("not PEM")
    with pytest.raises(OSError, match=r"certificate .*server\.pem"):
        ServerTls(cert, key).context()


def test_require_without_a_ca_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="client_ca"):
        ServerTls(tmp_path / "c", tmp_path / "k", require_client_cert=True)


def test_a_key_that_does_not_fit_leaves_the_old_in_use(tmp_path: Path) -> None:
    one, two = Authority("one"), Authority("two")
    cert, key = one.issue(tmp_path, "server")
    tls = ServerTls(cert, key)
    before = tls.pem()
    tls.context()
    _, other = two.issue(tmp_path, "other")
    shutil.copy(other, key)
    with pytest.raises(OSError, match=r"(?i)mismatch"):
        tls.reload()
    assert tls.pem() == before


def test_nothing_older_than_tls_12(tmp_path: Path) -> None:
    context = ServerTls(*Authority("ca").issue(tmp_path, "server")).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_following_takes_a_pair_once_it_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = Authority("one"), Authority("two")
    cert, key = one.issue(tmp_path, "server")
    tls = ServerTls(cert, key)
    before = tls.pem()
    new_cert, new_key = two.issue(tmp_path, "new")
    shutil.copy(new_cert, cert)
    for _ in range(3):
        tls.follow()
    assert tls.pem() == before
    assert caplog.text.count("tls.reload_failed") == 1
    shutil.copy(new_key, key)
    tls.follow()
    assert tls.pem().cert == new_cert.read_bytes()


def test_a_file_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    cert, key = Authority("ca").issue(tmp_path, "server")
    tls = ServerTls(cert, key)
    before = tls.pem()
    cert.unlink()
    tls.follow()
    assert tls.pem() == before


def test_reload_reads_the_new_files(tmp_path: Path) -> None:
    authority = Authority("ca")
    cert, key = authority.issue(tmp_path, "server")
    tls = ServerTls(cert, key)
    before = tls.pem()
    authority.issue(tmp_path, "server")
    assert tls.pem() == before
    tls.reload()
    assert tls.pem().cert == cert.read_bytes() != before.cert
