"""Credentials reach no text: not errors, not their causes, not logs, not any value's repr."""

from __future__ import annotations

import contextlib
import gc
import logging
import tempfile
import traceback
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthenticated
from gateway.identity.api_keys import ApiKeys
from gateway.identity.chain import Chain
from gateway.identity.jwt import JwtTokens
from gateway.identity.key_file import KeyFile
from gateway.policy.input import document
from gateway.policy.pdp import Query
from gateway.policy.schema import Gateway
from gateway.rpc.actions import INFER
from gateway.rpc.context import Clocks, context
from gateway.transport.seam import Head
from gateway.types import Call, Credentials, ModelRef, Principal

SECRET = st.text(st.characters(codec="utf-8", exclude_characters=" "), max_size=80).map("Zq9Xw7-Kp3v8".__add__)
SHAPE = st.sampled_from(
    ["{}", "Bearer {}", "Bearer gwk_{}", "Basic {}", "Bearer gwk_0123abcd_{}", "{} {}", "Bearer a.{}.c"]
)


class World(Protocol):
    """See conftest."""

    tokens: JwtTokens

    def token(self, **changes: object) -> str: ...


def texts_of(error: BaseException | None) -> list[str]:
    """Everything that a log or an answer could make of ``error`` and of what it came from."""
    found = []
    while error is not None:
        found += [str(error), repr(error), str(vars(error)), "".join(traceback.format_exception(error))]
        error = error.__cause__ or error.__context__
    return found


async def seen(credentials: Credentials, folder: Path) -> list[str]:
    """All that is visible after ``credentials`` were checked against one real key."""
    file = KeyFile(folder / "keys.json", lambda: 1000)
    file.create(id="app", tenant="t")
    keys = ApiKeys(folder / "keys.json", lambda: 1000)
    keys.open()
    visible = [repr(credentials), str(credentials), repr(keys), repr(gc.get_referents(keys))]
    try:
        visible.append(repr(await Chain(keys=keys).authenticate(credentials)))
    except Unauthenticated as error:
        visible += texts_of(error)
    return visible


@given(secret=SECRET, shape=SHAPE, as_key=st.booleans())
async def test_a_refused_credential_is_never_repeated(secret: str, shape: str, as_key: bool) -> None:
    text = shape.replace("{}", secret)
    credentials = Credentials(api_key=text) if as_key else Credentials(authorization=text)
    with tempfile.TemporaryDirectory() as folder:
        for visible in await seen(credentials, Path(folder)):
            assert secret not in visible
            assert repr(secret)[1:-1] not in visible


async def test_no_part_of_a_token_is_in_refusals_or_logs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    good = world.token(marker="Zq9Xw7-Kp3v8")
    header, payload, signature = good.split(".")
    bad = [f"{header}.{payload}.{signature[::-1]}", world.token(exp=1), world.token(aud="x"), world.token(sub=None)]
    visible = [repr(await world.tokens.prove(good)), repr(world.tokens.__dict__), repr(Credentials(authorization=good))]
    with caplog.at_level(logging.DEBUG):
        for token in [*bad, world.token(kid="Zq9Xw7-Kp3v8"), f"{header}.{payload}"]:
            with contextlib.suppress(Unauthenticated):
                await world.tokens.prove(token)
            try:
                await Chain(tokens=world.tokens).authenticate(Credentials(authorization=f"Bearer {token}"))
            except Unauthenticated as error:
                visible += texts_of(error)
    visible += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    for text in visible:
        for part in (payload, signature, "Zq9Xw7-Kp3v8"):
            assert part not in text


async def test_a_good_key_is_nowhere_in_memory_of_the_keys_nor_in_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    text, _ = KeyFile(path, lambda: 1000).create(id="app", tenant="t")
    keys = ApiKeys(path, lambda: 1000)
    with caplog.at_level(logging.DEBUG):
        keys.open()
        principal = await Chain(keys=keys).authenticate(Credentials(api_key=text))
        path.write_text("{" + text)
        keys.reload()
    secret = text.rsplit("_", 1)[1]
    assert "identity.keys.refused" in caplog.text
    dumped = [repr(gc.get_referents(keys)), repr(principal), msgspec.json.encode(principal).decode()]
    dumped += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    for visible in dumped:
        assert secret not in visible


def test_policy_and_whoever_prints_a_call_see_no_credential() -> None:
    secret = "Zq9Xw7-Kp3v8"
    head = Head(
        method="inference.GRPCInferenceService/ModelInfer",
        metadata=(("authorization", f"Bearer {secret}".encode()), ("x-api-key", secret.encode())),
        certificate=secret.encode(),
    )
    asked = context(head, INFER, Clocks(us=lambda: 1, ns=lambda: 1), allowed=frozenset({"authorization", "x-api-key"}))
    who = Principal(id="a", kind="user", tenant="t", auth="jwt", credential="kid")
    call = Call(context=asked, model=ModelRef("m"))
    query = Query(principal=who, context=asked, call=call)
    asked_of_policy = msgspec.json.encode(document(query, Gateway(instance="gw", version="1")))
    for visible in (repr(asked), repr(call), repr(query), asked_of_policy.decode()):
        assert secret not in visible


def test_one_text_for_all_causes() -> None:
    assert str(Unauthenticated("a")) == str(Unauthenticated("b"))
