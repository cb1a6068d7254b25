"""Holding one port for several workers."""

from __future__ import annotations

import errno
import socket

from gateway.app.failure import StartupError


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that keeps ``port`` (0: a free one) ours while workers come and go; it never listens.

    With SO_REUSEPORT alone a second gateway would quietly share the port and take half of the calls, so the
    port is first bound without it. Connections only ever reach listening sockets, so holding this one costs none.

    Raises: StartupError when the address is taken or not ours.
    """
    family, address = _resolve(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, address, host, port)
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(held, address, host, port)
    return held


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartupError(f"cannot listen on '{host}': {error.strerror}; give an address with --host") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _bind(sock: socket.socket, address: tuple[str, int], host: str, port: int) -> None:
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"port {port} on {host} is in use by another program; stop it, or choose another with --port"
            ) from error
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from error
