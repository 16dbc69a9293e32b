"""The edge of HTTP: size limits, unreadable text, correlation, one log line per request, problem documents."""

import json
import re
import time
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.routes import IDEMPOTENCY_KEY
from servicekit.context import current_flow, flow
from servicekit.errors import (
    Conflict,
    Invalid,
    Malformed,
    ServiceError,
    Unavailable,
    Unsupported,
    is_transient,
    sqlstate,
)
from servicekit.http.intake import Intake, Rules
from servicekit.http.wording import encodable, sentence
from servicekit.telemetry import METRICS

CLIENT_LEFT: Final = 499
"""Status for log and metrics: the caller disconnected before the body was complete."""
CORRELATION_HEADER: Final = "X-Correlation-ID"
_OPAQUE_ID: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""A UUID or as many hexadecimal digits, so that no caller can write names or addresses into our logs and messages as an
id.
"""
_SUSPECT_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_UNSTORABLE_TEXT: Final = "The text holds a character that does not exist: write it again."
_TOO_LONG: Final = "This took the database too long: ask for less, or try again in a few seconds."
_UNSTORABLE_FIELD: Final = "holds a character that does not exist: write it again"
"""Shown after the field's name."""
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MOST_NAMED: Final = 20
_LONGEST_PLACE: Final = 200
_CORRECT: Final = "Correct the fields named in `errors` and send it again."
_SEND_JSON: Final = "Send the body as JSON, with the header `Content-Type: application/json`."
_NO_UTF8: Final = "The body is not valid UTF-8: send JSON in UTF-8."
REPEATABLE: Final = ("GET", "HEAD", "PUT", "DELETE")
"""Methods that HTTP defines as idempotent."""
MAY_BE_MADE: Final = "Your change may or may not have been made."
_CANNOT_STORE_TEXT: Final = ("22021", "22P05")  # character not in repertoire, untranslatable character
_Place: TypeAlias = "tuple[_Place | None, str | int]"

log = structlog.get_logger(__name__)


def problem(error: ServiceError) -> JSONResponse:
    """A problem document (RFC 9457). `type` is relative: `/problems/<slug>`.

    `instance` is the correlation id, not the path, since callers may paste anything into an address.
    """
    document = {
        "type": f"/problems/{error.type}",
        "title": error.title,
        "status": error.status_code,
        "detail": error.detail,
        "instance": UUID(current_flow().correlation_id).urn,
        **error.extra,
    }
    return JSONResponse(document, error.status_code, error.headers, media_type="application/problem+json")


def _of_database(error: SQLAlchemyError) -> ServiceError | None:
    """The answer to the caller about a database error; None for an unexpected error."""
    if sqlstate(error) == "57014":
        log.warning("a query took too long", exc_info=error)
        return Unavailable(_TOO_LONG, slug="read-too-slow")
    if is_transient(error):
        log.warning("database away or busy", exc_info=error)
        return Unavailable("The database does not answer: try again in a few seconds.")
    if sqlstate(error) in _CANNOT_STORE_TEXT:
        return Invalid(_UNSTORABLE_TEXT)
    if sqlstate(error) == "23505":
        log.error("unique key broken", exc_info=error)
        return Conflict("Somebody else did the same at the same time: read again.")
    return None


