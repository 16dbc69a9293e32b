"""The HTTP edge: raw ASGI in front of the products, because FastAPI's routing would cost more than they do.

Order per request: fault scripts → User-Agent → authentication → rate limit → scope → product → headers → journal.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import select
import socket
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.requests import Request

from pco_simulator import current, uploads
from pco_simulator.calendar import api as calendar
from pco_simulator.control import control_api
from pco_simulator.exchange import HTML, JSON, ApiRequest, ApiResponse, Caller
from pco_simulator.faults import (
    ChangeSettings,
    EndToken,
    Hit,
    Hold,
    Latency,
    Mutate,
    Omit,
    Refuse,
    Reset,
    Respond,
    TooManyRequests,
    Truncate,
    When,
)
from pco_simulator.journal import WRITES, Entry, kind_of
from pco_simulator.jsonapi import Refused, with_surrogates
from pco_simulator.oauth import OAuth
from pco_simulator.pacing import Verdict
from pco_simulator.pages.human import pages
from pco_simulator.people import api as people
from pco_simulator.simulator import Simulator
from pco_simulator.tokens import Token
from pco_simulator.webhooks import api as webhooks

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

TRANSPORT_EXTENSION = "pco_simulator.transport"
"""ASGI extension of `server.Protocol`: the connection's transport, so that a fault can break it."""

