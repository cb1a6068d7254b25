"""Metadata on the wire and in a ``Head``: names, ``-bin`` values, ``grpc-message``, peers. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterable
from urllib.parse import quote

from gateway.errors import Code
from gateway.transport.seam import Metadata, Refused

# The transport's own fields: never metadata.
OWN_FIELDS = frozenset(
    {
        "te",
        "content-type",
        "content-length",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-message-type",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
    }
)
_FIELD_OVERHEAD = 32  # RFC 9113, 6.5.2
_PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F) if c != 0x25)


def metadata(fields: Iterable[tuple[str, bytes]]) -> Metadata:
    """Return the caller's metadata: our own fields left out, ``-bin`` values decoded and split at commas.

    ``fields`` have lower-case names, as HTTP/2 demands.
    Raises: Refused with INVALID_ARGUMENT when a ``-bin`` value is not base64.
    """
    kept: list[tuple[str, bytes]] = []
    for field in fields:
        name, value = field
        if name in OWN_FIELDS:
            continue
        if name.endswith("-bin"):
            kept.extend((name, _decoded(name, part)) for part in value.split(b","))
        else:
            kept.append(field)
    return tuple(kept)


def size(fields: Iterable[tuple[str, bytes]]) -> int:
    """Return what ``fields`` weigh by HTTP/2's rule: name, value and 32 bytes each."""
    return sum([len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields])


def wire(trailers: Metadata) -> list[tuple[str, bytes]]:
    """Return ``trailers`` as HTTP/2 fields: ``-bin`` values in unpadded base64."""
    return [
        (name, base64.b64encode(value).rstrip(b"=") if name.endswith("-bin") else value) for name, value in trailers
    ]


def percent_encoded(message: str) -> str:
    """Return ``message`` as a ``grpc-message`` value: UTF-8, percent-encoded outside printable ASCII."""
    return message if message.isascii() and message.isprintable() and "%" not in message else quote(message, _PRINTABLE)


def canonical_host(host: str) -> str:
    """Return an IP address as everyone writes it: no brackets or zone, IPv4-mapped as IPv4; "" for none."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _decoded(name: str, value: bytes) -> bytes:
    value = value.strip()
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise Refused(Code.INVALID_ARGUMENT, f"metadata {name}: the value is not base64") from error
