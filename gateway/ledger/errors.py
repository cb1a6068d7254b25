"""What may be wrong with a ledger on disk, each as one clear sentence.

    LedgerError
    ├── LedgerLocked        another process writes this shard
    ├── LedgerUnwritable    the directory cannot be written (read-only, full, wrong owner, network disk)
    ├── LedgerNewer         written by a newer version of the software
    ├── LedgerCorrupt       bytes on disk are not what was written
    ├── LedgerRolledBack    the shard is older than a head that was signed for it
    ├── KeyMissing          a key that is needed is not there
    └── NoSuchRecord        no record has that prediction id

These end a start or a command; they never travel to a caller. A fault while serving is
``gateway.errors.LedgerUnavailable``.
"""

from __future__ import annotations


class LedgerError(Exception):
    """A ledger cannot be opened, read or proved. The text says what was found and what to do."""


class LedgerLocked(LedgerError):
    """Another live process holds the shard. One shard has one writer."""


class LedgerUnwritable(LedgerError):
    """The directory or disk does not take writes that are durable."""


class LedgerNewer(LedgerError):
    """The file's schema is newer than this software."""


class LedgerCorrupt(LedgerError):
    """Bytes on disk are not what was written. Nothing is repaired by guessing."""


class LedgerRolledBack(LedgerError):
    """The shard holds fewer records than a head that was signed for it: a restored backup or a cut tail."""


class KeyMissing(LedgerError):
    """A key that is needed is not in the key directory."""


class NoSuchRecord(LedgerError):
    """No record has that prediction id."""