_PROCESSOR = "ENG_2.2.4"
_UNLIMITED = 1_000_000
_MAX_BODY = 10 * 1024 * 1024
_BODY_KEPT = 16 * 1024
_BODY_NOT_KEPT = ("/oauth/", uploads.PATH)
_NOT_FOUND = orjson.dumps(
    {"errors": [{"status": "404", "title": "Not Found", "detail": "The resource you requested could not be found"}]}
)
_HTML_404 = b"<!DOCTYPE html>\n<html>\n  <head>\n    <title>404</title>\n  </head>\n  <body>404</body>\n</html>\n"
_CORS = [
    (b"access-control-allow-credentials", b"true"),
    (
        b"access-control-allow-headers",
        b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Unmodified-Since,"
        b" Origin, X-Requested-With, X-CSRF-Token, X-PCO-API-Version, X-PCO-API-Log-Level, X-PCO-API-Tracer-Class,"
        b" X-PCO-API-Tracer-Secret",
    ),
    (b"access-control-allow-methods", b"GET, POST, PATCH, PUT, DELETE, OPTIONS"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Link, X-PCO-API-Auth-Method"),
    (b"vary", b"Accept, Accept-Encoding, Origin"),
]
"""Headers of every answer of a product, JSON errors included (recorded by pypco's cassettes)."""
_CORS_OF_EDGE = [
    (b"vary", b"Accept-Encoding"),
    *((name, value.partition(b", X-PCO-API-Log-Level")[0]) for name, value in _CORS),
]
"""Headers of the 404 of an unknown path, which allows fewer of them (recorded by pypco's cassettes)."""
_GENERIC_AGENT_NAMES = """
    aiohttp apache-httpclient authlib axios curl faraday go-http-client guzzlehttp insomnia java libwww-perl node
    node-fetch okhttp php postmanruntime python python-httpx python-requests python-urllib python-urllib3
    rest-client ruby undici wget
"""
_GENERIC_AGENTS = frozenset(_GENERIC_AGENT_NAMES.split())
_PRODUCT_SCOPES: dict[str, frozenset[str]] = {
    "people": frozenset({"people"}),
    "calendar": frozenset({"calendar"}),
    "current": frozenset(),
    "webhooks": frozenset({"webhooks"}),
}
_PRODUCTS: dict[str, Callable[[Any, ApiRequest], ApiResponse]] = {
    "people": people.handle,
    "calendar": calendar.handle,
    "current": current.handle,
    "webhooks": webhooks.handle,
}


_OPENED: dict[str, Callable[[Any, Caller], bool]] = {"people": people.is_open_to, "calendar": calendar.is_open_to}
"""Whether a person may open a product."""


_PAGES = ("/churches/", "/people/AC", "/households/", "/events/")
"""Paths of pages for humans; none of them is one of the API."""


class _Connection(Exception):
    """A fault script resets the connection."""


class _Gone(Exception):
    """The client closed its connection."""


@dataclass(slots=True)
class _Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    announced: int | None = None
    """Content-Length, where a fault script announces another than the body's."""


@dataclass(slots=True)
class _Call:
    """One request on its way through the pipeline."""

    scope: Scope
    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes
    at: datetime
    token: Token | None = None
    caller: Caller | None = None
    groups: tuple[str, ...] = ()
    created_id: str | None = None
    refused: TooManyRequests | None = None
    refusal: Refused | None = None
    """A fault script's refusal, answered in place of the product."""
    faults: list[str] = field(default_factory=list)


class Edge:
    """The ASGI application."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator
        self._oauth = OAuth(simulator.world, simulator.store, simulator.settings, simulator.public_url)
        self._control: Any = control_api(simulator)
        self._pages: Any = pages(simulator)
        self._jitter = random.Random(0)  # noqa: S311 - how long to wait, not a secret
        self._agents: dict[bytes, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith("/_sim/") or path == "/_sim":
            await self._control(scope, receive, send)
        elif path in {"/", "/favicon.ico"} or path.startswith(_PAGES):
            await self._pages(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    def release(self) -> None:
        """Release every request that a script holds."""
        self._sim.faults.clear()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        tasks = [
            asyncio.create_task(self._sim.edit_in_the_background()),
            asyncio.create_task(self._sim.webhooks.deliver()),
        ]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._sim.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        seq = self._sim.journal.arrive()
        call = _Call(
            scope,
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            dict(scope["headers"]),
            b"",
            self._sim.world.clock.now(),
        )
        answer: _Answer | None = None
        try:
            call.body = await _read_body(receive) if call.method in WRITES else b""
            answer = await self._answer(call, receive)
        except _Connection:
            _reset(scope)
            await _disconnected(receive)
        except _Gone:
            pass  # the client is gone, which the journal records as status 0
        finally:
            self._record(call, seq, answer, started)
        if answer is not None:
            if answer.announced is None:
                answer.body = with_surrogates(answer.body)
            await _send(scope, receive, send, answer)

    async def _answer(self, call: _Call, receive: Receive) -> _Answer:
        settings = self._sim.settings
        self._identify(call)
        hits = self._sim.faults.hits(call.method, call.path, unquote(call.query), call.caller)
        half = self._latency(settings.latency_ms, settings.latency_jitter_ms) / 2
        if half:
            await asyncio.sleep(half)
        early = await self._act(hits, "before", call, receive) if hits else None
        if early is None:
            answer = await self._process(call)
            if hits:
                answer = await self._after(hits, call, receive, answer)
        else:
            answer = early
        if half:
            await asyncio.sleep(half)
        return answer

    # -- fault scripts --------------------------------------------------------------------------------------

    async def _act(self, hits: list[Hit], when: When, call: _Call, receive: Receive) -> _Answer | None:
        """Run the actions due at `when`; gives the answer that replaces the real one, if an action made it."""
        for hit in hits:
            action = hit.action
            if not _is_due(hit, when, call):
                continue
            call.faults.append(hit.label)
            match action:
                case Latency():
                    await asyncio.sleep(self._latency(action.ms, action.jitter_ms))
                case Hold():
                    await _hold(hit, call.scope, receive)
                case Reset():
                    raise _Connection
                case Respond():
                    return _scripted(action)
                case TooManyRequests():
                    call.refused = action
                case Refuse():
                    call.refusal = action.refusal(call.body)
                case ChangeSettings():
                    self._sim.change_settings(action.values)
                case EndToken():
                    self._end_tokens(action, call)
                case Mutate():
                    self._mutate(hit, action, call)
        return None

    async def _after(self, hits: list[Hit], call: _Call, receive: Receive, answer: _Answer) -> _Answer:
        answer = await self._act(hits, "after", call, receive) or answer
        for hit in hits:
            if isinstance(hit.action, Truncate):
                call.faults.append(hit.label)
                kept = answer.body[: int(len(answer.body) * hit.action.keep)]
                whole = len(answer.body) if hit.action.mode == "connection" else None
                answer = _Answer(answer.status, answer.headers, kept, whole)
            elif isinstance(hit.action, Omit) and answer.announced is None:
                answer = _omitted(hit, hit.action, call, answer)
        return answer

    def _end_tokens(self, action: EndToken, call: _Call) -> None:
        if call.token is None:
            return
        store = self._sim.store
        tokens = [token for token in store.tokens_of(call.token.grant_id) if action.which in {"both", token.kind}]
        if action.op == "revoke":
            store.revoke(tokens)
        else:
            store.expire(tokens)

    def _mutate(self, hit: Hit, action: Mutate, call: _Call) -> None:
        fallback = next(iter(self._sim.world.organizations))
        organization_id = call.caller.organization_id if call.caller else fallback
        for mutation in action.mutations:
            try:
                self._sim.mutator.apply(mutation, organization_id, hit.groups)
            except (KeyError, ValueError) as error:
                call.faults.append(f"mutation failed: {error}")

    def _latency(self, ms: int, jitter_ms: int) -> float:
        return (ms + (self._jitter.random() * jitter_ms if jitter_ms else 0)) / 1000

    # -- the work -------------------------------------------------------------------------------------------

    async def _process(self, call: _Call) -> _Answer:
        endpoint = self._oauth.route(call.method, call.path)
        if endpoint is not None:
            response = await endpoint(Request(call.scope, _replay(call.body)))
            return _Answer(response.status_code, list(response.raw_headers), bytes(response.body))
        if call.path.startswith(("/oauth/", "/.well-known/")):
            return _plain(404, HTML, _HTML_404)
        if call.method == "OPTIONS":
            # A browser's preflight carries no credentials (unconfirmed, though OPTIONS is
            # among the methods the vendor's answers allow).
            return _plain(200, JSON, b"", _CORS)
        if call.path == uploads.PATH and call.method == "POST":
            return await self._upload(call)
        return self._api(call)

    async def _upload(self, call: _Call) -> _Answer:
        refused = self._stranger(call)
        if refused is not None:
            return refused
        response = await uploads.receive(Request(call.scope, _replay(call.body)), self._sim.world.clock.now())
        return _Answer(response.status_code, list(response.raw_headers), bytes(response.body))

    def _api(self, call: _Call) -> _Answer:
        refused = self._stranger(call)
        caller = call.caller
        if refused is not None or caller is None:
            return refused or self._denied("unknown")
        query = tuple(parse_qsl(call.query, keep_blank_values=True)) if call.query else ()
        verdict = self._sim.pacer.count((caller.organization_id, caller.person_id), _offset(query))
        if call.refused is not None:
            return self._refusal(verdict, call.refused.retry_after)
        if verdict.retry_after is not None:
            return self._refusal(verdict, verdict.retry_after)
        name = call.path.split("/", 2)[1]
        product = _PRODUCTS.get(name)
        if product is None:
            if call.method == "PUT":
                return _plain(404, HTML, _HTML_404)
            return _plain(404, JSON, _NOT_FOUND, [*self._rate_headers(verdict, edge=True), *_CORS_OF_EDGE])
        needed = _PRODUCT_SCOPES[name]
        if needed and not needed & caller.scopes:
            return self._denied("scope")
        opens = _OPENED.get(name) if self._sim.settings.error_hints else None
        if opens is not None and not opens(self._sim.world, caller):
            return self._denied("product")
        if call.refusal is None:
            response = product(self._sim.world, self._request(call, caller, query))
        else:
            response = call.refusal.response()
        if response.status == 201:
            call.created_id = _created_id(response.body)
        return self._dressed(call, caller, response, verdict)

    def _stranger(self, call: _Call) -> _Answer | None:
        """The refusal of a caller without a User-Agent or valid credentials."""
        if self._sim.settings.require_user_agent and not self._is_descriptive(call.headers.get(b"user-agent", b"")):
            return _plain(403, HTML, b"")
        if call.token is not None and call.token.state() != "live":
            return self._denied("expired" if call.token.state() == "expired" else "revoked")
        caller = call.caller
        if caller is None:
            return self._denied("unknown")
        if self._sim.world.login(caller.organization_id, caller.person_id) is None:
            return self._denied("gone")
        return None

    def _request(self, call: _Call, caller: Caller, query: tuple[tuple[str, str], ...]) -> ApiRequest:
        version = call.headers.get(b"x-pco-api-version")
        host = call.headers.get(b"host", b"localhost").decode("latin-1")
        return ApiRequest(
            method=call.method,
            path=call.path,
            query=query,
            body=call.body,
            version=version.decode("latin-1") if version is not None else None,
            caller=caller,
            now=self._sim.world.clock.now(),
            base_url=f"{call.scope['scheme']}://{host}",
        )

    def _dressed(self, call: _Call, caller: Caller, response: ApiResponse, verdict: Verdict) -> _Answer:
        """An answer with the vendor's headers; the HTML 404 carries none of them (recorded by pypco's cassettes)."""
        if response.status == 404 and response.content_type == HTML:
            return _plain(404, HTML, response.body)
        headers = [
            (b"x-request-id", str(uuid.uuid4()).encode()),
            (b"x-pco-api-auth-method", caller.auth_method.encode()),
            (b"x-pco-api-processor", _PROCESSOR.encode()),
            *self._rate_headers(verdict, edge=False),
            *_CORS,
        ]
        if response.body:
            headers.append((b"content-type", response.content_type.encode()))
        if response.status in {200, 201}:
            etag = _etag(response.body)
            headers += [(b"etag", etag), (b"cache-control", b"max-age=0, private, must-revalidate")]
            if call.method in {"GET", "HEAD"} and etag in call.headers.get(b"if-none-match", b""):
                # As Rails does, which the vendor's other headers show (unconfirmed).
                response = ApiResponse(304, headers=response.headers)
        else:
            headers.append((b"cache-control", b"no-cache"))
        headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        return _Answer(response.status, headers, response.body)

    # -- authentication, rate limit, scope ------------------------------------------------------------------

    def _identify(self, call: _Call) -> None:
        """Find token and caller; they are authorized after the fault scripts, which may end the token."""
        scheme, _, value = call.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            token = self._sim.store.token(value.strip())
            if token is not None and token.kind == "access":
                call.token = token
                call.caller = self._sim.store.caller_by_grant(token.grant_id)
        elif scheme.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:
                return
            call.caller = self._sim.store.caller_by_basic(client_id, secret)

    def _is_descriptive(self, agent: bytes) -> bool:
        known = self._agents.get(agent)
        if known is None:
            known = _is_descriptive(agent.decode("latin-1"))
            if len(self._agents) < 1_000:
                self._agents[agent] = known
        return known

    def _denied(self, reason: str) -> _Answer:
        """401 and 403 of the edge; with hints on, the vendor's animal stands in `code`."""
        status, hint, description = _DENIALS[reason]
        headers = []
        if reason in {"expired", "revoked"}:
            challenge = f'Bearer realm="Doorkeeper", error="invalid_token", error_description="{description}"'
            headers.append((b"www-authenticate", challenge.encode()))
        if status == 403:
            error = {"status": "403", "title": "Forbidden", "detail": "You do not have access to this resource"}
        elif self._sim.settings.error_hints:
            error = {"status": "401", "title": "Unauthorized", "detail": description}
        else:
            return _plain(status, HTML, b"", headers)
        if self._sim.settings.error_hints:
            error["code"] = hint
        return _plain(status, JSON, orjson.dumps({"errors": [error]}), headers)

    def _refusal(self, verdict: Verdict, retry_after: int) -> _Answer:
        limit = verdict.limit or _UNLIMITED
        detail = f"Rate limit exceeded: {verdict.count} of {limit} requests per {verdict.period} seconds"
        body = {"errors": [{"code": "429", "title": "Too Many Requests", "detail": detail}]}
        headers = [(b"retry-after", str(retry_after).encode()), *self._rate_headers(verdict, edge=True)]
        return _plain(429, JSON, orjson.dumps(body), headers)

    def _rate_headers(self, verdict: Verdict, *, edge: bool) -> list[tuple[bytes, bytes]]:
        style = self._sim.settings.rate_period_style
        words = style == "words" or (style == "recorded" and edge)
        period = f"{verdict.period} seconds" if words else str(verdict.period)
        return [
            (b"x-pco-api-request-rate-limit", str(verdict.limit or _UNLIMITED).encode()),
            (b"x-pco-api-request-rate-period", period.encode()),
            (b"x-pco-api-request-rate-count", str(verdict.count).encode()),
        ]

    def _record(self, call: _Call, seq: int, answer: _Answer | None, started: float) -> None:
        caller = call.caller
        kept = call.body if call.body and not call.path.startswith(_BODY_NOT_KEPT) else None
        self._sim.journal.record(
            Entry(
                seq=seq,
                at=call.at,
                method=call.method,
                path=call.path,
                query=call.query,
                kind=kind_of(call.method, call.path),
                status=answer.status if answer is not None else 0,
                duration_ms=round((time.perf_counter() - started) * 1000, 3),
                organization_id=caller.organization_id if caller else None,
                person_id=caller.person_id if caller else None,
                client_id=caller.client_id if caller else None,
                faults=call.faults,
                body=kept[:_BODY_KEPT].decode("utf-8", "replace") if kept is not None else None,
                created_id=call.created_id,
            )
        )


