"""The one exception tree, sorted by whose fault it is.

    GatewayError
    ├── CallerError                 the caller can mend it
    │   ├── Unauthenticated         no credential, or one we do not believe
    │   ├── InvalidInput            arguments or tensors that do not fit
    │   ├── ModelNotFound           no such model or version
    │   │   └── ModelUnserved       there is one, of a kind that we do not serve
    │   ├── NotFound                no such region, service, ...
    │   ├── AlreadyExists
    │   ├── FailedPrecondition      right call, wrong state
    │   ├── Unsupported             a method or option we do not serve
    │   ├── MessageTooLarge         over a size limit
    │   ├── Unparsable              the bytes are not the message that the method takes
    │   ├── RegionUnusable          shared memory that cannot be opened, or is too small
    │   ├── NothingToLoad           a load request for what no repository holds
    │   ├── DeadlineExceeded        the caller's time is up
    │   └── Cancelled               the caller hung up
    ├── PolicyError                 the rules say no
    │   ├── PermissionDenied        denied, or nothing was decided: never retryable
    │   └── Throttled               rate or quota: retry later
    └── ServiceError                our fault, or our state
        ├── Overloaded              admission refused: retry later
        ├── Unavailable             another replica may help
        │   ├── PolicyUnavailable   the decision point cannot be asked
        │   ├── LedgerUnavailable   the record cannot be made durable: no record, no answer
        │   ├── ModelUnavailable    known, but no version is ready
        │   └── Draining
        ├── ModelFailed             the runtime raised while the model ran
        └── Internal                a bug; the text says nothing but the call's id

``str(error)`` is safe to send to the caller; causes travel by ``raise ... from``. ``code`` is
transport-neutral: only ``rpc/status.py`` turns it into a gRPC status. ``reason`` is the stable
label of records and metrics; it never holds a value that came from a caller.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Code(enum.IntEnum):
    """What kind of ending this is. Numbers are those of the gRPC status codes, for no one's surprise."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class GatewayError(Exception):
    """Every error that may reach a caller. Subclasses fix ``code`` and ``reason``."""

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "internal"
    prediction_id: str = ""
    """Position of the record of this ending, set when it is durable; "" when there is none."""
    decision_id: str = ""
    """The policy decision that the call had got by then, so that the caller can quote it; "" before any."""


class CallerError(GatewayError):
    """The caller can mend it."""


class Unauthenticated(CallerError):
    """No credential, or one we do not believe. One text for all causes; ``cause`` is for the log alone."""

    code = Code.UNAUTHENTICATED
    reason = "unauthenticated"

    def __init__(self, cause: str) -> None:
        super().__init__(
            "authentication failed: send a valid credential as 'authorization: Bearer KEY' or 'x-api-key: KEY'"
        )
        self.cause = cause

    @property
    def kind(self) -> str:
        """The cause's stable first word: for records and counting. No part of a credential is ever in it."""
        return self.cause.partition(":")[0]


class InvalidInput(CallerError):
    """Arguments or tensors that do not fit. The text names the input, what came and what was expected."""

    code = Code.INVALID_ARGUMENT
    reason = "invalid_input"


class ModelNotFound(CallerError):
    """No such model or version."""

    code = Code.NOT_FOUND
    reason = "model_not_found"


class ModelUnserved(ModelNotFound):
    """The model is there, but its configuration asks for what we do not serve. The text names that."""

    code = Code.UNIMPLEMENTED
    reason = "model_unserved"


class NotFound(CallerError):
    """No such thing (a region, a service name); not for models."""

    code = Code.NOT_FOUND
    reason = "not_found"


class AlreadyExists(CallerError):
    """The name is taken."""

    code = Code.ALREADY_EXISTS
    reason = "already_exists"


class FailedPrecondition(CallerError):
    """The call is right, but not in this state."""

    code = Code.FAILED_PRECONDITION
    reason = "failed_precondition"


class Unsupported(CallerError):
    """A method, encoding or option that we do not serve."""

    code = Code.UNIMPLEMENTED
    reason = "unsupported"


class MessageTooLarge(CallerError):
    """A message or its metadata is over a size limit."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "message_too_large"


class Unparsable(CallerError):
    """The bytes are not the message that the method takes. INTERNAL, as gRPC itself and Triton answer."""

    code = Code.INTERNAL
    reason = "unparsable"


class RegionUnusable(CallerError):
    """Shared memory that cannot be opened, or is too small for an output. INTERNAL, as Triton answers."""

    code = Code.INTERNAL
    reason = "region_unusable"


class NothingToLoad(CallerError):
    """A load request for what no repository holds, or with an override that cannot be used. INTERNAL, as in Triton."""

    code = Code.INTERNAL
    reason = "nothing_to_load"


class DeadlineExceeded(CallerError):
    """The caller's time is up."""

    code = Code.DEADLINE_EXCEEDED
    reason = "deadline_exceeded"


class Cancelled(CallerError):
    """The caller hung up."""

    code = Code.CANCELLED
    reason = "cancelled"


class PolicyError(GatewayError):
    """The rules say no."""


class PermissionDenied(PolicyError):
    """A policy denied the call, or decided nothing, which is the same.

    ``codes`` are the reason codes for ``ErrorInfo`` and the record (first one decides
    ``ErrorInfo.reason``); ``decision_id`` lets the caller quote the decision.
    """

    code = Code.PERMISSION_DENIED
    reason = "permission_denied"

    def __init__(self, codes: tuple[str, ...], decision_id: str = "", detail: str = "") -> None:
        text = f"denied by policy: {', '.join(codes)}"
        super().__init__(f"{text} ({detail})" if detail else text)
        self.codes = codes
        self.decision_id = decision_id


class Throttled(PolicyError):
    """A rate or quota obligation is used up. ``retry_after_ms`` tells when to try again."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "throttled"

    def __init__(self, message: str, retry_after_ms: int, decision_id: str = "") -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.decision_id = decision_id


class ServiceError(GatewayError):
    """Our fault, or our state."""


class Overloaded(ServiceError):
    """Admission refused the call now rather than fail it later. ``retry_after_ms`` is our estimate."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "overloaded"

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Unavailable(ServiceError):
    """Not now, but another replica or a later try may help. Never a denial."""

    code = Code.UNAVAILABLE
    reason = "unavailable"


class PolicyUnavailable(Unavailable):
    """The decision point cannot be asked, so nothing was decided and nothing ran."""

    reason = "policy_unavailable"


class LedgerUnavailable(Unavailable):
    """The record cannot be made durable: no record, no answer."""

    reason = "ledger_unavailable"


class ModelUnavailable(Unavailable):
    """The model is known, but the version asked for is not ready."""

    reason = "model_unavailable"


class Draining(Unavailable):
    """This process is leaving; another replica serves."""

    reason = "draining"


class ModelFailed(ServiceError):
    """The runtime raised while the model ran. The text names the model, never its inputs."""

    code = Code.INTERNAL
    reason = "model_failed"


class Internal(ServiceError):
    """A bug. The text holds the call's id and nothing else; the cause is in the log."""

    code = Code.INTERNAL
    reason = "internal"

    def __init__(self, call_id: str) -> None:
        super().__init__(f"internal error (call {call_id})")
