"""The admin API: HTTP on the admin socket, JSON lines out, problems as RFC 9457 objects.

Owns: routes, parsing of requests, the shape of answers. Never does: decide or supervise; it asks a ``Server``.
aiohttp is imported here, and this module only after the services have been started.
"""

import hmac
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from aiohttp import web

from mta.attendant.fanout import EDITS, Fanout, http_status
from mta.errors import MtaError, UsageError

Row = dict[str, Any]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Octets of rows that are joined to one write.
WRITE_SIZE = 32 << 10
#: Octets of a request; a list of ids is the largest.
REQUEST_LIMIT = 4 << 20
LINES = "application/x-ndjson"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
FILTERS = ("domain", "sender", "recipient", "limit", "after")
#: What a probe may read without a token.
OPEN_PATHS = ("/healthz", "/readyz")


class Server(Protocol):
    """What the API shows and steers."""

    fanout: Fanout

    def status(self) -> Row: ...

    def ready(self) -> bool: ...

    def metrics(self) -> bytes: ...

    async def act(self, name: str, action: str) -> None:
        """``stop start restart`` of a service. Raises MtaError."""

    def ask(self, name: str, verb: str, args: Row) -> AsyncIterator[Row]:
        """What the service ``name`` answers. Raises MtaError."""


def application(server: Server, token: str) -> web.Application:
    """``token`` "": the socket's file mode is the guard."""
    app = web.Application(middlewares=[_guard(token)], client_max_size=REQUEST_LIMIT)
    api = _Api(server)
    app.add_routes(
        [
            web.get("/metrics", api.metrics),
            web.get("/healthz", api.health),
            web.get("/readyz", api.readiness),
            web.get("/api/v1/status", api.status),
            web.post("/api/v1/services/{name}/{action:stop|start|restart}", api.act),
            web.get("/api/v1/queue", api.list),
            web.get("/api/v1/queue/stats", api.stats),
            web.post(f"/api/v1/queue/{{verb:{'|'.join(EDITS)}}}", api.edit),
            web.get("/api/v1/queue/{id}", api.show),
            web.get("/api/v1/queue/{id}/content", api.content),
            web.get("/api/v1/why/{id}", api.why),
            web.get("/api/v1/audit", api.audit),
            web.post("/api/v1/{service:directory|store}/{verb}", api.ask),
        ]
    )
    return app


def problem(title: str, status: int, exit_code: int) -> web.Response:
    """RFC 9457, with the exit code that a command should end with."""
    body = {"type": "about:blank", "title": title.split("\n")[0], "status": status, "exit": exit_code}
    if "\n" in title:
        body["detail"] = title
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/problem+json")


def _guard(token: str) -> Any:
    """Checks the token; turns errors of ours into problems."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if token and request.path not in OPEN_PATHS and not hmac.compare_digest(given.encode(), token.encode()):
            response = problem("a bearer token is needed: the text of admin.token_file", 401, os.EX_NOPERM)
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        try:
            return await handler(request)
        except MtaError as e:
            return problem(str(e), http_status(e), e.exit_code)
        except web.HTTPException as e:
            return problem(f"{request.method} {request.path}: {e.reason}", e.status, os.EX_USAGE)

    return guard


class _Api:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._server.metrics(), headers={"Content-Type": METRICS})

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(self, request: web.Request) -> web.Response:
        ready = self._server.ready()
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def status(self, request: web.Request) -> web.Response:
        return _one(self._server.status())

    async def act(self, request: web.Request) -> web.Response:
        await self._server.act(request.match_info["name"], request.match_info["action"])
        return _one(self._server.status())

    async def list(self, request: web.Request) -> web.StreamResponse:
        return await _lines(request, self._server.fanout.listed(_filters(request)))

    async def stats(self, request: web.Request) -> web.Response:
        rows = await self._server.fanout.stats()
        return web.Response(body=b"".join(msgspec.json.encode(row) + b"\n" for row in rows), content_type=LINES)

    async def show(self, request: web.Request) -> web.Response:
        return await self._first("queue.show", request)

    async def why(self, request: web.Request) -> web.StreamResponse:
        return await _lines(request, self._server.fanout.about("why", request.match_info["id"]))

    async def audit(self, request: web.Request) -> web.Response:
        return _one(await self._server.fanout.audit())

    async def edit(self, request: web.Request) -> web.StreamResponse:
        return await _lines(request, self._server.fanout.edit(request.match_info["verb"], await _body(request)))

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """A verb of the directory or the store; the body has its arguments."""
        path = request.match_info
        return await _lines(request, self._server.ask(path["service"], path["verb"], await _body(request)))

    async def content(self, request: web.Request) -> web.StreamResponse:
        async with aclosing(self._chunks(request.match_info["id"])) as chunks:
            first = await anext(chunks, b"")
            response = web.StreamResponse(headers={"Content-Type": "message/rfc822"})
            await response.prepare(request)
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
            return response

    async def _chunks(self, queue_id: str) -> AsyncGenerator[bytes, None]:
        async for row in self._server.fanout.about("queue.cat", queue_id):
            yield msgspec.convert(row["content"], bytes)

    async def _first(self, verb: str, request: web.Request) -> web.Response:
        rows = [row async for row in self._server.fanout.about(verb, request.match_info["id"])]
        return _one(rows[0])


async def _body(request: web.Request) -> Row:
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=dict[str, Any])
    except msgspec.DecodeError as e:
        raise UsageError(f"the request's body is not a JSON object: {e}") from e


def _filters(request: web.Request) -> Row:
    """The query string. Raises UsageError for what is no filter."""
    args: Row = dict(request.query)
    for name in args:
        if name not in FILTERS:
            raise UsageError(f"{name!r} is no filter: {', '.join(FILTERS)}")
    if "limit" in args:
        if not args["limit"].isdecimal():
            raise UsageError(f"limit={args['limit']} is not a number")
        args["limit"] = int(args["limit"])
    return args


def _one(row: Row) -> web.Response:
    return web.Response(body=msgspec.json.encode(row) + b"\n", content_type="application/json")


async def _lines(request: web.Request, rows: AsyncIterator[Row]) -> web.StreamResponse:
    """JSON lines while they come. An error before the first row is a problem of its own; a later one is the last
    line, ``{"problem": {"title", "exit"}}``."""
    ahead = await anext(rows, None)
    response = web.StreamResponse(headers={"Content-Type": LINES})
    await response.prepare(request)
    buffer = bytearray()
    try:
        try:
            while ahead is not None:
                buffer += msgspec.json.encode(ahead) + b"\n"
                if len(buffer) >= WRITE_SIZE:
                    await response.write(bytes(buffer))
                    buffer.clear()
                ahead = await anext(rows, None)
        except MtaError as e:
            buffer += msgspec.json.encode({"problem": {"title": str(e), "exit": e.exit_code}}) + b"\n"
        await response.write(bytes(buffer))
        await response.write_eof()
    except ConnectionError:
        pass  # the reader has seen enough, as with `mta queue list | head`
    return response