_DENIALS = {
    "expired": (401, "BABOON", "The access token expired"),
    "revoked": (401, "CAPUCHIN", "The access token was revoked"),
    "unknown": (401, "CHINCHILLA", "The credentials are unknown"),
    "gone": (401, "FLAMINGO", "The user is gone"),
    "scope": (403, "PELICAN", ""),
    "product": (403, "TRASH_PANDA", ""),
}
"""Status, the vendor's hint (its documentation of errors), and a description."""


def _is_descriptive(agent: str) -> bool:
    """Whether a User-Agent names anything but a well-known HTTP library."""
    names = [word.partition("/")[0].lower() for word in agent.split() if not word.startswith(("(", "["))]
    return any(name and name not in _GENERIC_AGENTS for name in names)


def _offset(query: tuple[tuple[str, str], ...]) -> int:
    for name, value in query:
        if name == "offset" and value.isdecimal():
            return int(value)
    return 0


def _etag(body: bytes) -> bytes:
    # The cheapest digest where processors have SHA instructions; a page of people is a quarter of a megabyte.
    return b'W/"%b"' % hashlib.sha1(body, usedforsecurity=False).hexdigest()[:32].encode()


def _created_id(body: bytes) -> str | None:
    data = orjson.loads(body).get("data") if body else None
    return data.get("id") if isinstance(data, dict) else None


