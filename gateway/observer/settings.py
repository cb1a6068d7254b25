"""What an operator may say about the observer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.observer.sampling import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``workers`` are the numbers of those there should be. ``config`` is shown at /config, redacted; ``version`` at
    /version. ``triton`` adds Triton's metric names. Telemetry older than ``max_lag_s`` is skipped and counted.
    With ``webhook_url`` each call is metered there, by events of this ``source``."""

    host: str = "127.0.0.1"
    port: int = 8002
    workers: Sequence[int] = (0,)
    version: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    max_tenants: int = 200
    tenants: tuple[str, ...] = ()
    triton: bool = False
    sampling: Policy = Policy()  # noqa: RUF009 - frozen
    max_lag_s: int = 86_400
    source: str = "inference-gateway"
    webhook_url: str = ""
    webhook_token: str = field(default="", repr=False)
