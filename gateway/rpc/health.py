"""The standard gRPC health service: the server, its one service, and each model by name.

Check of the server and of the service follows readiness and answers everybody unless that is switched off; it
waits for no policy engine. What names a model is decided by policy: existence is a fact about a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.errors import NotFound, Unparsable
from gateway.rpc import actions
from gateway.rpc.governed import Asked, Governed, parse
from gateway.rpc.models import Models
from gateway.rpc.status import refusal
from gateway.serving.version_policy import State
from gateway.transport.seam import Answer, Head, Stream, Unary
from gateway.types import ModelRef
from gateway.v1.health import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse

_SERVER = ("", actions.INFERENCE)
_POLL_S = 0.2


class Health:
    """Check, List and Watch. ``ready`` says whether this worker can serve."""

    def __init__(self, governed: Governed, models: Models, *, ready: Callable[[], bool], public: bool) -> None:
        self._governed = governed
        self._models = models
        self._ready = ready
        self._public = public
        self._server = governed.public(HealthCheckRequest, lambda _: _answer(ready()))
        self._decided = governed.unary(
            actions.HEALTH_CHECK, HealthCheckRequest, self._check_answer, ref=_model, resolve=False
        )

    def unary(self) -> dict[str, Unary]:
        """Handlers by method name."""
        listing = self._governed.unary(actions.HEALTH_LIST, HealthListRequest, self._list_answer)
        return {"Check": self._check, "List": listing}

    def stream(self) -> dict[str, Stream]:
        """Handlers by method name."""
        return {"Watch": self._watch}

    async def _check(self, head: Head, body: bytes) -> Answer:
        if self._public and _names_server(body):
            return await self._server(head, body)
        return await self._decided(head, body)

    def _check_answer(self, asked: Asked[HealthCheckRequest]) -> HealthCheckResponse:
        serving = self._serving(asked.request.service)
        if serving is None:
            raise NotFound(f"unknown service '{asked.request.service}'")
        return _answer(serving)

    async def _list_answer(self, asked: Asked[HealthListRequest]) -> HealthListResponse:
        refs = sorted({ModelRef(row.name) for row in self._models.index()}, key=str)
        names = sorted(ref.name for ref in await self._governed.gate.visible(asked.context, refs))
        response = HealthListResponse()
        for name in (*_SERVER, *names):
            response.statuses[name].CopyFrom(_answer(self._serving(name) or False))
        return response

    async def _watch(self, head: Head, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The status now and after every change, for as long as the caller listens."""
        body = await anext(messages, b"")
        asked = self._governed.context(head, actions.HEALTH_WATCH, len(body))
        try:
            request = parse(HealthCheckRequest, body)
            if not (self._public and request.service in _SERVER):
                await self._governed.gate.run(asked, _model(request), lambda _: b"", resolve=False)
        except Exception as error:
            raise refusal(error, call_id=asked.call_id, trace_id=asked.trace.trace_id) from error
        told: bytes | None = None
        while True:
            now = _watched(self._serving(request.service)).SerializeToString()
            if now != told:
                told = now
                yield now
            await asyncio.sleep(_POLL_S)

    def _serving(self, service: str) -> bool | None:
        """Whether ``service`` serves; None when there is none of that name."""
        if service in _SERVER:
            return self._ready()
        states = [row.state for row in self._models.index() if row.name == service]
        return State.READY in states if states else None


def _names_server(body: bytes) -> bool:
    try:
        return parse(HealthCheckRequest, body).service in _SERVER
    except Unparsable:
        return False


def _model(request: HealthCheckRequest) -> ModelRef | None:
    return None if request.service in _SERVER else ModelRef(request.service)


def _answer(serving: bool) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)


def _watched(serving: bool | None) -> HealthCheckResponse:
    return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN) if serving is None else _answer(serving)
