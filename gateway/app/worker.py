"""A worker process: one event loop, one ledger shard, one set of models, one share of the port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from dataclasses import dataclass

from gateway import __version__
from gateway.app import parts
from gateway.app.child import Child, Status
from gateway.app.clocks import clock_ns, clock_s, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.policies import Policies, follow, policies
from gateway.app.report import Reporter
from gateway.app.secret import ensure_secret
from gateway.app.statistics import StatisticsBoard
from gateway.config import Config
from gateway.identity.api_keys import ApiKeys
from gateway.identity.chain import Chain
from gateway.identity.trusted import Trusted
from gateway.ledger.commitment import Salts
from gateway.ledger.shard import ShardLedger
from gateway.pipeline.admission import Admission
from gateway.pipeline.counters import Counters
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.gate import Gate
from gateway.pipeline.handler import InferenceHandler
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.recorder import Recorder
from gateway.policy.pdp import DecisionPoint
from gateway.rpc.context import Clocks
from gateway.rpc.service import methods
from gateway.rpc.shared_regions import SharedRegions
from gateway.transport.seam import Methods

_log = logging.getLogger("gateway.worker")

_SWITCH_INTERVAL_S = 0.0005
"""The ledger's writer thread shares the interpreter with a busy loop; the default of 5 ms would be its latency."""


async def work(child: Child, config: Config) -> None:
    """Be one worker until ``child.stop`` is set, then drain.

    Raises: StartupError when the worker can never serve as configured.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    async with contextlib.AsyncExitStack() as stack:
        worker = await _open(stack, child, config)
        transport = parts.transport(config)
        try:
            port = await transport.start(worker.methods, host=config.server.host, port=child.brief.port)
        except OSError as error:
            where = f"{config.server.host}:{child.brief.port}"
            raise StartupError(f"cannot listen on {where}: {error.strerror or error}") from error
        await child.listen(worker.reload)
        reporting = asyncio.gather(
            worker.reporter.run(), worker.statistics.run(), follow(worker.policies, config.policy.poll_s, _step_failed)
        )
        gc.collect()
        gc.freeze()  # what is loaded by now lives as long as the process: no collection looks at it again
        child.report(Status(ready_port=port))
        await child.stop.wait()
        worker.reporter.leave()
        await asyncio.sleep(config.server.drain_delay_s)
        await transport.drain(grace_s=config.server.grace_s)
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Worker:
    methods: Methods
    policies: Policies
    reporter: Reporter
    statistics: StatisticsBoard
    api_keys: ApiKeys
    chain: Chain
    trusted: Trusted | None

    async def reload(self) -> None:
        """SIGHUP: look at everything again that is read from files."""
        await self.policies.step()
        self.api_keys.reload()
        if self.trusted is not None:
            await self.trusted.reload()
            self.chain.trust(certificates=self.trusted.certificates, tokens=self.trusted.tokens)


def _step_failed(error: BaseException) -> None:
    _log.error("policy.step_failed", exc_info=error)


async def _open(stack: contextlib.AsyncExitStack, child: Child, config: Config) -> _Worker:
    """Open every part, innermost last to be closed first; ``stack`` closes them."""
    data = DataDir(config.data)
    index = child.brief.index
    api_keys = parts.keys(data)
    trusted = await parts.trusted(config, data)
    if trusted is not None:
        stack.push_async_callback(trusted.close)
    chain = parts.authenticator(config, api_keys, trusted)
    rules = policies(config, data, leads=index == 0)
    stack.callback(rules.close)
    shard = await parts.ledger(config, data, index)
    stack.push_async_callback(shard.close)
    counters = parts.counters(data)
    stack.callback(counters.close)
    models = await parts.models(config)
    stack.push_async_callback(models.close)
    admission = Admission(
        max_inflight=config.limits.max_inflight, max_bytes=config.limits.max_inflight_bytes, clock_ns=clock_ns
    )
    reporter = Reporter(
        folder=data.state, index=index, models=models.manager, policies=rules, ledger=shard, admission=admission
    )
    statistics = StatisticsBoard(
        data.state, index, epoch=parts.epoch(), models=models.manager, clock_ns=clock_ns, clock_us=clock_us
    )
    memory = parts.memory(config, data)
    if memory is not None:
        stack.callback(memory.close)
    table = _methods(config, data, chain, rules.point, shard, models, admission, counters, reporter, statistics, memory)
    return _Worker(table, rules, reporter, statistics, api_keys, chain, trusted)


def _methods(
    config: Config,
    data: DataDir,
    chain: Chain,
    point: DecisionPoint,
    shard: ShardLedger,
    models: parts.Runtime,
    admission: Admission,
    counters: Counters,
    reporter: Reporter,
    statistics: StatisticsBoard,
    memory: SharedRegions | None,
) -> Methods:
    """The pipeline, assembled, behind the method table."""
    enforcement = Enforcement(
        authenticator=chain,
        models=models.manager,
        decisions=point,
        clock_ns=clock_ns,
        hide_existence=config.policy.hide_existence,
    )
    recorder = Recorder(
        shard,
        clock_ns=clock_ns,
        salts=Salts(),
        request_key=ensure_secret(data.request_key),
        runtime=models.fingerprint,
        relaxed=config.ledger.mode == "relaxed",
    )
    obligations = Obligations(counters=counters, clock_s=clock_s, mask_key=ensure_secret(data.mask_key))
    return methods(
        handler=InferenceHandler(
            admission=admission,
            enforcement=enforcement,
            models=models.manager,
            obligations=obligations,
            recorder=recorder,
            clock_ns=clock_ns,
        ),
        gate=Gate(admission=admission, enforcement=enforcement, obligations=obligations, recorder=recorder),
        models=models.manager,
        clocks=Clocks(us=clock_us, ns=clock_ns),
        version=__version__,
        ready=lambda: reporter.ready,
        allowed=frozenset(config.server.metadata),
        memory=memory,
        statistics=statistics.counted,
        public_health=config.server.public_health,
        reflection=config.server.reflection,
    )
