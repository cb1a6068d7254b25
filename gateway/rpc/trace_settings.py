"""TraceSetting: ask for traces of every so-manieth call, of all models or of one.

Whether a trace is kept is decided by the observer when its call has ended; operators set that rule. A setting here
marks calls as sampled, which the observer honours: ``trace_level`` TIMESTAMPS marks every ``trace_rate``-th call, at
most ``trace_count`` of them (-1: no end). Rates and counts are each worker's own. Tensors never enter a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from gateway.errors import InvalidInput, Unsupported
from gateway.policy.pdp import SettingsFacts
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed
from gateway.shared_file import SharedFile
from gateway.transport.seam import Unary
from gateway.types import Action, Call, TraceContext
from gateway.v1 import inference as v1

Values = Mapping[str, str]

DEFAULTS: Values = {"trace_level": "OFF", "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0"}
_LEAST = {"trace_rate": 1, "trace_count": -1, "log_frequency": 0}


class TraceState(msgspec.Struct, frozen=True):
    """What was set for all models, and for single ones in its place."""

    everywhere: Values = {}
    models: Mapping[str, Values] = {}

    def effective(self, model: str) -> Values:
        """The settings that hold for ``model``, "" for those of all."""
        return {**DEFAULTS, **self.everywhere, **self.models.get(model, {})}

    def changed(self, model: str, changes: Mapping[str, str | None]) -> TraceState:
        """As this, with ``changes`` for ``model`` ("" for all); None takes a setting back."""
        before = self.models.get(model, {}) if model else self.everywhere
        after = {name: value for name, value in {**before, **changes}.items() if value is not None}
        return TraceState(self.everywhere, {**self.models, model: after}) if model else TraceState(after, self.models)


class TraceSettings:
    """The settings of all workers, and this worker's count of calls."""

    def __init__(self, shared: SharedFile[TraceState]) -> None:
        self._shared = shared
        self._counts: dict[str, list[int]] = {}  # by model: calls seen, calls marked
        self._state = TraceState()
        self._on: dict[str, bool] = {}

    def get(self) -> TraceState:
        """What is set now."""
        return self._shared.get()

    def change(self, model: str, changes: Mapping[str, str | None]) -> TraceState:
        """Set ``changes`` for ``model``, "" for all."""
        return self._shared.change(lambda state: state.changed(model, changes))

    def follow(self) -> None:
        """Take note of what is set now; counts of calls begin again when that changed."""
        state = self._shared.get()
        if state != self._state:
            self._state, self._counts, self._on = state, {}, {}

    def marked(self, call: Call) -> Call:
        """``call``, with its trace sampled if it is its turn."""
        state, trace = self._state, call.context.trace
        if not state.everywhere and not state.models:
            return call
        marked = self.mark(call.model.name, trace)
        if marked is trace:
            return call
        return msgspec.structs.replace(call, context=msgspec.structs.replace(call.context, trace=marked))

    def mark(self, model: str, trace: TraceContext) -> TraceContext:
        """``trace``, sampled if it is the turn of this call of ``model``."""
        state = self._state
        if not state.everywhere and not state.models:
            return trace
        on = self._on.get(model)
        if on is None:
            on = self._on[model] = state.effective(model)["trace_level"] != "OFF"
        return trace if not on or not self._turn(model, state) else msgspec.structs.replace(trace, flags="01")

    def _turn(self, model: str, state: TraceState) -> bool:
        values = state.effective(model)
        counts = self._counts.setdefault(model, [0, 0])
        counts[0] += 1
        most = int(values["trace_count"])
        if (counts[0] - 1) % int(values["trace_rate"]) or (most >= 0 and counts[1] >= most):
            return False
        counts[1] += 1
        return True


def trace_methods(governed: Governed, settings: TraceSettings, known: Callable[[str], bool]) -> Mapping[str, Unary]:
    """Handlers by method name. ``known`` says whether there is a model of a name."""

    def answer(asked: Asked[v1.TraceSettingRequest]) -> v1.TraceSettingResponse:
        model = asked.request.model_name
        if model and not known(model):
            raise InvalidInput(f"Request for unknown model : {model}")
        changes = changes_of(asked.request.settings)
        state = settings.change(model, changes) if changes else settings.get()
        settings.follow()
        return to_wire(state.effective(model))

    def writes(request: v1.TraceSettingRequest) -> Action | None:
        return actions.TRACE_UPDATE if request.settings else None

    def facts(request: v1.TraceSettingRequest) -> SettingsFacts:
        texts = {name: ",".join(setting.value) for name, setting in request.settings.items()}
        return SettingsFacts(scope="model" if request.model_name else "global", writes=texts)

    return {
        "TraceSetting": governed.unary(actions.TRACE_GET, v1.TraceSettingRequest, answer, facts=facts, writes=writes)
    }


def changes_of(settings: Mapping[str, v1.TraceSettingRequest.SettingValue]) -> dict[str, str | None]:
    """What a request sets; no value takes a setting back. Unknown names are ignored, as in Triton.

    Raises: InvalidInput, Unsupported.
    """
    changes: dict[str, str | None] = {}
    for name, setting in settings.items():
        if name == "trace_file":
            raise Unsupported("trace file location can not be updated through network protocol")
        if name == "trace_mode":
            raise Unsupported("trace mode can not be updated through network protocol")
        if name in DEFAULTS:
            changes[name] = _checked(name, list(setting.value)) if setting.value else None
    return changes


def _checked(name: str, values: list[str]) -> str:
    if name == "trace_level":
        if "TENSORS" in values:
            raise Unsupported("trace_level TENSORS is not served: tensors never enter a trace here")
        if values not in (["OFF"], ["TIMESTAMPS"]):
            raise InvalidInput(f"trace setting 'trace_level' came as {values}, expected OFF or TIMESTAMPS")
        return values[0]
    try:
        (number,) = (int(value) for value in values)
    except ValueError:
        number = _LEAST[name] - 1
    if not _LEAST[name] <= number < 2**31:
        raise InvalidInput(f"trace setting '{name}' came as {values}, expected one number of {_LEAST[name]} or more")
    return str(number)


def to_wire(values: Values) -> v1.TraceSettingResponse:
    """All settings, each a list of one; spans leave by OTLP, so there is no file."""
    response = v1.TraceSettingResponse()
    for name, value in {**values, "trace_file": "", "trace_mode": "opentelemetry"}.items():
        response.settings[name].value.append(value)
    return response
