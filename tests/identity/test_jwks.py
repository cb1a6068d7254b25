"""Key sets: rotation, made-up names, an issuer that goes away, and what a set may hold."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import pytest

from gateway.errors import Unauthenticated, Unavailable
from gateway.identity.jwks import KeySet
from gateway.identity.key_sources import MAX_BYTES, FileSource, UrlSource
from gateway.identity.signatures import BadToken, KeySetError, parse_key_set


class World(Protocol):
    """See conftest."""

    keys: KeySet

    def token(self, **changes: object) -> str: ...


async def test_a_new_key_is_fetched_when_a_token_names_it(world: World, new_signer: type) -> None:
    await world.keys.key("kid-ES256")
    assert world.source.asked == 1
    second = new_signer("ES256", "second")
    world.source.jwks.append(second.jwk)
    world.clock.now += 31
    assert (await world.keys.key("second")).kid == "second"
    assert (await world.keys.key("kid-ES256")).kid == "kid-ES256"
    assert world.source.asked == 2


async def test_made_up_names_do_not_reach_the_issuer(world: World) -> None:
    await world.keys.key("kid-ES256")
    for n in range(100):
        world.clock.now += 0.1
        with pytest.raises(BadToken, match="jwt_key_unknown"):
            await world.keys.key(f"made-up-{n}")
    assert world.source.asked == 1
    world.clock.now += 30
    with pytest.raises(BadToken):
        await world.keys.key("made-up")
    assert world.source.asked == 2


async def test_many_who_need_the_same_key_fetch_once(world: World) -> None:
    found = await asyncio.gather(*(world.keys.key("kid-ES256") for _ in range(20)))
    assert {key.kid for key in found} == {"kid-ES256"}
    assert world.source.asked == 1


async def test_the_last_good_keys_serve_on_while_the_issuer_is_away(world: World) -> None:
    token = world.token(exp=2_000_000_000, iat=1_795_000_000)
    await world.tokens.prove(token)
    world.source.away = True
    world.clock.now += 80_000
    assert (await world.tokens.prove(token)).id == "u1"
    world.clock.now += 6_400
    with pytest.raises(Unavailable, match="cannot be fetched"):
        await world.tokens.prove(token)
    world.source.away = False
    world.clock.now += 31
    with pytest.raises(Unauthenticated) as caught:
        await world.tokens.prove(token)
    assert caught.value.cause == "jwt_too_old"  # the keys are back, the token's day is over


async def test_an_issuer_that_was_never_reached_is_no_denial(world: World) -> None:
    world.source.away = True
    with pytest.raises(Unavailable):
        await world.tokens.prove(world.token())


async def test_a_key_set_that_turns_bad_does_not_replace_the_good_one(world: World) -> None:
    await world.keys.key("kid-ES256")
    for bad in ([], [{"kty": "oct", "k": "AA", "kid": "x"}], [world.signer.jwk, world.signer.jwk]):
        world.source.jwks = bad
        world.clock.now += 31
        with pytest.raises(BadToken):
            await world.keys.key("another")
        assert (await world.keys.key("kid-ES256")).kid == "kid-ES256"


async def test_keys_are_refreshed_in_the_background(world: World, new_signer: type) -> None:
    keys = KeySet(world.source, world.clock, refresh_s=0.01)
    await keys.open()
    first = keys.generation
    world.source.jwks = [new_signer("ES256", "second").jwk]
    for _ in range(200):
        await asyncio.sleep(0.01)
        if keys.generation != first:
            break
    asked = world.source.asked
    assert (await keys.key("second")).kid == "second"
    assert world.source.asked == asked
    await keys.close()


async def test_a_backup_bridges_a_restart_while_the_issuer_is_away(world: World, tmp_path: Path) -> None:
    backup = tmp_path / "keys.jwks"
    first = KeySet(world.source, world.clock, backup=backup)
    await first.open()
    await first.close()
    world.source.away = True
    world.clock.now += 3600
    second = KeySet(world.source, world.clock, backup=backup)
    await second.open()
    assert (await second.key("kid-ES256")).kid == "kid-ES256"
    assert second.good_until_s == 1_795_000_000 + 86_400  # a restart does not lengthen the grace
    await second.close()
    world.clock.now += 86_400
    third = KeySet(world.source, world.clock, backup=backup)
    with pytest.raises(KeySetError):
        await third.open()
    await third.close()


async def test_a_token_without_a_kid_needs_an_issuer_with_one_key(world: World, new_signer: type) -> None:
    assert (await world.keys.key("")).kid == "kid-ES256"
    world.source.jwks.append(new_signer("ES256", "second").jwk)
    world.clock.now += 31
    with pytest.raises(BadToken):
        await world.keys.key("second-and-third")
    with pytest.raises(BadToken, match="jwt_key_not_named"):
        await world.keys.key("")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JWK Set"),
        (b"{}", "not a JWK Set"),
        (b'{"keys": {}}', "not a JWK Set"),
        (b'{"keys": []}', "no usable signing key"),
        (b'{"keys": [1, null, "x"]}', "no usable signing key"),
        (json.dumps({"keys": [{}] * 101}).encode(), "101 keys"),
    ],
)
def test_what_is_no_key_set_is_named(document: bytes, text: str) -> None:
    with pytest.raises(KeySetError, match=text):
        parse_key_set(document)


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "RS256"},
        {"crv": "secp256k1"},
        {"kty": "oct"},
        {"x": "AA"},
        {"kid": 7},
        {"kid": "x" * 300},
        {"d": "AA"},
    ],
)
def test_keys_for_anything_else_are_left_out(signers: dict[str, object], change: dict[str, object]) -> None:
    good = signers["EdDSA"].jwk
    bad = {**signers["ES256"].jwk, **change}
    assert list(parse_key_set(json.dumps({"keys": [bad, good]}).encode())) == ["kid-EdDSA"]


def test_a_short_rsa_key_is_left_out(signers: dict[str, object]) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from jwt.algorithms import RSAAlgorithm

    short = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
    with pytest.raises(KeySetError, match="2048"):
        parse_key_set(json.dumps({"keys": [{**short, "kid": "short"}]}).encode())


async def test_a_file_is_read_and_its_absence_named(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"x")
    assert await FileSource(tmp_path / "k").fetch() == b"x"
    with pytest.raises(KeySetError, match="No such file"):
        await FileSource(tmp_path / "none").fetch()


class Answers(BaseHTTPRequestHandler):
    """A web server with one good page and several bad ones."""

    def do_GET(self) -> None:
        body = b"k" * (MAX_BYTES + 1) if self.path == "/big" else b"keys"
        self.send_response({"/moved": 302, "/gone": 404}.get(self.path, 200))
        self.send_header("location", "/keys")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def test_urls_are_fetched_without_redirects_and_bounded() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        try:
            assert await UrlSource(f"{base}/keys?v=1").fetch() == b"keys"
            for path, text in (("moved", "302"), ("gone", "404"), ("big", "more than")):
                with pytest.raises(KeySetError, match=text):
                    await UrlSource(f"{base}/{path}").fetch()
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(KeySetError, match="cannot be fetched"):
        await UrlSource(f"{base}/keys", timeout_s=1).fetch()


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/keys",
        "ftp://idp.example/keys",
        "file:///etc/passwd",
        "idp.example",
        "https://u:p@idp.example/",
    ],
)
async def test_urls_that_others_could_answer_are_refused(url: str) -> None:
    with pytest.raises(KeySetError):
        await UrlSource(url).fetch()
