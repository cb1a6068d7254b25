"""Binding: one port for all addresses, shared by workers, and errors that name the address."""

from __future__ import annotations

import socket

import pytest

from gateway.transport.listen import bind


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::", ""])
def test_all_addresses_of_a_host_share_one_port(host: str) -> None:
    sockets = bind(host, 0)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    assert sockets[0].getsockname()[1] > 0
    close(sockets)


def test_workers_share_a_port() -> None:
    first = bind("127.0.0.1", 0)
    port = first[0].getsockname()[1]
    second = bind("127.0.0.1", port)
    assert second[0].getsockname()[1] == port
    close(first + second)


def test_the_double_colon_takes_ipv4_too() -> None:
    (sock,) = bind("::", 0)
    sock.listen()
    with socket.create_connection(("127.0.0.1", sock.getsockname()[1]), timeout=2):
        pass
    sock.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {host} port 4711"):
        bind(host, 4711)


def test_a_port_that_another_program_holds_alone_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", other.getsockname()[1])
