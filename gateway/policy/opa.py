"""The OPA server as a decision point, asked over kept connections on the request's own path."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.errors import DeadlineExceeded, Internal, PolicyUnavailable
from gateway.malformed import MALFORMED
from gateway.policy import schema, slices
from gateway.policy.breaker import Breaker
from gateway.policy.connections import Address, NotAnswered, Pool
from gateway.policy.input import PARAMS, document, encode
from gateway.policy.pdp import Query
from gateway.policy.reads import Reads
from gateway.policy.regorus import decision_id
from gateway.policy.schema import Gateway
from gateway.policy.verdict import Verdict, denial, read, undefined
from gateway.policy.wire import Response, post, post_head
from gateway.types import Decision

PATH = "/v1/data/gateway/authz/decision?strict-builtin-errors=true&provenance=true"
DEADLINE_SHARE = 0.2
"""Of the time that a call has left, what its decision may take."""


class _Revision(msgspec.Struct, frozen=True):
    revision: str = ""


class _Provenance(msgspec.Struct, frozen=True):
    bundles: dict[str, _Revision] = {}


class _Answer(msgspec.Struct, frozen=True):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    provenance: _Provenance = _Provenance()


class _EvalError(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""
    location: dict[str, msgspec.Raw] = {}


class _Errors(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""
    errors: tuple[_EvalError, ...] = ()


class OpaPoint:
    """Asks one OPA server. For one event loop.

    ``budget_ms`` bounds a decision together with a fifth of what the call has left; ``clock_ns`` is monotonic.
    A decision's ``slice`` is the full input, or its values at ``reads`` where somebody knows what the policy reads.
    """

    def __init__(
        self,
        pool: Pool,
        address: Address,
        *,
        gateway: Gateway,
        clock_ns: Callable[[], int],
        budget_ms: int = 100,
        token: str = "",
        params: frozenset[str] = PARAMS,
        breaker: Breaker | None = None,
    ) -> None:
        self._pool = pool
        self._head = post_head(PATH, address.authority, token)
        self._gateway = gateway
        self._clock_ns = clock_ns
        self._budget_s = budget_ms / 1000
        self._params = params
        self._breaker = breaker or Breaker()
        self.reads: Reads | None = None
        self._revision = ""

    @property
    def revision(self) -> str:
        """The revision of the last decision, "" before the first."""
        return self._revision

    def decide_now(self, query: Query) -> None:
        """The server decides, and is waited for."""

    async def decide(self, query: Query) -> Decision:
        """The server's decision.

        Raises: PolicyUnavailable when it could not be asked, DeadlineExceeded when the call's own time was up first.
        """
        facts = document(query, self._gateway, self._params)
        try:
            raw = encode(facts)
            schema.check(raw)
        except (msgspec.ValidationError, TypeError) as error:
            raise Internal(query.context.call_id) from error
        timeout_s = self._timeout_s(query)
        trace = query.context.trace
        parent = f"00-{trace.trace_id}-{trace.span_id}-{trace.flags}"
        verdict, revision = await self.ask(raw, timeout_s, parent)
        self._revision = revision
        return Decision(
            id=decision_id(),
            allow=verdict.allow,
            servable=query.model.id if query.model is not None else None,
            reasons=verdict.reasons,
            obligations=verdict.obligations,
            revision=revision,
            engine="opa",
            policy_version=verdict.policy_version,
            ttl_s=verdict.ttl_s,
            slice=raw if self.reads is None else slices.cut(facts, self.reads).kept,
        )

    async def ask(self, raw: bytes, timeout_s: float, traceparent: str = "") -> tuple[Verdict, str]:
        """The verdict on an encoded input document and the revision that gave it. Raises: PolicyUnavailable."""
        if not self._breaker.admits(self._clock_ns()):
            raise PolicyUnavailable("the policy engine cannot be asked: it failed repeatedly and is left alone")
        request = post(self._head, b'{"input":%b}' % raw, traceparent)
        try:
            answer = interpret(await self._pool.ask(request, timeout_s))
        except (NotAnswered, CouldNotAsk) as error:
            self._breaker.failed(self._clock_ns())
            raise PolicyUnavailable("the policy engine cannot be asked") from error
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _timeout_s(self, query: Query) -> float:
        """Raises: DeadlineExceeded."""
        deadline_ns = query.context.deadline_ns
        if deadline_ns is None:
            return self._budget_s
        left_s = (deadline_ns - self._clock_ns()) / 1e9
        if left_s <= 0:
            raise DeadlineExceeded("the deadline passed before the policy was asked")
        return min(self._budget_s, left_s * DEADLINE_SHARE)


class CouldNotAsk(Exception):
    """The server answered, but not with a decision on this input."""


def interpret(response: Response) -> tuple[Verdict, str]:
    """What OPA's response comes to, with its revision. Raises: CouldNotAsk."""
    if response.status == 500:
        return _evaluation_error(response.body), ""
    if response.status != 200:
        raise CouldNotAsk(f"HTTP {response.status}")
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
    except MALFORMED as error:
        raise CouldNotAsk(f"a body that is not OPA's: {error}") from error
    revision = revision_of(answer.provenance.bundles)
    if isinstance(answer.result, msgspec.UnsetType):
        if not answer.provenance.bundles:
            raise CouldNotAsk("no decision and no bundle: nothing is loaded")
        return undefined(), revision
    return read(bytes(answer.result)), revision


def revision_of(bundles: dict[str, _Revision]) -> str:
    """``name@revision`` of every bundle."""
    return ",".join(f"{name}@{found.revision}" for name, found in sorted(bundles.items()))


def _evaluation_error(body: bytes) -> Verdict:
    """A denial for a failed evaluation. Raises: CouldNotAsk for any other trouble."""
    try:
        said = msgspec.json.decode(body, type=_Errors)
    except MALFORMED as error:
        raise CouldNotAsk("HTTP 500") from error
    codes = [said.code, *(error.code for error in said.errors)]
    if not any(code.startswith("eval_") for code in codes):
        raise CouldNotAsk(f"HTTP 500: {said.code or 'no code'}")
    texts = [f"{error.message} {_place(error)}".strip() for error in said.errors] or [said.message]
    return denial("policy_error", "; ".join(texts), "evaluation")


def _place(error: _EvalError) -> str:
    parts = [bytes(error.location[k]).decode() for k in ("file", "row", "col") if k in error.location]
    return ":".join(parts).replace('"', "")
