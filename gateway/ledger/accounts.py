"""What the processes of a shard say of their calls, held against the records that are there. Pure."""

from __future__ import annotations

from collections.abc import Mapping


class Accounts:
    """The calls of one shard by the boot of their process, in the order of the log.

    ``unanswered`` are those of which the log itself says that their process died before it had recorded them.
    """

    __slots__ = ("_boots", "_calls", "unanswered")

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._boots: set[str] = set()
        self.unanswered = 0

    def begin(self, boot: str) -> None:
        """A process began; what another one says of it before it did is not known to be true."""
        self._boots.add(boot)

    def call(self, boot: str) -> None:
        """A call of ``boot`` is recorded."""
        self._calls[boot] = self._calls.get(boot, 0) + 1

    def discount(self, boot: str, calls: int) -> None:
        """``calls`` were found on disk after their commit had failed: their callers were told UNAVAILABLE, and they are
        counted as unrecorded."""
        self._calls[boot] = self._calls.get(boot, 0) - calls

    def counted(self, boot: str, fields: Mapping[str, object]) -> str:
        """What is wrong with the counts of a beat or shutdown record of ``boot``; "" if nothing is, or can be known."""
        count = _numbers(fields)
        if boot not in self._boots or "started" not in count:
            return ""
        recorded = self._calls.get(boot, 0)
        others = count.get("shed", 0) + count.get("unrecorded", 0) + count.get("inflight", 0)
        if count["started"] == recorded + others:
            return ""
        return f"{count['started']} calls started, but {recorded} are recorded and {others} accounted for otherwise"

    def left(self, fields: Mapping[str, object]) -> str:
        """Take what a ``recover`` record says of a process that died; what is wrong with it, or ""."""
        count, after = _numbers(fields), str(fields.get("after"))
        if "owed" not in count:
            return ""
        owed, unanswered, recorded = count["owed"], count.get("unanswered", 0), self._calls.get(after, 0)
        self.unanswered += unanswered
        if after not in self._boots or owed == recorded + unanswered:
            return ""
        return f"{owed} calls owed a record, but {recorded} are recorded and {unanswered} told to be unanswered"


def _numbers(fields: Mapping[str, object]) -> dict[str, int]:
    return {name: value for name, value in fields.items() if isinstance(value, int)}
