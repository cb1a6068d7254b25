"""What a worker is made of, one function a part: the only place that reads the configuration for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway import __version__
from gateway.app.child import Brief
from gateway.app.clocks import clock_ns, clock_s, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.preflight import check_models
from gateway.config import Config
from gateway.config.tree import Limits as LimitKeys
from gateway.config.tree import Tls as TlsKeys
from gateway.errors import LedgerUnavailable
from gateway.identity.api_keys import ApiKeys
from gateway.identity.chain import Chain
from gateway.identity.key_file import KeyFileError
from gateway.identity.trust import TrustError
from gateway.identity.trusted import Trusted
from gateway.ledger.errors import LedgerError
from gateway.ledger.owed import OwedPage, settle
from gateway.ledger.shard import ShardLedger
from gateway.ledger.short_way import QUICK_NS
from gateway.pipeline.counters import Counters, shared_counters
from gateway.pipeline.slots import SlotsError
from gateway.pipeline.tally import Tally
from gateway.rpc.log_settings import LogSettings, LogState, state_of
from gateway.rpc.model_config import parse as parse_model_config
from gateway.rpc.model_config import parse_json as parse_model_json
from gateway.rpc.shared_regions import Registered, SharedRegions
from gateway.rpc.trace_settings import TraceSettings, TraceState
from gateway.serving.control import RepositoryControl
from gateway.serving.desired import Desired, initial, wishes
from gateway.serving.load_journal import LoadJournal
from gateway.serving.manager import Manager
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.sources import DirectorySource
from gateway.shared_file import SharedFile
from gateway.transport.grpcio import GrpcioTransport
from gateway.transport.h2 import H2Transport
from gateway.transport.seam import Limits, Transport
from gateway.transport.tls import ServerTls

_log = logging.getLogger("gateway.ledger")


def keys(data: DataDir) -> ApiKeys:
    """The API keys in force. Raises: StartupError."""
    found = ApiKeys(data.keys, clock_s)
    try:
        found.open()
    except KeyFileError as error:
        raise StartupError(str(error)) from error
    return found


async def trusted(config: Config, data: DataDir) -> Trusted | None:
    """Token issuers and certificate rules, if there is a file of them. Raises: StartupError."""
    if config.identity.trust is None:
        return None
    found = Trusted(config.identity.trust, clock_s, backups=data.state)
    try:
        await found.open()
    except TrustError as error:
        raise StartupError(str(error)) from error
    return found


def authenticator(config: Config, api_keys: ApiKeys, trust: Trusted | None) -> Chain:
    """Who may prove an identity, in which order."""
    return Chain(
        certificates=trust.certificates if trust is not None else None,
        tokens=trust.tokens if trust is not None else None,
        keys=api_keys,
        anonymous=config.identity.anonymous,
    )


@dataclass(frozen=True, slots=True)
class Runtime:
    """The model runtime of a worker: the manager, and what must be closed after it. ``control`` takes load requests
    in mode explicit."""

    manager: Manager
    source: DirectorySource
    executor: ThreadPoolExecutor
    fingerprint: str
    control: RepositoryControl | None

    def followers(self) -> Sequence[Coroutine[None, None, None]]:
        """What follows the desired state that all workers share, until cancelled."""
        return () if self.control is None else (self.control.run(),)

    async def close(self) -> None:
        """Free everything; nothing may be leased any more."""
        await self.source.close()
        await self.manager.close()
        self.executor.shutdown(cancel_futures=True)


async def models(config: Config, data: DataDir, brief: Brief) -> Runtime:
    """The models, loaded: those that cannot be are states with a reason, not failures.

    Raises: StartupError when a repository is not there at all.
    """
    check_models(config.models.dirs)
    executor = ThreadPoolExecutor(thread_name_prefix="model")
    runtime = OnnxRuntime(
        executor=executor,
        threads=config.models.threads,
        instances=config.models.instances or max(2, len(os.sched_getaffinity(0)) // len(brief.workers)),
        max_queue=config.models.max_queue,
        budget_ns=config.models.queue_ms * 1_000_000,
        providers=config.models.providers,
        run_limit_s=config.models.run_limit_s,
        default_max_batch_size=config.models.default_max_batch_size,
        op_libraries=frozenset(config.models.op_libraries),
        journal=LoadJournal(data.state / "loading", str(brief.index)),
    )
    explicit = config.models.mode == "explicit"
    repository = DirectorySource(config.models.dirs, parse=parse_model_config, make=runtime.loader)
    start = initial(repository.names() if "*" in config.models.load else config.models.load)

    def desired() -> SharedFile[Desired]:
        return SharedFile(data.state / "models", Desired, start, epoch=epoch())

    source = DirectorySource(
        config.models.dirs,
        parse=parse_model_config,
        make=runtime.loader,
        poll_s=config.models.poll_s if config.models.mode == "poll" else 0.0,
        wishes=wishes(desired(), parse_model_json) if explicit else None,
    )
    manager = Manager(executor, budget_bytes=config.models.memory_budget_bytes)
    await manager.start(source)
    if not explicit:
        return Runtime(manager, source, executor, "", None)
    control = RepositoryControl(
        desired(),  # one for each thread: the source is asked in the executor's
        manager,
        names=repository.names,
        parse_json=parse_model_json,
        folder=data.state,
        index=brief.index,
        workers=brief.workers,
        epoch=epoch(),
        accept_files=config.models.accept_files,
        clock_s=clock_s,
    )
    await control.follow()
    return Runtime(manager, source, executor, "", control)


async def ledger(config: Config, data: DataDir, index: int) -> tuple[ShardLedger, Tally]:
    """This worker's shard, open, with what is counted for its beats; what the last writer owed is written down.

    Raises: StartupError.
    """
    boot: dict[str, str | int] = {"version": __version__, "worker": index, "mode": config.ledger.mode}
    shard = f"{config.instance}.{index}"
    page = OwedPage(data.state / f"owed.{shard}", machine=_boot_id())
    try:
        page.open()
        tally = Tally(page.place)
        quick_ns = 0 if config.ledger.mode == "relaxed" else QUICK_NS
        opened = await ShardLedger.open(
            data.ledger, shard, boot=boot, clock_us=clock_us, counters=tally.read, quick_ns=quick_ns
        )
        left = await settle(opened, data.ledger, page, clock_us=clock_us)
    except (LedgerError, LedgerUnavailable, OSError) as error:
        raise StartupError(str(error)) from error
    if left:
        _log.warning("ledger.recovered", extra={"shard": shard, **left})
    return opened, tally


def counters(data: DataDir) -> Counters:
    """Rates and quotas, shared by all workers. Raises: StartupError."""
    shared = shared_counters(
        rates=data.state / "rates",
        quotas=data.root / "quotas",
        boot=_boot_id(),
        clock_ns=clock_ns,
        clock_s=clock_s,
    )
    try:
        shared.open()
    except SlotsError as error:
        raise StartupError(str(error)) from error
    return shared


def epoch() -> str:
    """Names this run of the gateway: all its workers have one supervisor."""
    return f"{_boot_id()}.{os.getppid()}"


def memory(config: Config, data: DataDir) -> SharedRegions | None:
    """What local callers may share with us, if that is switched on."""
    if not config.server.shared_memory:
        return None
    shared = SharedFile(data.state / "regions", Registered, Registered(), epoch=epoch())
    return SharedRegions(shared, max_bytes=config.limits.max_message_bytes)


def logs(config: Config, data: DataDir) -> LogSettings:
    """What callers may set of the workers' logs; it starts as configured."""
    start = state_of(logging.getLevelNamesMapping()[config.log.level.upper()])
    settings = LogSettings(
        SharedFile(data.state / "logs", LogState, start, epoch=epoch()), logging.getLogger().setLevel
    )
    settings.follow()
    return settings


