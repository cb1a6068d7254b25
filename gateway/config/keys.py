"""The tree's leaves by name: ``server.port`` is the flag ``--server-port`` and ``GATEWAY_SERVER__PORT``."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.tree import Config

ALIASES = {
    "models.dirs": "models",
    "policy.dir": "policies",
    "data": "data",
    "server.host": "host",
    "server.port": "port",
    "admin.port": "admin-port",
    "server.transport": "transport",
    "server.workers": "workers",
    "policy.engine": "engine",
    "policy.opa_url": "opa-url",
    "identity.anonymous": "anonymous",
}
"""Flags that have a name of their own."""


@dataclass(frozen=True, slots=True)
class Key:
    """One leaf: its dotted path, default, sentence, and how it is written on a command line."""

    path: tuple[str, ...]
    default: object
    help: str
    is_flag: bool
    is_list: bool
    choices: tuple[str, ...]

    @property
    def name(self) -> str:
        """``server.port``."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """``--port``, or ``--section-key`` where the key has no name of its own."""
        return "--" + ALIASES.get(self.name, "-".join(self.path).replace("_", "-"))

    @property
    def variable(self) -> str:
        """``GATEWAY_SERVER__PORT``."""
        return "GATEWAY_" + "__".join(self.path).upper()

    def of(self, config: Config) -> object:
        """The key's value in ``config``."""
        value: object = config
        for part in self.path:
            value = getattr(value, part)
        return value


def keys() -> tuple[Key, ...]:
    """All leaves, in the order of the tree."""
    return tuple(_leaves(Config, ()))


def _leaves(model: type[BaseModel], path: tuple[str, ...]) -> typing.Iterator[Key]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, (*path, name))
        else:
            yield _key((*path, name), field)


def _key(path: tuple[str, ...], field: FieldInfo) -> Key:
    kind = field.annotation
    origin = typing.get_origin(kind)
    choices: tuple[str, ...] = typing.get_args(kind) if origin is typing.Literal else ()
    if origin in (typing.Union, types.UnionType):
        choices = ()
    return Key(
        path=path,
        default=field.default,
        help=(field.description or "").strip(),
        is_flag=kind is bool,
        is_list=origin is tuple,
        choices=tuple(str(c) for c in choices),
    )