def _plain(status: int, content_type: str, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> _Answer:
    return _Answer(
        status,
        [
            (b"content-type", content_type.encode()),
            (b"x-request-id", str(uuid.uuid4()).encode()),
            *(headers or []),
        ],
        body,
    )


def _is_due(hit: Hit, when: When, call: _Call) -> bool:
    """Whether an action runs now; `Truncate` and `Omit` never do, since they change the finished answer."""
    action = hit.action
    if getattr(action, "when", "before") != when or isinstance(action, Truncate | Omit):
        return False
    return not isinstance(action, Refuse) or (action.concerns(call.body) and hit.script.count())


def _scripted(action: Respond) -> _Answer:
    headers = []
    if action.retry_after is not None:
        headers.append((b"retry-after", str(action.retry_after).encode()))
    if action.body == "empty":
        return _plain(action.status, HTML, b"", headers)
    title = action.title or _TITLES.get(action.status, "Error")
    if action.body == "html":
        page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
        return _plain(action.status, HTML, page.encode(), headers)
    error = {
        "status": str(action.status),
        "title": title,
        "detail": action.detail or _DETAILS.get(action.status, title),
    }
    if action.code is not None:
        error["code"] = action.code
    return _plain(action.status, JSON, orjson.dumps({"errors": [error]}), headers)


def _omitted(hit: Hit, action: Omit, call: _Call, answer: _Answer) -> _Answer:
    if answer.status not in {200, 201} or not answer.body.startswith(b"{"):
        return answer
    document = orjson.loads(answer.body)
    carried = action.carried(document)
    if not carried or not hit.script.count():
        return answer
    call.faults.append(hit.label)
    action.leave_out(document, carried)
    body = orjson.dumps(document)
    headers = [(name, _etag(body) if name == b"etag" else value) for name, value in answer.headers]
    return _Answer(answer.status, headers, body)


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Duplicate Record",
    422: "Validation Error",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


_DETAILS = {
    400: "Your request could not be processed",
    401: "This authenticated user does not have a record in this application.",
    403: "You do not have access to this resource",
    404: "The resource you requested could not be found",
    409: "The record you are trying to create/update already exists",
    500: "An internal server error occurred on our end and we've been notified."
    " Please contact support if the issue persists.",
}
"""The vendor's own words (its documentation; 500: planningcenter/developers#145, #471)."""


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > _MAX_BODY:
            raise _Connection
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _replay(body: bytes) -> Receive:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hold(hit: Hit, scope: Scope, receive: Receive) -> None:
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        if not await hit.script.hold(gone, lambda: _is_gone(scope)):
            raise _Gone if _is_gone(scope) else _Connection
    finally:
        gone.cancel()


def _is_gone(scope: Scope) -> bool:
    """Whether the peer has closed the connection, even before the event loop has reported it."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT_EXTENSION]
    if transport.is_closing():
        return True
    state = select.poll()
    state.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(state.poll(0))


def _reset(scope: Scope) -> None:
    """Break the connection with RST, as a lost peer or a balancer does."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT_EXTENSION]
    listed = transport.get_extra_info("socket")
    # uvloop's socket object refuses options; the duplicated descriptor is the same socket underneath.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listed.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _send(scope: Scope, receive: Receive, send: Send, answer: _Answer) -> None:
    length = answer.announced if answer.announced is not None else len(answer.body)
    headers = answer.headers
    if answer.status not in {204, 304}:
        headers = [
            *((name, value) for name, value in headers if name != b"content-length"),
            (b"content-length", str(length).encode()),
        ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.announced is not None:
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        transport: asyncio.Transport = scope["extensions"][TRANSPORT_EXTENSION]
        transport.close()
        await _disconnected(receive)
        return
    await send({"type": "http.response.body", "body": answer.body})
