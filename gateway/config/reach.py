"""How far a change of a key reaches in a gateway that runs: which processes must be replaced for it to count."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from gateway.config.keys import keys
from gateway.config.load import ConfigError
from gateway.config.tree import Config


class Reach(enum.Enum):
    """What a reload does for a changed key; the value is the word for it in the schema and in ``config show``."""

    RESTART = "restart"
    """Nothing: the gateway must be stopped and started, and a reload that would change the key is refused."""
    WORKERS = "workers"
    """New workers start beside the old ones and take over, with a new observer."""
    OBSERVER = "observer"
    """A new observer takes the place of the old one; no worker notices."""


_REACHES: Mapping[str, Reach] = {
    "data": Reach.RESTART,
    "server.host": Reach.RESTART,
    "server.port": Reach.RESTART,
    "instance": Reach.WORKERS,
    "region": Reach.WORKERS,
    "environment": Reach.WORKERS,
    "server": Reach.WORKERS,
    "tls": Reach.WORKERS,
    "limits": Reach.WORKERS,
    "models": Reach.WORKERS,
    "policy": Reach.WORKERS,
    "policy.shadow": Reach.OBSERVER,
    "policy.shadow_share": Reach.OBSERVER,
    "identity": Reach.WORKERS,
    "ledger": Reach.WORKERS,
    "log": Reach.WORKERS,
    "admin": Reach.OBSERVER,
    "telemetry": Reach.OBSERVER,
}
"""By key, or by section for all of its keys that are not named."""


def reach(name: str) -> Reach:
    """What a change of the key ``name`` takes. Raises: KeyError for a key that is in no class."""
    found = _REACHES.get(name)
    return found if found is not None else _REACHES[name.rpartition(".")[0]]


def changes(before: Config, after: Config) -> list[str]:
    """The names of the keys whose values differ. Raises: ConfigError when one of them cannot change in a gateway that
    runs, with a line for each."""
    changed = [key for key in keys() if key.of(before) != key.of(after)]
    fixed = [
        f"{key.name}: it is {str(key.of(before))!r}, got {str(key.of(after))!r}; restart to change it"
        for key in changed
        if reach(key.name) is Reach.RESTART
    ]
    if fixed:
        raise ConfigError("\n".join(fixed))
    return [key.name for key in changed]