def traces(data: DataDir) -> TraceSettings:
    """What callers may set of traces."""
    settings = TraceSettings(SharedFile(data.state / "traces", TraceState, TraceState(), epoch=epoch()))
    settings.follow()
    return settings


def transport(config: Config, tls: ServerTls | None) -> Transport:
    """How bytes arrive and leave."""
    kind = H2Transport if config.server.transport == "h2" else GrpcioTransport
    return kind(limits(config.limits), tls)


def limits(keys: LimitKeys) -> Limits:
    """The transport's share of the limits."""
    return Limits(
        max_message_bytes=keys.max_message_bytes,
        max_metadata_bytes=keys.max_metadata_bytes,
        max_streams=keys.max_streams,
        handshake_s=keys.handshake_s,
        idle_s=keys.idle_s,
        max_age_s=keys.max_age_s,
        max_age_grace_s=keys.max_age_grace_s,
    )


def tls(keys: TlsKeys) -> ServerTls | None:
    """The server's certificate, if one is configured. Raises: StartupError."""
    if keys.certificate is None and keys.key is None:
        return None
    if keys.certificate is None or keys.key is None:
        raise StartupError("tls.certificate and tls.key go together; only one of them is set")
    try:
        return ServerTls(keys.certificate, keys.key, keys.client_ca, keys.require_client)
    except ValueError as error:
        raise StartupError(f"tls: {error}") from error


def _boot_id() -> str:
    """Names this run of the machine, with which its monotonic clock began."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
