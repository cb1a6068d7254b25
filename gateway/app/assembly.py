"""The pipeline of one worker, assembled from its parts, behind the method table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway import __version__
from gateway.app import parts
from gateway.app.catalog import CatalogFile
from gateway.app.clocks import clock_ns, clock_s, clock_us
from gateway.app.data import DataDir
from gateway.app.policies import Policies
from gateway.app.secret import ensure_secret
from gateway.app.statistics import StatisticsBoard
from gateway.config import Config
from gateway.identity.api_keys import ApiKeys
from gateway.identity.chain import Chain
from gateway.identity.refusals import RefusalLog
from gateway.identity.trusted import Trusted
from gateway.ledger.commitment import Salts
from gateway.ledger.shard import ShardLedger
from gateway.pipeline.admission import Admission
from gateway.pipeline.counters import Counters
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.gate import Gate
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.prediction import Pipeline
from gateway.pipeline.recorder import Recorder
from gateway.pipeline.tally import Tally
from gateway.rpc.context import Clocks
from gateway.rpc.log_settings import LogSettings
from gateway.rpc.service import methods
from gateway.rpc.shared_regions import SharedRegions
from gateway.rpc.shedding import Door
from gateway.rpc.trace_settings import TraceSettings
from gateway.transport.seam import Methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a worker opens and closes."""

    config: Config
    data: DataDir
    api_keys: ApiKeys
    trusted: Trusted | None
    chain: Chain
    policies: Policies
    tally: Tally
    ledger: ShardLedger
    counters: Counters
    models: parts.Runtime
    catalog: CatalogFile
    admission: Admission
    statistics: StatisticsBoard
    memory: SharedRegions | None
    logs: LogSettings
    traces: TraceSettings


def recorder(have: Parts) -> Recorder:
    """Where every call ends."""
    return Recorder(
        have.ledger,
        clock_ns=clock_ns,
        salts=Salts(),
        request_key=ensure_secret(have.data.request_key),
        runtime=have.models.fingerprint,
        relaxed=have.config.ledger.mode == "relaxed",
        tally=have.tally,
    )


def table(have: Parts, recorder: Recorder, ready: Callable[[], bool]) -> Methods:
    """The method table over the whole pipeline. ``ready`` says whether this worker can serve. Raises: StartupError."""
    config, manager = have.config, have.models.manager
    enforcement = Enforcement(
        authenticator=RefusalLog(have.chain, clock_s),
        models=have.catalog.over(manager),
        decisions=have.policies.point,
        clock_ns=clock_ns,
        hide_existence=config.policy.hide_existence,
    )
    obligations = Obligations(counters=have.counters, clock_s=clock_s, mask_key=ensure_secret(have.data.mask_key))
    pipeline = Pipeline(
        admission=have.admission,
        enforcement=enforcement,
        models=manager,
        obligations=obligations,
        recorder=recorder,
        clock_ns=clock_ns,
    )
    return methods(
        begin=pipeline.begin,
        door=Door(have.admission.full, recorder.shed, recorder.shed_more, have.admission.retry_after_ms),
        gate=Gate(admission=have.admission, enforcement=enforcement, obligations=obligations, recorder=recorder),
        models=manager,
        clocks=Clocks(us=clock_us, ns=clock_ns),
        version=__version__,
        ready=ready,
        allowed=frozenset(config.server.metadata),
        trust=config.server.trust_trace,
        memory=have.memory,
        control=have.models.control,
        statistics=have.statistics.counted,
        logs=have.logs,
        traces=have.traces,
        public_health=config.server.public_health,
        reflection=config.server.reflection,
    )
