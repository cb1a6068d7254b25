"""One port for several workers, and for nobody else."""

from __future__ import annotations

import socket

import pytest

from gateway.app.failure import StartupError
from gateway.app.port import reserve


def listener(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def test_a_reserved_port_is_free_for_workers_and_takes_no_connection_itself() -> None:
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with listener(port) as first, listener(port) as second:
            for _ in range(20):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            first.setblocking(False)
            second.setblocking(False)
            accepted = 0
            for sock in (first, second):
                while True:
                    try:
                        connection, _ = sock.accept()
                    except BlockingIOError:
                        break
                    connection.close()
                    accepted += 1
            assert accepted == 20


def test_a_port_that_somebody_listens_on_is_refused_even_if_they_would_share_it() -> None:
    with listener(0) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} on 127.0.0.1 is in use by another program"):
            reserve("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused_with_what_to_do() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:0"):
        reserve("192.0.2.1", 0)
