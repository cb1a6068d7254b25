"""Where an issuer's keys are, asked of the issuer itself: believed only for exactly that issuer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import pytest

from gateway.identity.jwks import KeySet
from gateway.identity.key_sources import DiscoveredSource
from gateway.identity.signatures import KeySetError
from gateway.identity.trust import TrustError, read_trust
from gateway.identity.trusted import Trusted

ENTRY = '[[issuer]]\nissuer = "{issuer}"\naudiences = ["gateway"]\ntenant = "acme"\n'


class World(Protocol):
    """See conftest."""

    signer: Signer

    def token(self, **changes: object) -> str: ...


class Signer(Protocol):
    """See conftest."""

    jwk: dict[str, object]


class Provider(ThreadingHTTPServer):
    """An identity provider's web server: ``pages`` by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.pages: dict[str, object] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def describe(self, issuer: str = "", jwks_uri: str = "") -> None:
        said = {"issuer": issuer or self.url, "jwks_uri": jwks_uri or f"{self.url}/keys"}
        self.pages["/.well-known/openid-configuration"] = said


class Page(BaseHTTPRequestHandler):
    """One answer."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Provider)
        found = self.server.pages.get(self.path)
        body = json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_keys_are_found_and_move_with_the_provider(
    provider: Provider, world: World, new_signer: type, tmp_path: Path
) -> None:
    provider.describe()
    provider.pages["/keys"] = {"keys": [world.signer.jwk]}
    path = tmp_path / "trust.toml"
    path.write_text(ENTRY.format(issuer=provider.url))
    trusted = Trusted(path, lambda: 1_795_000_000.0, backups=tmp_path)
    await trusted.open()
    assert trusted.tokens is not None
    assert (await trusted.tokens.prove(world.token(iss=provider.url, tenant=None))).id == "u1"
    await trusted.close()
    assert list(tmp_path.glob("jwks-*.json"))  # kept for a start without the provider

    other = new_signer("ES256", "moved")
    provider.describe(jwks_uri=f"{provider.url}/keys/2")
    provider.pages["/keys/2"] = {"keys": [other.jwk]}
    keys = KeySet(DiscoveredSource(provider.url), lambda: 0.0)
    await keys.open()
    assert (await keys.key("moved")).kid == "moved"
    await keys.close()


async def test_a_description_of_somebody_else_is_not_believed(provider: Provider) -> None:
    provider.describe(issuer="https://idp.example")
    with pytest.raises(KeySetError, match=r"speaks for issuer 'https://idp.example', expected"):
        await DiscoveredSource(provider.url).fetch()
    provider.describe(jwks_uri="http://idp.example/keys")
    with pytest.raises(KeySetError, match="not https"):
        await DiscoveredSource(provider.url).fetch()
    provider.pages = {"/.well-known/openid-configuration": ["no object"]}
    with pytest.raises(KeySetError, match="no provider's description"):
        await DiscoveredSource(provider.url).fetch()
    provider.pages = {}
    with pytest.raises(KeySetError, match="404"):
        await DiscoveredSource(provider.url).fetch()


@pytest.mark.parametrize("issuer", ["idp.example", "http://idp.example"])
def test_only_an_https_issuer_can_be_asked(tmp_path: Path, issuer: str) -> None:
    path = tmp_path / "trust.toml"
    path.write_text(ENTRY.format(issuer=issuer))
    with pytest.raises(TrustError, match="jwks"):
        read_trust(path)
