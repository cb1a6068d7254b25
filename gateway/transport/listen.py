"""Listening sockets: one port on every address that a host name stands for, shared with the other workers."""

from __future__ import annotations

import socket


def bind(host: str, port: int) -> list[socket.socket]:
    """Return bound, non-blocking sockets with SO_REUSEPORT, all on the same port; ``port`` 0 takes a free one.

    ``::`` takes IPv4 too, as grpc's does; "" is every address of both families.
    Raises: OSError naming the address when one of them cannot be bound; none is left open then.
    """
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            taken = port or (bound[0].getsockname()[1] if bound else 0)
            bound.append(_bound(family, (address[0], taken, *address[2:]), both=host == "::"))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise OSError(error.errno, f"cannot listen on {host or '*'} port {port}: {error.strerror}") from error
    return bound


def _bound(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
