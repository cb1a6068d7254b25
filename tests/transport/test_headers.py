"""Metadata, status text and peers, in both directions."""

from __future__ import annotations

import contextlib
import string
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.headers import binary_values, canonical_host, percent_encoded, status, wire
from gateway.transport.request import is_grpc, read
from gateway.transport.seam import Refused

NAMES = st.text(string.ascii_lowercase + string.digits + "-_.", min_size=1, max_size=20)


@given(st.text())
def test_percent_encoding_is_printable_and_loses_nothing(text: str) -> None:
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert unquote_to_bytes(encoded).decode("utf-8", "replace") == text.encode("utf-8", "replace").decode()


def test_plain_text_stays_readable() -> None:
    assert percent_encoded("Deadline Exceeded: [a/b] ~ {x}") == b"Deadline Exceeded: [a/b] ~ {x}"
    assert percent_encoded("100% é\n") == b"100%25 %C3%A9%0A"


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.sampled_from([b",", b", "]))
def test_binary_values_come_back(values: list[bytes], joint: bytes) -> None:
    joined = joint.join(text for value in values for _, text in wire((("x-bin", value),)))
    assert [value for _, value in binary_values("x-bin", joined)] == values


@given(st.binary(max_size=60))
def test_binary_garbage_is_refused_or_read(value: bytes) -> None:
    with contextlib.suppress(Refused):
        for name, part in binary_values("x-bin", value):
            assert (name, type(part)) == ("x-bin", bytes)


def test_a_status_carries_details_and_trailers() -> None:
    fields = status(Refused(7, "no", (("x-a", b"1"), ("y-bin", b"\x00")), b"\xff"))
    assert fields == [
        ("grpc-status", b"7"),
        ("grpc-message", b"no"),
        ("grpc-status-details-bin", b"/w"),
        ("x-a", b"1"),
        ("y-bin", b"AA"),
    ]


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=30))
def test_reading_fields_never_surprises(items: list[tuple[str, bytes]]) -> None:
    with contextlib.suppress(Refused):
        fields = read(items, 2000)
        assert sum(len(n) + len(v) + 32 for n, v in items) <= 2000
        assert not any(
            name.startswith("grpc-") and name in ("grpc-timeout", "grpc-encoding") for name, _ in fields.metadata
        )


def test_our_own_fields_are_not_metadata() -> None:
    items = [("te", b"trailers"), ("content-type", b"application/grpc"), ("grpc-timeout", b"2S"), ("user-agent", b"u")]
    items += [("grpc-encoding", b"gzip"), ("grpc-accept-encoding", b"gzip"), ("grpc-trace-bin", b"AA"), ("a", b"b")]
    fields = read(items, 16_384)
    assert fields.metadata == (("user-agent", b"u"), ("grpc-trace-bin", b"\x00"), ("a", b"b"))
    assert (fields.timeout_ns, fields.encoding, fields.accepted) == (2_000_000_000, b"gzip", b"gzip")


def test_an_unknown_encoding_names_the_known() -> None:
    with pytest.raises(Refused, match="snappy") as caught:
        read([("grpc-encoding", b"snappy")], 16_384)
    assert caught.value.code == 12
    assert dict(caught.value.trailers) == {"grpc-accept-encoding": b"identity,deflate,gzip"}


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:DB8::A", "2001:db8::a"),
        ("", ""),
        ("unix", ""),
        ("10.1.2.999", ""),
    ],
)
def test_canonical_host(host: str, canonical: str) -> None:
    assert canonical_host(host) == canonical


@pytest.mark.parametrize(
    ("value", "yes"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc; charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpcx", False),
        (b"application/json", False),
        (None, False),
    ],
)
def test_content_types(value: bytes | None, yes: bool) -> None:
    assert is_grpc(value) is yes