def add_error_handlers(app: FastAPI) -> None:
    """Turn every error into a problem document."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, ServiceError):
            return problem(error)
        return _plain(request, error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        if isinstance(error.body, bytes):  # FastAPI parses a body only if its header says JSON
            return problem(Unsupported(_SEND_JSON))
        if any(item["type"] == "json_invalid" for item in problems):
            return problem(Malformed("The body is not valid JSON."))
        # No input values: they may be personal, or impossible to encode.
        errors = [
            {"field": encodable(".".join(map(str, item["loc"]))), "message": encodable(sentence(item))}
            for item in problems
        ]
        return problem(Invalid(_CORRECT, errors=errors))

    @app.exception_handler(SQLAlchemyError)
    async def _database(request: Request, error: SQLAlchemyError) -> JSONResponse:
        found = _of_database(error)
        if found is None:
            return _unexpected(error)
        return problem(_as_far_as_known(request, found))

    @app.exception_handler(UnicodeEncodeError)
    async def _unencodable(_: Request, __: UnicodeEncodeError) -> JSONResponse:
        return problem(Invalid(_UNSTORABLE_TEXT))

    @app.exception_handler(OSError)
    async def _away(request: Request, error: OSError) -> JSONResponse:
        log.warning("a peer is away", exc_info=error)
        return problem(
            _as_far_as_known(request, Unavailable("Something this answer needs is away: try again in a few seconds."))
        )


def _as_far_as_known(request: Request, error: ServiceError) -> ServiceError:
    """Suggest a retry only if it is harmless: either nothing was done, or the effect cannot happen twice."""
    if not getattr(request.state, "outcome_unknown", False):
        return error
    if request.method in REPEATABLE or IDEMPOTENCY_KEY in request.headers:
        return Unavailable(f"{MAY_BE_MADE} Sending it again is safe: it is not made twice.")
    return Unavailable(f"{MAY_BE_MADE} Look at it again before you repeat it.", retry_after=None)


def _plain(request: Request, raised: HTTPException) -> JSONResponse:
    status = raised.status_code
    details = {
        400: "The body is nested too deeply: send it flatter."
        if isinstance(raised.__cause__, RecursionError)
        else "The body cannot be read: send JSON, in UTF-8.",
        404: "There is nothing at this address.",
        405: f"{request.method} is not possible at this address.",
    }
    slugs = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed"}
    headers = dict(raised.headers or {}) | ({"Allow": ", ".join(_methods(request))} if status == 405 else {})
    error = ServiceError(details.get(status, raised.detail), slug=slugs.get(status, f"http-{status}"), headers=headers)
    error.status_code = status
    error.title = HTTPException(status).detail
    return problem(error)


def _methods(request: Request) -> list[str]:
    """All methods of the address, since each of its routes knows only its own."""
    asked = {"type": "http", "path": request.scope["path"], "root_path": request.scope["root_path"], "headers": []}

    def answered(method: str) -> bool:
        return any(route.matches({**asked, "method": method})[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if method != "OPTIONS" and answered(method)]


def _unexpected(error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    return problem(
        ServiceError(
            "Something went wrong here. Try again; if it stays, report the correlation id.",
            title="Unexpected error",
            correlation_id=current_flow().correlation_id,
        )
    )


class Edge:
    """The outermost ASGI layer. Every answer gets `headers`. quiet: templates of routes that log errors alone."""

    def __init__(self, app: ASGIApp, *, bodies: Rules, headers: Mapping[str, str], quiet: Collection[str] = ()) -> None:
        self._app = app
        self._bodies = bodies
        self._quiet = {"/livez", *quiet}
        self._headers = {"X-Content-Type-Options": "nosniff", **headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        asked = request.headers.get(CORRELATION_HEADER, "")
        with flow(asked if _OPAQUE_ID.fullmatch(asked) else None) as bound:
            started = time.monotonic()
            status = 500
            begun = False

            async def send_tagged(message: Message) -> None:
                nonlocal status, begun
                if message["type"] == "http.response.start":
                    begun = True
                    status = message["status"]
                    headers = MutableHeaders(scope=message)
                    headers[CORRELATION_HEADER] = bound.correlation_id
                    headers.update(self._headers)
                    # Answers hold personal data unless their route says otherwise, so no cache may store them.
                    headers.setdefault("Cache-Control", "no-store")
                await send(message)

            body = Intake(scope, receive, self._bodies, _judge_body)
            try:
                _judge_address(request)
                await self._app(scope, body, send_tagged)
            except ClientDisconnect:
                log.debug("the caller disconnected")
            except ServiceError as error:
                if begun:
                    raise
                await problem(error)(scope, receive, send_tagged)
            except Exception as error:
                if begun:
                    raise
                await _unexpected(error)(scope, receive, send_tagged)
            finally:
                body.close()
                self._note(scope, CLIENT_LEFT if body.left else status, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        METRICS.http_seconds.labels(method, route, str(status)).observe(seconds)
        if route not in self._quiet or status >= 500:
            log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _judge_address(request: Request) -> None:
    if "\x00" in request.url.path or "%00" in request.url.query or _UNSTORABLE.search(request.url.path):
        raise Invalid(_UNSTORABLE_TEXT)


def _judge_body(body: bytes, *, texts: bool) -> None:
    _require_utf8(body)
    if texts and _SUSPECT_ESCAPE.search(body) and (fields := _unstorable_fields(body)):
        raise Invalid(_CORRECT, errors=[{"field": field, "message": _UNSTORABLE_FIELD} for field in fields])


def _require_utf8(body: bytes) -> None:
    """Malformed for UTF-16, UTF-32 and lone surrogates, all of which Python's parser accepts against RFC 8259, 8.1."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(_NO_UTF8) from error
    if b"\0" in body:
        raise Malformed(_NO_UTF8)


def _unstorable_fields(body: bytes) -> list[str]:
    """The paths of texts that cannot be stored, `_MOST_NAMED` at most. A wrong name is reported at its object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []  # not JSON: the parser reports it later
    # A place is its name and its parent; only the path of a wrong text is written out.
    remaining: list[tuple[_Place, Any]] = [((None, "body"), document)]
    found: list[str] = []
    while remaining and len(found) < _MOST_NAMED:
        place, value = remaining.pop()
        if isinstance(value, str) and _UNSTORABLE.search(value):
            found.append(_written(place))
        elif isinstance(value, dict):
            if any(map(_UNSTORABLE.search, value)):
                found.append(_written(place))
            remaining.extend(((place, name), below) for name, below in value.items())
        elif isinstance(value, list):
            remaining.extend(((place, position), below) for position, below in enumerate(value))
    return found


def _written(place: "_Place | None") -> str:
    names: list[str] = []
    while place is not None:
        place, name = place
        names.append(encodable(str(name)))
    return ".".join(reversed(names))[:_LONGEST_PLACE]
