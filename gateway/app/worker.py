"""A worker process: one event loop, one ledger shard, one set of models, one share of the port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Awaitable, Callable

from gateway.app import assembly, parts
from gateway.app.assembly import Parts
from gateway.app.catalog import CatalogFile
from gateway.app.certificates import Certificates
from gateway.app.child import Brief, Child, Status
from gateway.app.clocks import clock_ns, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.policies import policies
from gateway.app.report import EVERY_S, Reporter
from gateway.app.statistics import StatisticsBoard
from gateway.config import Config
from gateway.pipeline.admission import Admission
from gateway.pipeline.recorder import Recorder
from gateway.transport.seam import Methods, Transport

_log = logging.getLogger("gateway.worker")

LOOK_S = 0.05
"""How often admission looks at how long calls wait."""
QUOTAS_S = 5.0
"""How often quota counts are put on stable storage: what a power cut may forget."""
_GC_THRESHOLDS = (20_000, 20, 50)
"""A request makes no cycles, so the collector may look less often (3 % of a request's cost by default)."""

_SWITCH_INTERVAL_S = 0.0005
"""The ledger's writer thread shares the interpreter with a busy loop; the default of 5 ms would be its latency."""


async def work(child: Child, config: Config) -> None:
    """Be one worker until ``child.stop`` is set, then drain.

    Raises: StartupError when the worker can never serve as configured.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    async with contextlib.AsyncExitStack() as stack:
        have = await open_parts(stack, config, child.brief)
        recorder = assembly.recorder(have)
        tls = parts.tls(config.tls)
        reporter = Reporter(have, child.brief.index, certificates=Certificates(tls))
        transport = parts.transport(config, tls)
        have.ledger.expect(lambda: _coming(have, transport))
        port = await _listen(transport, child, config, assembly.table(have, recorder, lambda: reporter.ready))
        await child.listen(lambda: _reload(have))
        background = asyncio.gather(
            _every(EVERY_S, reporter.step),
            have.statistics.run(),
            *have.models.followers(),
            _every(config.policy.poll_s, have.policies.step),
            _every(1.0, lambda: _settle(recorder)),
            _every(LOOK_S, lambda: _look(have, transport)),
            _every(1.0, lambda: _follow_settings(have)),
            _every(1.0, lambda: _follow_trust(have)),
            _every(1.0, have.catalog.follow),
            _every(QUOTAS_S, lambda: asyncio.to_thread(have.counters.sync)),
        )
        gc.collect()
        gc.freeze()  # what is loaded by now lives as long as the process: no collection looks at it again
        gc.set_threshold(*_GC_THRESHOLDS)
        await reporter.step()
        child.report(Status(ready_port=port))
        await _end(child, have)
        if not child.relieved:  # whom others relieve has nobody to tell: the gateway stays ready
            reporter.leave()
            await asyncio.sleep(config.server.drain_delay_s)
        await transport.drain(grace_s=config.server.grace_s)
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await _settle(recorder)


async def open_parts(stack: contextlib.AsyncExitStack, config: Config, brief: Brief) -> Parts:
    """Open every part of the worker that ``brief`` names; ``stack`` closes them, the ledger after all that may
    still write. Raises: StartupError."""
    data, index = DataDir(config.data), brief.index
    api_keys = parts.keys(data)
    trusted = await parts.trusted(config, data)
    if trusted is not None:
        stack.push_async_callback(trusted.close)
    rules = await policies(config, data, leads=brief.leads)
    stack.callback(rules.close)
    ledger, tally = await parts.ledger(config, data, index)
    stack.push_async_callback(ledger.close)
    counters = parts.counters(data)
    stack.callback(counters.close)
    models = await parts.models(config, data, brief)
    stack.push_async_callback(models.close)
    memory = parts.memory(config, data)
    if memory is not None:
        stack.callback(memory.close)
    return Parts(
        config=config,
        data=data,
        api_keys=api_keys,
        trusted=trusted,
        chain=parts.authenticator(config, api_keys, trusted),
        policies=rules,
        tally=tally,
        ledger=ledger,
        counters=counters,
        models=models,
        catalog=CatalogFile(config.models),
        admission=Admission(
            max_inflight=config.limits.max_inflight,
            max_bytes=config.limits.max_inflight_bytes,
            budget_ns=config.limits.queue_ms * 1_000_000,
            clock_ns=clock_ns,
        ),
        statistics=StatisticsBoard(
            data.state, index, epoch=parts.epoch(), models=models.manager, clock_ns=clock_ns, clock_us=clock_us
        ),
        memory=memory,
        logs=parts.logs(config, data),
        traces=parts.traces(data),
    )


async def _end(child: Child, have: Parts) -> None:
    """Return when the worker is to stop, or cannot serve any more: a ledger that gave up is a worker that ends."""
    have.ledger.broken.add_done_callback(lambda _: child.stop.set())
    await child.stop.wait()
    if have.ledger.broken.done():
        _log.critical("ledger.gave_up", extra={"shard": have.ledger.shard, "cause": str(have.ledger.broken.result())})


async def _listen(transport: Transport, child: Child, config: Config, table: Methods) -> int:
    try:
        return await transport.start(table, host=config.server.host, port=child.brief.port)
    except OSError as error:
        where = f"{config.server.host}:{child.brief.port}"
        raise StartupError(f"cannot listen on {where}: {error.strerror or error}") from error


async def _reload(have: Parts) -> None:
    """SIGHUP: look now at everything that is read from files."""
    have.api_keys.reload()
    if have.trusted is not None:
        await have.trusted.reload()
        have.chain.trust(certificates=have.trusted.certificates, tokens=have.trusted.tokens)
    await have.policies.step()


async def _follow_trust(have: Parts) -> None:
    if have.trusted is not None and await have.trusted.follow():
        have.chain.trust(certificates=have.trusted.certificates, tokens=have.trusted.tokens)


def _coming(have: Parts, transport: Transport) -> int:
    """Records that the loop is about to make: of calls that began or wait to, but for those that wait for a thread."""
    return have.tally.inflight + transport.waiting - have.models.manager.in_threads()


async def _look(have: Parts, transport: Transport) -> None:
    have.admission.look(have.models.manager.in_threads(), before=transport.waiting)


async def _follow_settings(have: Parts) -> None:
    have.logs.follow()
    have.traces.follow()


async def _settle(recorder: Recorder) -> None:
    recorder.settle(clock_us())


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Step until cancelled. A step that fails (a disk, for a moment) is logged and the next one is tried."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:  # noqa: BLE001  # whatever it is, the next step may do better
            _log.exception("worker.step_failed")
