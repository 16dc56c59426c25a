"""The routes of the server, and what every request passes through."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textgen.config import ServingOptions
from textgen.serving.completions import Completions
from textgen.serving.metrics import Metrics
from textgen.serving.models import Models, Served
from textgen.serving.requests import Refused
from textgen.serving.scheduler import Scheduler

COMPLETIONS = "/v1/completions"
PATHS = ("/", "/health", "/metrics", "/v1/models", COMPLETIONS)
OWN_NAMES = ("localhost", "127.0.0.1", "::1")
GONE = 499  # nginx's number for a client that went away
LOG = logging.getLogger("textgen.serving")


def make_app(models: Models, scheduler: Scheduler, options: ServingOptions) -> Starlette:
    """The application; the scheduler and the look-out for new files run while it does."""
    metrics = Metrics(scheduler)
    completions = Completions(models, scheduler, options, metrics)

    async def page(request: Request) -> Response:
        headers = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
        return HTMLResponse(models.first.loaded.page, headers=headers)

    async def listed(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [*map(_model, models.served.values())]})

    async def one(request: Request) -> Response:
        return JSONResponse(_model(completions.served(request.path_params["name"])))

    async def health(request: Request) -> Response:
        if not scheduler.is_alive():
            raise Refused("nothing is written any more", status=503, kind="server_error")
        return JSONResponse({"status": "ok"})

    async def figures(request: Request) -> Response:
        return Response(metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        scheduler.start()
        models.start()
        yield
        models.stop()
        await asyncio.to_thread(scheduler.stop)

    middleware = [Middleware(Gate, options=options, metrics=metrics)]
    if options.allow_origin:
        allowed: dict[str, Any] = {"allow_methods": ["GET", "POST"], "allow_headers": ["*"]}
        origins = list(options.allow_origin)
        middleware.insert(0, Middleware(CORSMiddleware, allow_origins=origins, **allowed))
    handlers: dict[Any, Any] = {Refused: _refused, HTTPException: _no_route}
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/health", health),
            Route("/metrics", figures),
            Route("/v1/models", listed),
            Route("/v1/models/{name}", one),
            Route(COMPLETIONS, completions.answer, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # behind a proxy it would lead to http
    return app


def _model(served: Served) -> dict[str, Any]:
    created = served.loaded.stamp[1] // 10**9
    return {"id": served.name, "object": "model", "created": created, "owned_by": "textgen"}


def _refused(request: Request, error: Refused) -> Response:
    return JSONResponse(error.body, error.status, headers=error.headers)


def _no_route(request: Request, error: HTTPException) -> Response:
    what = f"{request.method} {request.url.path[:100]}: {error.detail}"
    headers = dict(error.headers or {})
    return _refused(request, Refused(what, status=error.status_code, headers=headers))


class Gate:
    """Asks for the key, or for this machine's names, logs a line for each request, counts them.

    What the connection says of a request that the application did not answer is in its state as
    `answered`: the status.
    """

    def __init__(self, app: ASGIApp, options: ServingOptions, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._key = options.api_key.encode() if options.api_key else None
        self._hosts = {*OWN_NAMES, options.host.strip("[]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), GONE
        state = scope.setdefault("state", {})

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if not self._is_meant(scope):
                await self._misdirected()(scope, receive, noted)
            elif self._is_allowed(scope):
                await self._app(scope, receive, noted)
            else:
                await self._turn_away(scope)(scope, receive, noted)
        except ClientDisconnect:
            pass
        except Exception:
            LOG.exception("a request failed")
            if status == GONE:
                failed = Refused("the server failed", status=500, kind="server_error")
                await JSONResponse(failed.body, 500)(scope, receive, noted)
        finally:
            status = state.get("answered", status)
            seconds = time.monotonic() - begin
            path = scope["path"] if scope["path"] in PATHS else "other"
            if path == COMPLETIONS:
                self._metrics.seconds.observe(seconds)
            self._metrics.requests.labels(path, str(status)).inc()
            LOG.info("%s", _line(scope, status, seconds, state.get("note", {})))

    def _is_meant(self, scope: Scope) -> bool:
        """Whether the request is for this server by name: without a key, one of this machine.

        A page of another origin may have a name that leads here, and would read what it is sent.
        """
        given = Headers(scope=scope).get("host", "localhost")
        name = given.partition("]")[0][1:] if given.startswith("[") else given.partition(":")[0]
        return self._key is not None or name.lower() in self._hosts

    def _misdirected(self) -> ASGIApp:
        what = f"without a key requests are for {', '.join(sorted(self._hosts))} alone"
        return JSONResponse(Refused(what, status=421).body, 421)

    def _is_allowed(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] == "/health":
            return True
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        sent = given.strip().encode("utf-8", "replace")
        if kind.lower() == "basic":  # how a browser sends it, as a password
            try:
                sent = base64.b64decode(sent, validate=True).partition(b":")[2]
            except ValueError:
                sent = b""
        elif kind.lower() != "bearer":
            sent = b""
        return hmac.compare_digest(sent, self._key)

    def _turn_away(self, scope: Scope) -> ASGIApp:
        scheme = "Basic" if scope["path"] == "/" else "Bearer"
        headers = {"WWW-Authenticate": f'{scheme} realm="textgen"'}
        what = "the key is missing or not that of this server: Authorization: Bearer KEY"
        refused = Refused(what, status=401, code="invalid_api_key")
        return JSONResponse(refused.body, 401, headers=headers)


def _line(scope: Scope, status: int, seconds: float, note: dict[str, object]) -> str:
    """One line of log: who, what, the answer, how long it took, and what it came to."""
    client = (scope.get("client") or ("-",))[0]
    path = scope["raw_path"][:100].decode("ascii", "backslashreplace")
    more = "".join(f" {name}={value}" for name, value in note.items())
    return f"{client} {scope['method']} {path} {status} {seconds:.3f}s{more}"
