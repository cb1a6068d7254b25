"""The admin HTTP of the observer: metrics, health, version, configuration. Loopback by default; no secrets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.observer.catch_up import CatchingUp
from gateway.observer.openmetrics import OPENMETRICS, PLAIN, wants_openmetrics
from gateway.observer.readiness import Readiness
from gateway.observer.redact import redacted

PAGES = ("/metrics", "/livez", "/readyz", "/readyz?verbose", "/version", "/config")


def admin_app(
    *,
    metrics: Callable[[bool], bytes],
    readiness: Callable[[], Readiness],
    version: Mapping[str, str],
    config: Mapping[str, object],
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application. ``metrics(openmetrics)`` renders a scrape, ``config`` is shown redacted, ``routes`` are
    served beside ours. All handlers run on the observer's loop, so a scrape sees whole folds."""

    async def get_index(request: Request) -> Response:
        return PlainTextResponse("".join(f"{path}\n" for path in PAGES))

    async def get_metrics(request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        try:
            text = metrics(openmetrics)
        except CatchingUp as error:
            return PlainTextResponse(f"{error}\n", 503, {"retry-after": "1"})
        return Response(text, headers={"content-type": OPENMETRICS if openmetrics else PLAIN})

    async def get_livez(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def get_readyz(request: Request) -> Response:
        state = readiness()
        status = 200 if state.ready else 503
        if "verbose" in request.query_params:
            return _json({"ready": state.ready, "checks": state.checks}, status)
        failed = "; ".join(f"{check.name}: {check.detail}" for check in state.checks if not check.ok)
        return PlainTextResponse("ok\n" if state.ready else f"not ready: {failed}\n", status)

    async def get_version(request: Request) -> Response:
        return _json(version)

    async def get_config(request: Request) -> Response:
        return _json(redacted(config))

    return Starlette(
        routes=[
            Route("/", get_index),
            Route("/metrics", get_metrics),
            Route("/livez", get_livez),
            Route("/readyz", get_readyz),
            Route("/version", get_version),
            Route("/config", get_config),
            *routes,
        ]
    )


def _json(value: object, status: int = 200) -> Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(body, status, media_type="application/json")


class AdminServer(uvicorn.Server):
    """uvicorn in someone else's loop: it leaves the process's signals alone, which its own ``serve`` takes over
    and raises again at exit, so that our drain would never run."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def admin_server(app: Starlette) -> AdminServer:
    """A server for ``app``; ``serve(sockets=[listen(...)])`` runs it and ``should_exit = True`` ends it."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=1
    )
    return AdminServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``port`` 0 takes a free one.

    Raises: OSError that names the address, when it cannot be bound.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server = socket.socket(family, kind, proto)
    except OSError as error:
        raise OSError(error.errno, f"admin address {host}:{port}: {error.strerror or error}") from error
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(128)
    except OSError as error:
        server.close()
        raise OSError(error.errno, f"admin address {host}:{port}: {error.strerror or error}") from error
    return server
