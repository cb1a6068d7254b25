"""System shared memory that local callers registered, by name; every worker sees the same regions.

Regions are read and written by ``pread`` and ``pwrite``, never mapped: a caller who truncates a region then causes a
short read, not a SIGBUS that ends the worker. Every access is checked against the registered bounds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

import msgspec

from gateway.errors import AlreadyExists, InvalidInput, NotFound, RegionUnusable
from gateway.shared_file import SharedFile

_FOLDER = "/dev/shm"  # noqa: S108  # the memory that callers share, not a temporary file
_MAX_REGIONS = 1024


class Region(msgspec.Struct, frozen=True):
    """``byte_size`` bytes at ``offset`` of the POSIX shared memory object ``key``; ``serial`` names the
    registration."""

    name: str
    key: str
    offset: int
    byte_size: int
    serial: int = 0


class Registered(msgspec.Struct, frozen=True):
    """Every region by name, and the serial of the last one registered."""

    regions: dict[str, Region] = {}
    serial: int = 0


class SharedRegions:
    """The regions in ``shared``. ``folder`` is where POSIX shared memory objects are files; ``max_bytes`` is the most
    that one request may have us read."""

    def __init__(
        self, shared: SharedFile[Registered], folder: str = _FOLDER, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self.max_bytes = max_bytes
        self._shared = shared
        self._folder = folder
        self._open: dict[int, int] = {}  # serial to file descriptor

    def close(self) -> None:
        """Close what this process opened."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open = {}

    def status(self, name: str) -> Mapping[str, Region]:
        """The region ``name``, or all for "". Raises: NotFound."""
        regions = self._shared.get().regions
        if not name:
            return regions
        if name not in regions:
            raise NotFound(f"Unable to find system shared memory region: '{name}'")
        return {name: regions[name]}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Make a region known. Raises: AlreadyExists, InvalidInput, RegionUnusable."""
        if not name or not 0 < byte_size < 2**63 or offset + byte_size >= 2**63:
            raise InvalidInput(f"failed to register shared memory region '{name}': invalid args")
        descriptor = self._opened(key)
        try:
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if offset + byte_size > size:
            raise InvalidInput(f"failed to register shared memory region '{name}': invalid args")

        def add(known: Registered) -> Registered:
            if name in known.regions:
                raise AlreadyExists(f"shared memory region '{name}' already in manager")
            if len(known.regions) >= _MAX_REGIONS:
                raise InvalidInput(f"failed to register shared memory region '{name}': {_MAX_REGIONS} are registered")
            region = Region(name, key, offset, byte_size, known.serial + 1)
            return Registered({**known.regions, name: region}, region.serial)

        self._shared.change(add)

    def unregister(self, name: str) -> None:
        """Forget the region ``name``, or all for ""; one that is not known is no error."""

        def remove(known: Registered) -> Registered:
            left = {} if not name else {k: v for k, v in known.regions.items() if k != name}
            return Registered(left, known.serial)

        self._shared.change(remove)

    def read(self, region: str, offset: int, byte_size: int) -> bytes:
        """A copy of these bytes. Raises: NotFound; InvalidInput when out of bounds, or the memory shrank."""
        place = self._place(region, offset, byte_size)
        data = os.pread(self._descriptor(place), byte_size, place.offset + offset)
        if len(data) != byte_size:
            raise InvalidInput(f"shared memory region '{region}' is shorter than when it was registered")
        return data

    def write(self, region: str, offset: int, byte_size: int, data: bytes | memoryview, output: str) -> None:
        """Put ``output``'s data there. Raises: as ``read``; RegionUnusable when it does not fit."""
        place = self._place(region, offset, byte_size)
        if len(data) > byte_size:
            raise RegionUnusable(
                f"shared memory size specified with the request for output '{output}' ({byte_size} bytes) "
                f"should be at least {len(data)} bytes to hold the results"
            )
        descriptor = self._descriptor(place)
        # A file that shrank would grow again: what the caller took away is not ours to give back.
        if os.fstat(descriptor).st_size < place.offset + offset + len(data):
            raise InvalidInput(f"shared memory region '{region}' is shorter than when it was registered")
        os.pwrite(descriptor, data, place.offset + offset)

    def _place(self, name: str, offset: int, byte_size: int) -> Region:
        region = self._shared.get().regions.get(name)
        if region is None:
            raise NotFound(f"Unable to find shared memory region: '{name}'")
        if offset < 0 or offset >= region.byte_size:
            raise InvalidInput(f"Invalid offset for shared memory region: '{name}'")
        if byte_size < 0 or byte_size > 2**63 - 1 - offset:
            raise InvalidInput(f"Integer overflow detected: byte_size {byte_size} in shared memory region '{name}'")
        if offset + byte_size > region.byte_size:
            raise InvalidInput(f"Invalid offset + byte size for shared memory region: '{name}'")
        return region

    def _descriptor(self, region: Region) -> int:
        known = self._open.get(region.serial)
        if known is not None:
            return known
        serials = {r.serial for r in self._shared.get().regions.values()}
        for serial in [serial for serial in self._open if serial not in serials]:
            os.close(self._open.pop(serial))
        descriptor = self._open[region.serial] = self._opened(region.key)
        return descriptor

    def _opened(self, key: str) -> int:
        name = key.removeprefix("/")
        if not name or "/" in name or name in (".", "..") or "\0" in name:
            raise RegionUnusable(f"Unable to open shared memory region: '{key}'")
        try:
            descriptor = os.open(f"{self._folder}/{name}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise RegionUnusable(f"Unable to open shared memory region: '{key}'") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RegionUnusable(f"Unable to open shared memory region: '{key}'")
        return descriptor
