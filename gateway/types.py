"""The values that flow through the gateway, from a transport's bytes to a record.

All are frozen. What is made per request is a ``msgspec.Struct`` (0.06 us; a dataclass costs 0.7);
``gc=False`` only where no cycle can form. No protobuf, no grpc, no numpy in here: a tensor is
its name, datatype, shape and raw bytes, and only ``serving`` sees arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Parameter: TypeAlias = bool | int | float | str
Parameters: TypeAlias = Mapping[str, Parameter]


class Action(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is being done, in the words of policy: one of the nine action groups and a name in it.

    ``service`` and ``method`` are the gRPC names. ``writes`` is true for what changes state.
    """

    group: str
    name: str
    service: str
    method: str
    writes: bool = False
    stream: bool = False


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """What a caller showed to prove who it is; nothing here is believed yet and nothing is ever printed.

    ``authorization`` and ``api_key`` are the raw metadata values ("" if absent); ``certificate`` is the
    peer's verified certificate in DER (b"" without mTLS).
    """

    authorization: str = ""
    api_key: str = ""
    certificate: bytes = b""

    def __repr__(self) -> str:
        return "Credentials(<hidden>)"


class Principal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who is asking, proved. ``credential`` is the public id of what proved it (key prefix, kid, fingerprint)."""

    id: str
    kind: Literal["user", "service", "anonymous"]
    tenant: str
    groups: tuple[str, ...] = ()
    auth: Literal["mtls", "jwt", "api_key", "none"] = "none"
    credential: str = ""
    issuer: str = ""
    spiffe_id: str = ""
    authenticated_s: int = 0
    claims: Mapping[str, object] = {}


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """W3C trace context of one call: our server span and its parent, in lower-case hex, always assigned.

    ``parent_id`` is "" when we start the trace. ``flags`` is the incoming byte as two hex digits.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: str = "00"
    state: str = ""


class ModelRef(msgspec.Struct, frozen=True, gc=False):
    """A model as asked for: ``version`` is "" for the newest ready one, digits, or a label such as ``canary``."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else self.name


class ServableId(msgspec.Struct, frozen=True, gc=False):
    """Exactly one loaded model version. Equal ids mean equal bytes under an equal configuration.

    ``version`` is a decimal string; ``digest`` is ``sha256:`` over the version's files; ``config`` is the SHA-256 of
    the configuration that came with them, "" where there was none.
    """

    name: str
    version: str
    digest: str
    config: str = ""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What policy may know of the resolved model. ``known`` is false when nothing by that name is served.

    ``labels`` are what the model's own files say. ``signed`` and ``stage`` are not: ``signed`` is true only where the
    gateway has verified a signature over ``id.digest``, ``stage`` is the catalog's.
    """

    id: ServableId
    known: bool = True
    batching: bool = False
    labels: Mapping[str, str] = {}
    owner: str = ""
    stage: str = ""
    signed: bool = False
    classification: str = ""


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """A named tensor in OIP raw form: row-major, little-endian, BYTES elements length-prefixed.

    ``shape`` is concrete. Nothing is checked against ``data`` here; a model's signature does that.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    source: Literal["raw", "typed", "shared_memory"] = "raw"


class OutputRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An output that the caller wants; ``classification`` > 0 asks for the top classes as BYTES."""

    name: str
    classification: int = 0
    shared_memory: tuple[str, int, int] | None = None


class Context(msgspec.Struct, frozen=True, gc=False):
    """What every call has, before anything is believed. Times: ``received_us`` is wall-clock microseconds
    since 1970, ``received_ns`` and ``deadline_ns`` are monotonic; no deadline is None.
    ``excess`` marks a call that came when there were too many: admission refuses it."""

    action: Action
    trace: TraceContext
    credentials: Credentials
    received_us: int
    received_ns: int
    peer: str = ""
    deadline_ns: int | None = None
    metadata: Mapping[str, str] = {}
    size: int = 0
    excess: bool = False

    @property
    def call_id(self) -> str:
        """Names this call in logs and in INTERNAL errors."""
        return self.trace.span_id


class Call(msgspec.Struct, frozen=True, gc=False):
    """One prediction as asked for.

    ``defect`` is what is wrong with the tensors' encoding, found by the codec and raised by validation,
    so that nobody learns it before policy has allowed the call.
    """

    context: Context
    model: ModelRef
    request_id: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[OutputRequest, ...] = ()
    parameters: Parameters = {}
    stream_seq: int = 0
    defect: Exception | None = None


class Reason(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Why a policy decided so. ``code`` is stable and safe to send; ``msg`` and ``params`` are for the record."""

    code: str
    severity: Literal["deny", "warn"] = "deny"
    msg: str = ""
    params: Mapping[str, object] = {}


class Obligation(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, tag_field="type"):
    """What an allow is bound to. The concrete ones stand in ``policy/obligations.py``."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What the decision point said about one query, kept for denials too: ``decide`` returns it, ``enforce`` raises.

    ``servable`` is the exact model that was decided about (None for calls without one). ``revision`` names the
    policy bundle and ``digest`` its bytes. ``cached_from`` is the id of the decision that a cached one repeats.
    ``slice`` holds the input values that the policy reads, as canonical JSON (b"" when the engine cannot tell).
    """

    id: str
    allow: bool
    servable: ServableId | None
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    revision: str = ""
    digest: str = ""
    engine: Literal["embedded", "opa"] = "embedded"
    effect: str = "enforced"
    policy_version: str = ""
    cached_from: str = ""
    ttl_s: int = 5
    slice: bytes = b""

    @property
    def permits(self) -> bool:
        """Whether the call may go on: an allow, or a denial that an exception in force turned into a warning."""
        return self.allow is True or self.effect == "warned"

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the reasons that deny."""
        return tuple(r.code for r in self.reasons if r.severity == "deny")


class Permit(msgspec.Struct, frozen=True, gc=False):
    """The right to run exactly ``servable``. Only ``policy.pdp.enforce`` makes one; a test reads the syntax
    tree of the whole package to hold that."""

    servable: ServableId | None
    decision: Decision


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Proof that a record is on stable storage: durable when you hold it.

    ``leaf_hash`` is b"" in relaxed mode alone, where an answer may leave numbered but not yet durable.
    """

    shard: str
    seq: int
    leaf_hash: bytes

    @property
    def prediction_id(self) -> str:
        """The record's position, which is its name: ``<shard>/<seq>``."""
        return f"{self.shard}/{self.seq}"


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What the model answered, masked and selected: ready to be encoded."""

    call: Call
    servable: ServableId
    outputs: tuple[Tensor, ...]


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An encoded answer that may leave: its record is durable (or numbered, in relaxed mode).

    ``prediction_id`` is "" for answers that are not recorded (health). ``headers`` are what obligations ask to
    send along as trailing metadata, and which outputs are masked.
    """

    body: bytes
    prediction_id: str = ""
    decision_id: str = ""
    headers: tuple[tuple[str, str], ...] = ()
