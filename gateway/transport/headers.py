"""Metadata on the wire and in a ``Head``: names, ``-bin`` values, ``grpc-message``, peers. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
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
FIELD_OVERHEAD = 32  # what HTTP/2 adds to the weight of each field (RFC 9113, 6.5.2)
MAX_DETAILS = 4096  # bytes of grpc-status-details-bin
_MAX_TEXT = 600  # characters of grpc-message, each at most twelve bytes on the wire
_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


def binary_values(name: str, value: bytes) -> list[tuple[str, bytes]]:
    """Return the values of a ``-bin`` field: base64 with or without padding, several joined by commas.

    Raises: Refused with INTERNAL, as other gRPC servers do, when a value is not base64.
    """
    texts = [part.strip().rstrip(b"=") for part in value.split(b",")]
    try:
        return [(name, base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)) for text in texts]
    except binascii.Error as error:
        raise Refused(Code.INTERNAL, f"metadata {name}: the value is not base64") from error


def wire(trailers: Metadata) -> list[tuple[str, bytes]]:
    """Return ``trailers`` as HTTP/2 fields: ``-bin`` values in unpadded base64."""
    return [field if field[0][-4:] != "-bin" else (field[0], _base64(field[1])) for field in trailers]


def status(refused: Refused) -> list[tuple[str, bytes]]:
    """Return the trailer fields that tell how a call was refused.

    Clients drop a status whose fields weigh more than some 8 KiB, so long texts are cut and huge details left out.
    """
    fields = [("grpc-status", b"%d" % refused.code), ("grpc-message", percent_encoded(short(refused.message)))]
    if 0 < len(refused.details) <= MAX_DETAILS:
        fields.append(("grpc-status-details-bin", _base64(refused.details)))
    return fields + wire(refused.trailers)


def short(text: str) -> str:
    """Return ``text``, cut where it is too long for a status."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def percent_encoded(message: str) -> bytes:
    """Return ``message`` as a ``grpc-message`` value: UTF-8, percent-encoded outside printable ASCII."""
    return quote(message, _PLAIN, errors="replace").encode("ascii")


def canonical_host(host: str) -> str:
    """Return an IP address as everyone writes it: no brackets or zone, IPv4-mapped as IPv4; "" for none."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _base64(value: bytes) -> bytes:
    return base64.b64encode(value).rstrip(b"=")
