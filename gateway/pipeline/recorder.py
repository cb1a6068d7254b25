"""No record, no answer: every way out of a call ends here, once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
from collections import deque
from collections.abc import Callable

from gateway.errors import GatewayError, Internal, LedgerUnavailable, Overloaded, Unauthenticated
from gateway.ledger import events
from gateway.ledger import leaf as leaves
from gateway.ledger.commitment import SALT_BYTES, Salts, commit, commit_bytes
from gateway.ledger.ledger import Awaited, Ledger, Payload, Waiter
from gateway.pipeline.draft import Draft, record_of
from gateway.pipeline.flood import Flood
from gateway.pipeline.payload import SUBJECT, encode_payload
from gateway.pipeline.tally import Tally
from gateway.types import Call, Context, ModelRef, Receipt

LOSS_PENDING = 1_024
LOSS_NS = 50_000_000
"""The loss window of relaxed mode."""

_VOUCHED_BY_NOBODY = (Unauthenticated, Overloaded)
"""Endings that anyone can cause at will: a flood of them is counted, not recorded one by one."""


class Recorder:
    """Seals drafts into records and says when they are durable. One per worker; for the event loop's thread.

    ``request_key`` keys the digest under which a caller's own request id is recorded. With ``relaxed`` the answer
    does not wait for the commit, as long as less than ``LOSS_PENDING`` records and ``LOSS_NS`` of time would be lost
    with the machine; the record says so.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock_ns: Callable[[], int],
        salts: Salts,
        request_key: bytes,
        runtime: str = "",
        relaxed: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self._ledger = ledger
        self._tally = tally or Tally()
        self._clock_ns = clock_ns
        self._salts = salts
        self._request_key = request_key
        self._runtime = runtime
        self._relaxed = relaxed
        self._flood = Flood(clock_ns)
        self._unsettled: deque[tuple[int, asyncio.Future[Receipt]]] = deque()

    def begin(self, context: Context, call: Call | None, ref: ModelRef | None) -> Draft:
        """The draft of a call that begins; exactly one of ``answer``, ``end`` and ``forget`` must follow."""
        tally = self._tally
        tally.due = tally.owed[0] = tally.due + 1
        return Draft(context, call, ref)

    def shed(self, peer: str) -> bool:
        """Count a call from ``peer`` that is turned away before anything was done for it; False if it is one of the
        first of this second, which are to be recorded like any other."""
        if not self._flood.overflows(Overloaded.reason, peer):
            return False
        self._tally.shed += 1
        return True

    def shed_more(self, peer: str, count: int) -> None:
        """Count ``count`` more calls from ``peer`` that are turned away as one was this moment."""
        self._flood.count(Overloaded.reason, peer, count)
        self._tally.shed += count

    def forget(self, draft: Draft) -> None:
        """Let ``draft`` go without a record: for answers that are not recorded, such as those to health probes."""
        self._tally.forget()

    def answer(self, draft: Draft, waiter: Waiter) -> None:
        """Record that ``draft`` was answered. ``waiter`` hears when the record is durable or, relaxed, before.

        Raises: LedgerUnavailable, and whatever else keeps it from being recorded; then there is no answer.
        """
        draft.stage = "record"
        if not self._relaxed:
            self._enter(draft, None, waiter, relaxed=False)
            return
        durable = Awaited()
        position = self._enter(draft, None, durable, relaxed=True)
        if self._may_lose(durable):
            durable.add_done_callback(self._settled)
            waiter.recorded(Receipt(*position, b""))
        else:
            durable.add_done_callback(functools.partial(_pass_on, waiter))

    def end(self, draft: Draft, error: BaseException, waiter: Waiter) -> tuple[BaseException, bool]:
        """Record that ``draft`` ended with ``error``; return what the caller shall see, and whether ``waiter``
        will hear that this is durable.

        A cancelled call is not waited for: nobody listens. An error that is not ours becomes ``Internal``.

        Raises: LedgerUnavailable when there can be no record of anything but a cancelled call.
        """
        if isinstance(error, asyncio.CancelledError):
            durable = Awaited()
            with contextlib.suppress(LedgerUnavailable):  # the ledger counts it as unrecorded; nobody waits
                self._enter(draft, error, durable, relaxed=False)
                durable.add_done_callback(self._settled)
            return error, False
        seen = error
        if not isinstance(seen, GatewayError):
            seen = Internal(draft.context.call_id)
            seen.__cause__ = error
        if draft.decision is not None and not seen.decision_id:
            seen.decision_id = draft.decision.id
        if isinstance(error, _VOUCHED_BY_NOBODY) and self._flood.counts(error.reason, draft.context.peer):
            self._tally.turn_away()
            return seen, False
        self._enter(draft, error, waiter, relaxed=False)
        return seen, True

    def lose(self) -> None:
        """A record that was entered is not durable, as its waiter has heard."""
        self._tally.lose()

    def settle(self, t_us: int) -> None:
        """Write down what was only counted; call about once a second. ``t_us`` is the wall clock.

        Raises: LedgerUnavailable; what was counted since the last time is then lost with the ledger.
        """
        for fields in self._flood.drain():
            shed = events.event("shed", boot=self._ledger.boot, t_us=t_us, fields=fields)
            self._ledger.append(shed).add_done_callback(_retrieve)

    def _settled(self, durable: asyncio.Future[Receipt]) -> None:
        """Look at a future that nobody awaits."""
        if not durable.cancelled() and durable.exception() is not None:
            self._tally.lose()

    def _may_lose(self, durable: asyncio.Future[Receipt]) -> bool:
        """Whether one more answer may leave before its record is durable."""
        now_ns, unsettled = self._clock_ns(), self._unsettled
        unsettled.append((now_ns, durable))
        while unsettled and unsettled[0][1].done():
            unsettled.popleft()
        return len(unsettled) <= LOSS_PENDING and (not unsettled or now_ns - unsettled[0][0] <= LOSS_NS)

    def _enter(self, draft: Draft, error: BaseException | None, waiter: Waiter, *, relaxed: bool) -> tuple[str, int]:
        payload = self._commit(draft)
        now_ns = self._clock_ns()
        position = ("", 0)

        def encode(shard: str, seq: int) -> bytes:
            nonlocal position
            position = (shard, seq)
            return leaves.encode(
                record_of(
                    draft,
                    error,
                    shard=shard,
                    seq=seq,
                    boot=self._ledger.boot,
                    runtime=self._runtime,
                    relaxed=relaxed,
                    now_ns=now_ns,
                )
            )

        self._tally.recorded += 1
        try:
            self._ledger.enter(encode, payload, waiter)
        except BaseException:
            self._tally.lose()
            raise
        return position

    def _commit(self, draft: Draft) -> Payload | None:
        """Bind the record to what went in, came out and was decided on; the salts go where they can be erased."""
        call, decision = draft.call, draft.decision
        if call is None or draft.principal is None:
            return None
        if call.request_id:
            key, text = self._request_key, call.request_id.encode()
            draft.request_digest = hmac.digest(key, text, "sha256")[:16].hex()
        if draft.keep == "none":
            return None
        outputs = draft.outputs
        salts = salt_in = self._salts.take(2 * SALT_BYTES if outputs else SALT_BYTES)
        if outputs:
            salt_in = salts[:SALT_BYTES]
            draft.outputs_c = commit("out", salts[SALT_BYTES:], outputs)
        if call.defect is None:  # what is malformed has no canonical form to commit to
            draft.inputs_c = commit("in", salt_in, call.inputs)
        # A cached decision read the same values as the one it repeats; that one's record keeps them.
        kept = decision.slice if decision is not None and not decision.cached_from else b""
        if kept:
            draft.policy_c = commit_bytes("pol", salt_in, kept)
        draft.payload = draft.keep
        body = b""
        if draft.keep == "full":
            body = encode_payload(call.inputs if call.defect is None else (), draft.outputs, kept)
        elif kept:
            body = encode_payload((), (), kept)  # no tensor: what policy read, so that it can be decided again
        subject = str(call.parameters.get(SUBJECT, "")) if call.parameters else ""
        return Payload(salts, body, subject, draft.principal.tenant)


def _pass_on(waiter: Waiter, durable: asyncio.Future[Receipt]) -> None:
    error = durable.exception()
    if isinstance(error, LedgerUnavailable):
        waiter.unrecorded(error)
    else:
        waiter.recorded(durable.result())


def _retrieve(durable: asyncio.Future[Receipt]) -> None:
    """Look at the exception of a future that nobody awaits: the ledger has logged and counted it already."""
    if not durable.cancelled():
        durable.exception()
