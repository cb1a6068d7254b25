"""Reads an OPA bundle archive (tar.gz): the bytes once, bounded, nothing but plain files with plain names."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from gateway.policy.files import MAX_BYTES, MAX_FILES
from gateway.policy.findings import Finding, PolicyInvalid

_CHUNK = 1 << 20


def read_archive(path: Path) -> dict[str, bytes]:
    """Name and content of every file in the archive at ``path``. Raises: PolicyInvalid naming what is wrong."""
    try:
        plain = _inflate(path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            return _files(archive)
    except (OSError, tarfile.TarError, zlib.error, EOFError) as error:
        raise _refused(path.name, f"no readable tar.gz: {error}") from error


def _inflate(packed: bytes) -> bytes:
    """The tar, refused as soon as it is too large: a small archive can unpack to anything."""
    inflater = zlib.decompressobj(wbits=31)
    limit = MAX_BYTES + 2 * 1024 * MAX_FILES
    plain = bytearray()
    while not inflater.eof:
        piece = inflater.decompress(packed, _CHUNK)
        packed = inflater.unconsumed_tail
        plain += piece
        if len(plain) > limit:
            raise _refused("", f"unpacks to more than {MAX_BYTES} bytes")
        if not piece and not packed:
            raise EOFError("it ends in the middle")
    return bytes(plain)


def _files(archive: tarfile.TarFile) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for member in archive:
        if member.isdir():
            continue
        name = _name(member)
        if name in found:
            raise _refused(name, "the archive holds this name twice")
        content = archive.extractfile(member)
        if content is None or len(found) >= MAX_FILES:
            raise _refused(name, f"more than {MAX_FILES} files" if content else "not a plain file")
        found[name] = content.read()
    return found


def _name(member: tarfile.TarInfo) -> str:
    """The plain relative name, without OPA's leading slash. Raises: PolicyInvalid."""
    if not member.isfile():
        raise _refused(member.name, "not a plain file: a bundle holds no links and no devices")
    path = PurePosixPath(member.name.removeprefix("./").removeprefix("/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in member.name:
        raise _refused(member.name, "an absolute name, or one that leaves the bundle")
    return path.as_posix()


def _refused(name: str, text: str) -> PolicyInvalid:
    return PolicyInvalid([Finding(name, 0, 0, "archive", text)])
