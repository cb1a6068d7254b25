"""What every call has: credentials, trace context, allow-listed metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthenticated
from gateway.identity.chain import Chain
from gateway.rpc.actions import INFER
from gateway.rpc.context import Clocks, context, trace_context
from gateway.transport.seam import Head

CLOCKS = Clocks(us=lambda: 7, ns=lambda: 9)
VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def of(*metadata: tuple[str, bytes], allowed: frozenset[str] = frozenset()):
    head = Head(method="s/m", metadata=metadata, peer="10.0.0.1", deadline_ns=5, certificate=b"der")
    return context(head, INFER, CLOCKS, allowed=allowed, size=3)


def test_credentials_clocks_and_limits_come_from_the_head():
    made = of(("authorization", b"Bearer k"), ("x-api-key", b"j"))
    assert (made.credentials.authorization, made.credentials.api_key) == ("Bearer k", "j")
    assert made.credentials.certificate == b"der"
    assert (made.received_us, made.received_ns, made.deadline_ns, made.peer, made.size) == (7, 9, 5, "10.0.0.1", 3)


def test_two_credentials_are_none_that_anyone_believes():
    made = of(("authorization", b"Bearer a"), ("authorization", b"Bearer b"))
    assert made.credentials.authorization == "Bearer a,Bearer b"


def test_only_allowed_metadata_is_kept_and_never_a_credential_by_default():
    made = of(("x-team", b"risk"), ("x-other", b"1"), ("authorization", b"k"), allowed=frozenset({"x-team"}))
    assert made.metadata == {"x-team": "risk"}


def test_a_credential_is_no_metadata_even_where_config_allows_it():
    made = of(("authorization", b"k"), ("x-api-key", b"j"), allowed=frozenset({"authorization", "x-api-key"}))
    assert made.metadata == {}
    assert (made.credentials.authorization, made.credentials.api_key) == ("k", "j")


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
async def test_an_empty_credential_is_not_taken_for_none(name: str):
    shown = context(Head(method="s/m", metadata=((name, b""),)), INFER, CLOCKS).credentials
    with pytest.raises(Unauthenticated):
        await Chain(anonymous=True).authenticate(shown)


def test_metadata_that_is_no_text_does_not_raise():
    assert of(("authorization", b"\xff\xfe")).credentials.authorization == "ÿþ"


def test_a_valid_traceparent_is_continued():
    trace = trace_context(VALID, "a=b")
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (trace.parent_id, trace.flags, trace.state) == ("00f067aa0ba902b7", "01", "a=b")
    assert len(trace.span_id) == 16
    assert trace.span_id != trace.parent_id


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00",
        VALID.upper(),
        VALID + "0",
        VALID.replace("00-4", "ff-4"),
        VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        VALID.replace("00f067aa0ba902b7", "0" * 16),
        VALID.replace("-", "_"),
        "-" * 55,
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(malformed: str):
    trace = trace_context(malformed, "a=b")
    assert (trace.parent_id, trace.flags, trace.state) == ("", "00", "")
    assert trace.trace_id != "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len(trace.trace_id) == 32


@given(st.text(max_size=60))
def test_any_text_gives_a_well_formed_trace(text: str):
    trace = trace_context(text)
    assert len(bytes.fromhex(trace.trace_id)) == 16
    assert len(bytes.fromhex(trace.span_id)) == 8


@pytest.mark.parametrize(
    ("trust", "metadata", "joined"),
    [
        ("always", (), True),
        ("authenticated", (), False),
        ("authenticated", (("x-api-key", b"k"),), True),
        ("never", (("x-api-key", b"k"),), False),
    ],
)
def test_a_stranger_s_trace_is_continued_only_where_that_is_wanted(trust, metadata, joined):
    head = Head(method="s/m", metadata=(("traceparent", VALID.encode()), *metadata))
    trace = context(head, INFER, CLOCKS, trust=trust).trace
    assert (trace.trace_id == VALID[3:35]) is joined
    assert bool(trace.parent_id) is joined
