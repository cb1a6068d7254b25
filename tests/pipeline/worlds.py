"""A small world around the pipeline: fakes that behave, and one place to put them together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gateway.errors import ModelNotFound, ModelUnavailable, PolicyUnavailable, Unauthenticated
from gateway.ledger.commitment import Salts
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.record import Record, decode
from gateway.pipeline.admission import Admission
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.gate import Gate
from gateway.pipeline.handler import InferenceHandler
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.prediction import Pipeline
from gateway.pipeline.recorder import Recorder
from gateway.pipeline.tally import Tally
from gateway.policy.obligations import Quota, RateLimit
from gateway.policy.pdp import Query
from gateway.serving.servable import Inference, Rider, Servable, ValidTensors
from gateway.serving.signature import ModelSignature
from gateway.serving.spec import TensorSpec
from gateway.types import (
    Action,
    Call,
    Context,
    Credentials,
    Decision,
    ModelFacts,
    ModelRef,
    Obligation,
    Parameters,
    Permit,
    Principal,
    Reason,
    Reply,
    ServableId,
    Tensor,
    TraceContext,
)

INFER = Action(group="inference", name="infer", service="inference.GRPCInferenceService", method="ModelInfer")
HEALTH = Action(group="health", name="server_live", service="inference.GRPCInferenceService", method="ServerLive")
CONFIG = Action(group="model-config", name="get", service="inference.GRPCInferenceService", method="ModelConfig")


class Ticks:
    """A monotonic clock that moves a microsecond each time it is read, and further when told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000
        self.step_ns = 1_000

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


