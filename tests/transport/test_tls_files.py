"""Certificates on disk: wrong ones are refused before anything changes."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from certificates import Authority

from gateway.transport.tls import ServerTls


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ServerTls(tmp_path / "cert.pem", tmp_path / "key.pem").pem()


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
    with pytest.raises(ssl.SSLError):
        tls.reload()
    assert tls.pem() == before


def test_nothing_older_than_tls_12(tmp_path: Path) -> None:
    context = ServerTls(*Authority("ca").issue(tmp_path, "server")).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_reload_reads_the_new_files(tmp_path: Path) -> None:
    authority = Authority("ca")
    cert, key = authority.issue(tmp_path, "server")
    tls = ServerTls(cert, key)
    before = tls.pem()
    authority.issue(tmp_path, "server")
    assert tls.pem() == before
    tls.reload()
    assert tls.pem().cert == cert.read_bytes() != before.cert
