"""The errors of a service, what callers see of them, and how retry loops treat them.

    Exception
    ├── ServiceError(HTTPException)   an answer to a caller: a problem document (RFC 9457)
    │   ├── Malformed 400             not JSON, or not what the route reads
    │   ├── Unauthorized 401          no token, or one that proves nothing
    │   ├── Forbidden 403             known, but not allowed
    │   ├── NotFound 404              not there, or not this organization's: the caller cannot tell which
    │   ├── TooSlow 408               the body did not come in time
    │   ├── Conflict 409              the state does not allow it now
    │   ├── TooLarge 413
    │   ├── Unsupported 415           a body that is not called JSON
    │   ├── Invalid 422               readable, but not acceptable; `errors` names the fields
    │   ├── TooMany 429               more than this caller may ask; try again after `retry_after` seconds
    │   └── Unavailable 503           try again after `retry_after` seconds
    ├── TransientError                worth trying again: messages and jobs are retried with backoff
    └── PermanentError                never worth trying again: dead letter, or the job fails with this text

`is_outage` recognizes a third kind that no code raises by hand: PostgreSQL or the network is away. Work waits until the
outage ends, and the outage does not count as an attempt, unless we may have caused it ourselves (`may_be_ours`).
"""

import asyncio
from http import HTTPStatus
from math import ceil
from typing import Any, ClassVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

# SQLSTATE classes and codes of server states that the statement did not cause: connection exception,
# insufficient resources, a server that takes no writes (a standby), a lock that somebody holds for long (a migration),
# operator intervention (restart, shutdown, a statement cancelled), an error of the system below.
_OUTAGE_SQLSTATES = ("08", "53", "25006", "55P03", "57P", "57014", "58")
# Never caused by us, however often they come: the statement was not started, or the machine is full.
_NOT_OURS_SQLSTATES = ("25006", "53100", "53300", "55P03", "58")
# Serialization failure, deadlock: the same transaction may succeed when it is run again.
_CONTENDED_SQLSTATES = ("40001", "40P01")


class ServiceError(HTTPException):
    """An answer to a caller. `detail` says what to do; it never holds another organization's data."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    slug: ClassVar[str] = "internal-error"

    def __init__(
        self,
        detail: str,
        *,
        slug: str | None = None,
        title: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(self.status.value, detail, headers)
        self.type = slug or self.slug
        """Last part of the problem's `type`, stable for programs to read: `/problems/<type>`."""
        self.title = title or self.status.phrase
        self.extra = extra
        """Further members of the problem document, JSON values only."""


class Malformed(ServiceError):
    """400: the request cannot be read."""

    status = HTTPStatus.BAD_REQUEST
    slug = "malformed-request"


class Unauthorized(ServiceError):
    """401: the caller is not authenticated."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "unauthorized"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **extra)


class Forbidden(ServiceError):
    """403: the caller is known but not allowed."""

    status = HTTPStatus.FORBIDDEN
    slug = "forbidden"


class NotFound(ServiceError):
    """404: no such thing in the caller's organization."""

    status = HTTPStatus.NOT_FOUND
    slug = "not-found"


class TooSlow(ServiceError):
    """408: the request was not complete in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    slug = "too-slow"


class Conflict(ServiceError):
    """409: not possible in the present state; `detail` says which state and what would change it."""

    status = HTTPStatus.CONFLICT
    slug = "conflict"


class TooLarge(ServiceError):
    """413: more than the route takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "too-large"


class Unsupported(ServiceError):
    """415: a body of a type that no route reads."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unsupported-media-type"


class Invalid(ServiceError):
    """422: `errors` is a list of `{"field": "a.b.0", "message": "what is wrong"}`."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid"

    def __init__(self, detail: str, *, errors: list[dict[str, str]] | None = None, **extra: Any) -> None:
        super().__init__(detail, errors=errors or [], **extra)


class TooMany(ServiceError):
    """429: more than the caller may have at a time. `retry_after` in seconds, at least 1."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "too-many-requests"

    def __init__(self, detail: str, *, retry_after: float, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, ceil(retry_after)))}, **extra)


class Unavailable(ServiceError):
    """503: something this answer needs is temporarily away. `retry_after` in seconds; None if a repeat may do harm."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "unavailable"

    def __init__(self, detail: str, *, retry_after: int | None = 5, **extra: Any) -> None:
        headers = None if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(detail, headers=headers, **extra)


class TransientError(Exception):
    """A retry may succeed. Raise or subclass it in messaging and job code."""


class PermanentError(Exception):
    """A retry cannot succeed. Operators see its text, and admins see it as a job's error."""


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of a SQLAlchemy error; empty without one."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def is_outage(error: BaseException) -> bool:
    """Whether PostgreSQL or a network peer is away, as opposed to an error that it answered."""
    if isinstance(error, DBAPIError):
        return (
            error.connection_invalidated
            or sqlstate(error).startswith(_OUTAGE_SQLSTATES)
            or (isinstance(error, OperationalError | InterfaceError) and not sqlstate(error))
        )
    return isinstance(error, OSError | asyncio.TimeoutError | PoolTimeoutError)


def may_be_ours(error: BaseException) -> bool:
    """Whether we may have caused an outage: PostgreSQL ended a transaction that took us too long, or a time limit in
    our own code passed. We did if the error repeats while PostgreSQL answers other requests.
    """
    if sqlstate(error).startswith(_NOT_OURS_SQLSTATES):
        return False
    return isinstance(error, SQLAlchemyError) or (isinstance(error, TimeoutError) and error.errno is None)


def is_contended(error: BaseException) -> bool:
    """Whether other transactions caused the error: a serialization failure or a deadlock."""
    return sqlstate(error) in _CONTENDED_SQLSTATES


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed if it is retried soon."""
    return isinstance(error, TransientError | Unavailable) or is_contended(error) or is_outage(error)
