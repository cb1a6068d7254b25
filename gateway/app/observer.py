"""The observer process: follows the ledger, signs its heads, keeps the governance ledger, serves metrics and health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gateway import __version__
from gateway.app.child import Child, Status
from gateway.app.chronicle import Chronicle
from gateway.app.clocks import clock_ns, clock_us
from gateway.app.daily_usage import DailyUsage
from gateway.app.data import DataDir
from gateway.app.embedded import reading
from gateway.app.failure import StartupError
from gateway.app.lenience_watch import LenienceWatch
from gateway.app.shadow import ShadowRollout
from gateway.app.shadow_follower import ShadowFollower
from gateway.config import Config
from gateway.config.keys import keys
from gateway.ledger.errors import LedgerError
from gateway.ledger.follower import follow
from gateway.ledger.keeper import Keeper
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.vault import Vault
from gateway.observer.observer import POLL_S, Observer, wait
from gateway.observer.openmetrics import Family
from gateway.observer.sampling import Policy
from gateway.observer.settings import Settings
from gateway.policy.revisions import Revisions

_log = logging.getLogger("gateway.observer")

LAST_S = 3.0
"""What a shadow gets for the last records when the gateway stops."""


async def observe(child: Child, config: Config) -> None:
    """Be the observer until ``child.stop`` is set.

    Raises: StartupError when the admin address cannot be bound or the governance ledger not be written.
    """
    data = DataDir(config.data)
    async with contextlib.AsyncExitStack() as stack:
        keeper = await _keeper(stack, data)
        shadow, rollout = _shadow(config, data, keeper)
        stack.callback(rollout.close)
        lenience = _lenience(config, data, keeper)
        observer = _observer(
            config, data, child.brief.workers, keeper, lambda: (*shadow.families(), *lenience.families())
        )
        await child.listen(_nothing_to_reload)
        stack.push_async_callback(
            _settled,
            asyncio.gather(
                follow(data.ledger, [shadow], stop=child.stop, poll_s=POLL_S),
                _each(config.policy.poll_s, child.stop, rollout.step),
                _each(config.policy.poll_s, child.stop, lenience.step),
            ),
        )
        try:
            await observer.run(child.stop, lambda port: child.report(Status(ready_port=port)))
        except OSError as error:
            raise StartupError(
                f"the admin server cannot listen on {config.admin.host}:{config.admin.port}: "
                f"{error.strerror or error}; choose another port with --admin-port"
            ) from error


async def _keeper(stack: contextlib.AsyncExitStack, data: DataDir) -> Keeper:
    keeper = Keeper(data.root, clock_us=clock_us)
    try:
        await keeper.open({"version": __version__, "role": "observer"})
    except LedgerError as error:
        raise StartupError(str(error)) from error
    stack.push_async_callback(keeper.close)
    return keeper


def _shadow(config: Config, data: DataDir, keeper: Keeper) -> tuple[ShadowFollower, ShadowRollout]:
    """What a candidate bundle would decide, if one is configured. Raises: StartupError."""
    vault = Vault(FileKeys(data.root / "keys" / "payload"))
    kept = Revisions(data.policy, clock_us=clock_us).folder
    follower = ShadowFollower(data.ledger, vault, data.observer, revisions=kept, share=config.policy.shadow_share)
    rollout = ShadowRollout(
        config.policy.shadow,
        follower,
        keeper,
        folder=data.observer,
        read=reading(config.policy.signers),
        clock_us=clock_us,
    )
    rollout.open()
    return follower, rollout


def _lenience(config: Config, data: DataDir, keeper: Keeper) -> LenienceWatch:
    """What is not enforced, shown."""
    watch = LenienceWatch(
        keeper,
        signers=config.policy.break_glass,
        grants=data.grants,
        exceptions=config.policy.exceptions,
        memory=data.observer / "lenience.json",
        clock_us=clock_us,
    )
    watch.open()
    return watch


def _observer(
    config: Config, data: DataDir, workers: Sequence[int], keeper: Keeper, families: Callable[[], Sequence[Family]]
) -> Observer:
    settings = Settings(
        host=config.admin.host,
        port=config.admin.port,
        workers=workers,
        version={"version": __version__, "python": platform.python_version(), "pid": str(os.getpid())},
        config=config.model_dump(mode="json"),
        max_tenants=config.telemetry.max_tenants,
        triton=config.telemetry.triton_metrics,
        sampling=Policy(
            ratio=config.telemetry.ratio,
            per_second=config.telemetry.max_traces_per_s,
            trust=config.server.trust_trace,
        ),
        max_lag_s=config.telemetry.max_lag_s,
        source=config.instance,
        webhook_url=config.telemetry.webhook_url,
        webhook_token=_token(config.telemetry.webhook_token),
    )
    chronicle = Chronicle(
        keeper,
        states=data.state,
        keys=data.keys,
        memory=data.observer / "chronicle.json",
        config={key.name: str(key.of(config)) for key in keys()},
    )
    chronicle.open()
    days = DailyUsage(
        keeper,
        ledger=data.ledger,
        closing=data.observer / "usage.db",
        memory=data.observer / "closed_days",
        clock_us=clock_us,
    )
    days.open()
    try:
        return Observer(
            data.root,
            settings,
            clock_us=clock_us,
            clock_ns=clock_ns,
            environ=os.environ,
            steps=(keeper.step, chronicle.step, days.step),
            alarms=lambda: keeper.alarms,
            families=families,
        )
    except ValueError as error:
        raise StartupError(f"telemetry: {error}") from error


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise StartupError(f"telemetry.webhook_token {path} cannot be read: {error.strerror}") from error


async def _nothing_to_reload() -> None:
    return


async def _each(seconds: float, stop: asyncio.Event, step: Callable[[], Awaitable[None]]) -> None:
    """Step until ``stop`` is set. A step that fails is logged and the next one is tried."""
    while not stop.is_set():
        try:
            await step()
        except Exception:  # noqa: BLE001  # whatever it is, the next step may do better
            _log.exception("observer.step_failed")
        await wait(stop, seconds)


async def _settled(background: asyncio.Future[tuple[None, None, None]]) -> None:
    """Give what follows the ledger a moment for what is left."""
    await asyncio.wait({background}, timeout=LAST_S)
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)
