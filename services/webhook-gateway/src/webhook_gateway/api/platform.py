"""The platform API: forwards every call of `contracts.routes` to its owner and adds no rule."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote

import httpx
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from contracts.http.auth import ATTEMPT_COOKIE, HOST_ATTEMPT_COOKIE
from contracts.routes import IDEMPOTENCY_KEY, ROUTES, Route
from contracts.values import WEBHOOK_GATEWAY
from servicekit.context import current_flow
from servicekit.errors import NotFound, ServiceError, Unavailable
from servicekit.http.auth import sign_user
from servicekit.http.edge import CORRELATION_HEADER, REPEATABLE
from webhook_gateway.domain.owners import RETRY_AFTER_SECONDS, Absence, sentence
from webhook_gateway.errors import OwnerTooSlow
from webhook_gateway.identity.bearer import Signed
from webhook_gateway.resources import Wired

log = structlog.get_logger(__name__)

COOKIES: Final = (ATTEMPT_COOKIE, HOST_ATTEMPT_COOKIE)
"""The only cookies that pass, both ways; the owner decides which of the two it sets and reads."""
_ATTEMPT: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
REQUEST_HEADERS: Final = (
    "accept",
    "accept-language",
    "content-type",
    IDEMPOTENCY_KEY.lower(),
    "if-match",
    "if-none-match",
    "traceparent",
    "tracestate",
)
RESPONSE_HEADERS: Final = (
    "cache-control",
    "content-disposition",
    "content-language",
    "content-type",
    "etag",
    "location",
    "retry-after",
    "www-authenticate",
)
WRITE_TIMEOUT_FACTOR = 3

Endpoint = Callable[[Request, Signed, Wired], Awaitable[Response]]


def make_router() -> APIRouter:
    """One route for each entry of the table that another service answers; `api.openapi` documents them."""
    router = APIRouter(include_in_schema=False)
    for route in (route for route in ROUTES if route.owner != WEBHOOK_GATEWAY):
        router.add_api_route(route.path, _forward(route), methods=[route.method], name=f"{route.method} {route.path}")
    return router


def _forward(route: Route) -> Endpoint:
    async def forward(request: Request, caller: Signed, wired: Wired) -> Response:
        settings = wired.settings
        reads = route.method == "GET"
        passed = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
        headers = httpx.Headers(passed, encoding="latin-1")  # as decoded before, so every byte passes unchanged
        headers["authorization"] = f"Bearer {sign_user(settings, route.owner, caller.identity)}"
        headers[CORRELATION_HEADER] = current_flow().correlation_id
        # Bodies pass unchanged; httpx would have to undo an owner's compression.
        headers["accept-encoding"] = "identity"
        # Quoting can hide line ends and semicolons in a cookie: only values in the form of our secrets pass.
        sent = {name: request.cookies.get(name, "") for name in COOKIES}
        if kept := [f"{name}={value}" for name, value in sent.items() if _ATTEMPT.fullmatch(value)]:
            headers["cookie"] = "; ".join(kept)
        outgoing = wired.http.build_request(
            route.method,
            settings.owner_urls[route.owner] + _path(route, request.path_params),
            # Unparsed: the owner validates the query.
            params=request.url.query.encode() or None,
            content=None if reads else await request.body(),
            headers=headers,
            timeout=settings.owner_timeout_seconds * (1 if reads else WRITE_TIMEOUT_FACTOR),
        )
        answer = await send(wired.http, outgoing, route, stream=route.media is not None)
        return passed_on(answer)

    return forward


def _path(route: Route, values: Mapping[str, str]) -> str:
    """The owner's path. A dot segment is refused: it could lead to another path of the owner."""
    if any(value in {".", ".."} for value in values.values()):
        raise NotFound("There is nothing at this address.")
    return route.path.format(**{name: quote(value, safe="") for name, value in values.items()})


async def send(
    http: httpx.AsyncClient, outgoing: httpx.Request, route: Route, *, stream: bool = False
) -> httpx.Response:
    """The owner's answer. Unavailable, or OwnerTooSlow, without one."""
    owner, reads = route.owner, route.method == "GET"
    harmless = reads or (route.keyed and IDEMPOTENCY_KEY in outgoing.headers)
    safe = harmless or route.method in REPEATABLE
    try:
        try:
            return await http.send(outgoing, stream=stream)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # The owner closed a pooled connection at that moment. A write without a key is never repeated.
            if not harmless:
                raise
            return await http.send(outgoing, stream=stream)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise _absent(Absence(owner, reads, reached=False), error) from error
    except httpx.TimeoutException as error:
        raise _absent(Absence(owner, reads, reached=True, slow=True, safe=safe), error) from error
    except httpx.TransportError as error:
        raise _absent(Absence(owner, reads, reached=True, safe=safe), error) from error


def _absent(absence: Absence, error: httpx.TransportError) -> ServiceError:
    log.warning("owner did not answer", owner=absence.owner, error=type(error).__name__)
    if absence.slow:
        return OwnerTooSlow(sentence(absence), owner=absence.owner)
    repeat = not absence.reached or absence.safe
    return Unavailable(sentence(absence), retry_after=RETRY_AFTER_SECONDS if repeat else None, owner=absence.owner)


def passed_on(answer: httpx.Response) -> Response:
    """An owner's answer with the headers that pass."""
    response: Response
    if answer.is_closed:
        response = Response(answer.content, answer.status_code)
    else:
        # Streamed, so that no file is held in memory. An early end of the owner's answer ends the browser's too.
        response = StreamingResponse(_as_it_comes(answer), answer.status_code)
    for name in RESPONSE_HEADERS:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    for line in answer.headers.get_list("set-cookie"):
        if _cookie_name(line) in COOKIES:
            response.headers.append("set-cookie", line)
    return response


async def _as_it_comes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


def _cookie_name(line: str) -> str | None:
    try:
        return next(iter(SimpleCookie(line)), None)
    except CookieError:
        return None
