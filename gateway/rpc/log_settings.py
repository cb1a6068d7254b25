"""LogSettings: what the workers' logs leave out, read by who may read and changed by who may change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from gateway.errors import InvalidInput, Unsupported
from gateway.policy.pdp import SettingsFacts
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.shared_file import SharedFile
from gateway.transport.seam import Unary
from gateway.types import Action
from gateway.v1 import inference as v1

_LEVELS = ("log_info", "log_warning", "log_error")
_FORMATS = ("default", "ISO8601")


class LogState(msgspec.Struct, frozen=True):
    """Triton's settings, all of them. Ours log in one format; ``log_format`` is kept and answered, no more."""

    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_verbose_level: int = 0
    log_format: str = "default"

    @property
    def level(self) -> int:
        """The least severe level that is logged."""
        if self.log_verbose_level:
            return logging.DEBUG
        for wanted, level in ((self.log_info, "INFO"), (self.log_warning, "WARNING"), (self.log_error, "ERROR")):
            if wanted:
                return logging.getLevelNamesMapping()[level]
        return logging.CRITICAL


def state_of(level: int) -> LogState:
    """The settings that mean ``level``, as the configuration has it."""
    return LogState(
        log_info=level <= logging.INFO,
        log_warning=level <= logging.WARNING,
        log_error=level <= logging.ERROR,
        log_verbose_level=int(level <= logging.DEBUG),
    )


class LogSettings:
    """The settings of all workers. ``apply`` sets this process's level; every worker calls ``follow`` now and then."""

    def __init__(self, shared: SharedFile[LogState], apply: Callable[[int], None]) -> None:
        self._shared = shared
        self._apply = apply
        self._applied: LogState | None = None

    def follow(self) -> None:
        """Apply what is set now, if it changed."""
        state = self._shared.get()
        if state != self._applied:
            if self._applied is not None:
                self._apply(state.level)
            self._applied = state

    def get(self) -> LogState:
        """What is set now."""
        return self._shared.get()

    def change(self, changes: Mapping[str, bool | int | str]) -> LogState:
        """Set ``changes``, here at once."""
        state = self._shared.change(lambda now: msgspec.structs.replace(now, **changes))
        self._apply(state.level)
        self._applied = state
        return state


def log_methods(governed: Governed, settings: LogSettings) -> Mapping[str, Unary]:
    """Handlers by method name."""

    def answer(asked: Asked[v1.LogSettingsRequest]) -> v1.LogSettingsResponse:
        changes = changes_of(asked.request.settings)
        return to_wire(settings.change(changes) if changes else settings.get())

    def writes(request: v1.LogSettingsRequest) -> Action | None:
        return actions.LOG_UPDATE if request.settings else None

    def facts(request: v1.LogSettingsRequest) -> SettingsFacts:
        texts = {name: str(_value(value)) for name, value in request.settings.items()}
        return SettingsFacts(scope="global", writes=texts)

    return {"LogSettings": governed.unary(actions.LOG_GET, v1.LogSettingsRequest, answer, facts=facts, writes=writes)}


def changes_of(settings: Mapping[str, v1.LogSettingsRequest.SettingValue]) -> dict[str, bool | int | str]:
    """What a request sets; a setting without a value leaves things as they are. Raises: InvalidInput, Unsupported."""
    changes: dict[str, bool | int | str] = {}
    for name, value in settings.items():
        given = _value(value)
        if name == "log_file":
            raise Unsupported("log file location can not be updated through network protocol")
        if given is None:
            continue
        kind = _KINDS.get(name)
        if kind is None:
            raise InvalidInput(f"log setting '{name}' is unknown; there are {', '.join(_KINDS)}")
        if type(given) is not kind:
            raise InvalidInput(f"log setting '{name}' came as {type(given).__name__}, expected {kind.__name__}")
        if name == "log_format" and given not in _FORMATS:
            raise InvalidInput(f"log setting 'log_format' came as '{given}', expected {' or '.join(_FORMATS)}")
        changes[name] = given
    return changes


_KINDS: dict[str, type] = {**dict.fromkeys(_LEVELS, bool), "log_verbose_level": int, "log_format": str}


def _value(value: v1.LogSettingsRequest.SettingValue) -> bool | int | str | None:
    kind = value.WhichOneof("parameter_choice")
    given: bool | int | str | None = getattr(value, kind) if kind else None
    return given


def to_wire(state: LogState) -> v1.LogSettingsResponse:
    """All settings; logs go to standard error, so ``log_file`` is empty."""
    response = v1.LogSettingsResponse()
    response.settings["log_file"].string_param = ""
    for name in _LEVELS:
        response.settings[name].bool_param = getattr(state, name)
    response.settings["log_verbose_level"].uint32_param = state.log_verbose_level
    response.settings["log_format"].string_param = state.log_format
    return response
