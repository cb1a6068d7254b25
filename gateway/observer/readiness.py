"""Whether the gateway is ready, and why not: judged from the workers' state files and the followers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.observer.state import WorkerState


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. What is not ``ok`` makes the gateway unready."""

    name: str
    ok: bool
    detail: str = ""


class Readiness(msgspec.Struct, frozen=True):
    """All checks; ready when each is ok."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """True when every check is ok, and there was one."""
        return bool(self.checks) and all(check.ok for check in self.checks)


def judge(
    states: Sequence[WorkerState],
    *,
    workers: Sequence[int],
    now_us: int,
    lags_us: Mapping[str, int],
    broken: Mapping[str, str],
) -> Readiness:
    """Ready: each of ``workers`` wrote its state lately and says it is ready, with models, a policy and a ledger.

    ``broken`` are shards that cannot be read, with the reason. Followers' lag is shown and never makes the gateway
    unready: it delays what is seen, not what is served.
    """
    known = {state.worker: state for state in states}
    checks: list[Check] = []
    for number in workers:
        state = known.get(number)
        if state is None:
            checks.append(Check(name=f"worker-{number}", ok=False, detail="not started"))
        elif state.stale(now_us):
            age = (now_us - state.time_us) / 1e6
            checks.append(Check(name=f"worker-{number}", ok=False, detail=f"last heard of {age:.1f} s ago"))
        else:
            checks.extend(_worker(state))
    for shard, error in sorted(broken.items()):
        checks.append(Check(name=f"shard-{shard}", ok=False, detail=error))
    for name, lag in sorted(lags_us.items()):
        checks.append(Check(name=f"follower-{name}", ok=True, detail=f"{lag / 1e6:.3f} s behind"))
    return Readiness(tuple(checks))


def _worker(state: WorkerState) -> list[Check]:
    prefix = f"worker-{state.worker}"
    missing = [
        f"{m.name}:{m.version} is {m.state}" + (f" ({m.reason})" if m.reason else "")
        for m in state.models
        if m.state != "READY" or m.failed
    ]
    loaded = sum(m.state == "READY" for m in state.models)
    models = f"{loaded} available" + (f"; {', '.join(missing)}" if missing else "")
    policy = state.policy
    refused = f"; a newer one was refused: {policy.error}" if policy.error else ""
    return [
        Check(name=prefix, ok=state.ready, detail=state.reason or f"pid {state.pid}"),
        Check(name=f"{prefix}-models", ok=loaded > 0, detail=models),
        Check(
            name=f"{prefix}-policy",
            ok=bool(policy.revision),
            detail=f"revision {policy.revision}{refused}" if policy.revision else policy.error or "no policy is active",
        ),
        Check(name=f"{prefix}-ledger", ok=state.ledger.ok, detail=state.ledger.error or "writable"),
    ]
