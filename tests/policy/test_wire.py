from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.wire import MAX_BODY, MAX_HEAD, BadResponse, Response, ResponseParser, post, post_head


def feed(data: bytes, size: int = 1 << 20) -> Response | None:
    parser = ResponseParser()
    answer = None
    for start in range(0, len(data), size):
        answer = parser.feed(data[start : start + size])
    return answer


def chunked(pieces: list[bytes]) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(min_value=1, max_value=700))
def test_chunks_are_read_by_length_in_pieces_of_any_size(pieces: list[bytes], size: int) -> None:
    assert feed(chunked(pieces), size) == Response(200, b"".join(pieces), True)


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=400))
def test_fixed_bodies_in_pieces_of_any_size(body: bytes, size: int) -> None:
    data = b"HTTP/1.1 500 Oops\r\ncontent-length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
    assert feed(data, size) == Response(500, body, False)


def test_a_terminator_inside_a_chunk_ends_nothing() -> None:
    piece = b'{"result": "0\r\n\r\n"}'
    assert feed(chunked([piece])) == Response(200, piece, True)


def test_an_incomplete_response_is_none() -> None:
    assert feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc") is None


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD,
    ],
)
def test_disorder_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        feed(data)


def test_requests() -> None:
    head = post_head("/v1/x?y=1", "localhost:8181", "t0ken")
    assert post(head, b"{}", "00-a-b-01") == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nHost: localhost:8181\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer t0ken\r\ntraceparent: 00-a-b-01\r\nContent-Length: 2\r\n\r\n{}"
    )
    with pytest.raises(ValueError, match="visible ASCII"):
        post_head("/", "host", "tok\r\nX: y")