class KnownKeys:
    """Believes API keys that it was given; at once, or ``slow``."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = principals
        self.slow = False

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        return None if self.slow else self._prove(credentials)

    async def authenticate(self, credentials: Credentials) -> Principal:
        await asyncio.sleep(0)
        return self._prove(credentials)

    def _prove(self, credentials: Credentials) -> Principal:
        try:
            return self._principals[credentials.api_key]
        except KeyError:
            raise Unauthenticated("unknown key") from None


class Rules:
    """Decides by tenant: allowed with obligations, denied with reasons, or cannot be asked; at once, or ``slow``."""

    revision = "rules@1"

    def __init__(self) -> None:
        self.obligations: tuple[Obligation, ...] = ()
        self.denied: Mapping[str, tuple[str, ...]] = {}
        self.down = False
        self.slow = False
        self.queries: list[Query] = []

    def decide_now(self, query: Query) -> Decision | None:
        return None if self.slow else self.decided(query)

    async def decide(self, query: Query) -> Decision:
        await asyncio.sleep(0)
        return self.decided(query)

    def decided(self, query: Query) -> Decision:
        self.queries.append(query)
        if self.down:
            raise PolicyUnavailable("the policy engine did not answer")
        codes = self.denied.get(query.principal.tenant, ())
        return Decision(
            id=f"{len(self.queries):032x}",
            allow=not codes,
            servable=query.model.id if query.model else None,
            reasons=tuple(Reason(code) for code in codes),
            obligations=() if codes else self.obligations,
            revision=self.revision,
            slice=b'{"a":1}',
        )


class Doubler:
    """A servable that doubles its one input; ``gate`` makes it wait, ``error`` makes it fail.

    It runs in the turn of the event loop in which it is asked, unless it waits or is ``slow``.
    """

    def __init__(self, id_: ServableId) -> None:
        spec = (TensorSpec("x", "FP32", (-1, 2)),)
        self.id = id_
        self.facts = ModelFacts(id=id_, batching=True)
        self.signature = ModelSignature(id_.name, spec, (TensorSpec("y", "FP32", (-1, 2)),), 8)
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.slow = False
        self.runs = 0

    def join(self, rider: Rider, inputs: ValidTensors, rows: int, deadline_ns: int | None = None) -> bool:
        if self.slow or self.gate is not None:
            return False
        asyncio.get_running_loop().call_soon(self._carry, rider, inputs)
        return True

    def _carry(self, rider: Rider, inputs: ValidTensors) -> None:
        if rider.gone:
            return
        try:
            inference = self._run(inputs)
        except Exception as error:
            rider.failed(error)
        else:
            rider.ran(inference)

    async def infer(
        self, inputs: ValidTensors, *, deadline_ns: int | None = None, parameters: Parameters | None = None
    ) -> Inference:
        if self.gate is not None:
            await self.gate.wait()
        return self._run(inputs)

    def _run(self, inputs: ValidTensors) -> Inference:
        self.runs += 1
        if self.error is not None:
            raise self.error
        y = inputs["x"] * np.float32(2)
        out = Tensor(name="y", datatype="FP32", shape=y.shape, data=y.tobytes())
        return Inference(outputs=(out,), started_ns=5_000_000, batch_n=len(y))

    def close(self) -> None: ...


class Shelf:
    """Models by name and version; lending is counted."""

    def __init__(self, *servables: Doubler) -> None:
        self._by_ref = {ModelRef(s.id.name, s.id.version): s for s in servables}
        self._by_ref |= {ModelRef(s.id.name): s for s in servables}
        self.unavailable: set[str] = set()
        self.lent = 0

    def resolve(self, ref: ModelRef) -> ModelFacts:
        if ref.name in self.unavailable:
            raise ModelUnavailable(f"{ref} is not ready")
        try:
            return self._by_ref[ref].facts
        except KeyError:
            raise ModelNotFound(f"Request for unknown model: '{ref.name}' is not found") from None

    def lease(self, permit: Permit) -> _Loan:
        assert permit.servable is not None
        return _Loan(self, self._by_ref[ModelRef(permit.servable.name, permit.servable.version)])


class _Loan:
    def __init__(self, shelf: Shelf, servable: Servable) -> None:
        self._shelf = shelf
        self._servable = servable

    def take(self) -> Servable:
        self._shelf.lent += 1
        return self._servable

    def give_back(self) -> None:
        self._shelf.lent -= 1


class NoCounters:
    """Rates and quotas without end."""

    def take(self, rate_limits: Sequence[RateLimit], quotas: Sequence[Quota], rows: int, decision_id: str = "") -> None:
        return


class World:
    """Everything around one handler and one gate, wired; make it inside a running loop.

    ``slow``: identity, decision and run are all waited for, where they otherwise come at once.
    """

    slow = False

    def __init__(self, *, hide_existence: bool = False, relaxed: bool = False, max_inflight: int = 10) -> None:
        self.clock = Ticks()
        self.ledger = MemoryLedger()
        self.rules = Rules()
        self.model = Doubler(ServableId("m", "1", "sha256:1"))
        self.newer = Doubler(ServableId("m", "2", "sha256:2"))
        self.shelf = Shelf(self.newer, self.model)  # the last one is what no version means
        people = {
            "good": Principal(id="app", kind="service", tenant="t1", auth="api_key", credential="pre"),
            "other": Principal(id="them", kind="service", tenant="t2", auth="api_key"),
        }
        self.admission = Admission(max_inflight=max_inflight, max_bytes=1000, clock_ns=self.clock)
        self.keys = KnownKeys(people)
        enforcement = Enforcement(
            authenticator=self.keys,
            models=self.shelf,
            decisions=self.rules,
            clock_ns=self.clock,
            hide_existence=hide_existence,
        )
        self.tally = Tally()
        self.recorder = recorder = Recorder(
            self.ledger,
            clock_ns=self.clock,
            salts=Salts(),
            request_key=b"k" * 32,
            runtime="rt",
            relaxed=relaxed,
            tally=self.tally,
        )
        obligations = Obligations(counters=NoCounters(), clock_s=lambda: 0.0, mask_key=b"k" * 32)
        self.pipeline = Pipeline(
            admission=self.admission,
            enforcement=enforcement,
            models=self.shelf,
            obligations=obligations,
            recorder=recorder,
            clock_ns=self.clock,
        )
        self.handler = InferenceHandler(self.pipeline.begin)
        self.gate = Gate(admission=self.admission, enforcement=enforcement, obligations=obligations, recorder=recorder)
        self.keys.slow = self.rules.slow = self.model.slow = self.newer.slow = self.slow
        self._spans = itertools.count(1)

    def context(
        self, action: Action = INFER, key: str = "good", deadline_ns: int | None = None, size: int = 16
    ) -> Context:
        return Context(
            action=action,
            trace=TraceContext(trace_id="1" * 32, span_id=f"{next(self._spans):016x}"),
            credentials=Credentials(api_key=key),
            received_us=1_700_000_000_000_000,
            received_ns=self.clock(),
            deadline_ns=deadline_ns,
            size=size,
        )

    def call(self, model: str = "m", version: str = "", shape: tuple[int, ...] = (1, 2), **more: object) -> Call:
        context = more.pop("context", None) or self.context()
        data = np.arange(int(np.prod(shape)), dtype=np.float32).tobytes()
        inputs = (Tensor(name="x", datatype="FP32", shape=shape, data=data),)
        return Call(context=context, model=ModelRef(model, version), **({"inputs": inputs} | more))  # type: ignore[arg-type]

    def records(self) -> list[Record]:
        return [decode(leaf) for leaf in self.ledger.leaves]

    def record(self) -> Record:
        """The only record there is."""
        (record,) = self.records()
        return record


def encode(reply: Reply) -> bytes:
    """An answer's bytes: the first output's."""
    return b"".join(bytes(t.data) for t in reply.outputs)


Encode = Callable[[Reply], bytes]
