"""`Idempotency-Key`: a POST repeated because its answer was lost takes effect only once.

The transaction that has the effect of a POST with a key also stores its answer, so neither exists without the other.
For 24 hours the same request with the same key gets the same answer. Another request with the key is refused (422); a
repeat that arrives while the first request is still running gets 409. A failed request stores nothing, so the caller
can retry it with the same key.

An answer that sets a cookie holds a secret of one browser, one that its route marks `no-store` holds another secret, so
neither is stored; a repeat runs the route again, which must then be harmless. Keys belong to an organization.
"""

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Annotated, Any, ClassVar, Final

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import UserIdentity
from contracts.routes import IDEMPOTENCY_KEY, KEY_HOURS, KEY_PATTERN
from servicekit.db.retention import forget
from servicekit.db.sessions import Session, Sessions
from servicekit.db.tables import KEPT_ANSWER
from servicekit.errors import Conflict, Invalid
from servicekit.http.auth import internal_identity

KEPT: Final = timedelta(hours=KEY_HOURS)
_FORM: Final = re.compile(KEY_PATTERN)
Identify = Callable[..., Awaitable[UserIdentity]]
"""A dependency: who asks, with a role in this product."""
_AT_WORK_SECONDS: Final = 1
_FORGOTTEN: Final = 410
"""Replaces the status of an answer whose contents were deleted."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with a key, in the transaction of its effect."""

    session: AsyncSession
    organization_id: str
    key: str
    digest: bytes


class _AnsweredBefore(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


class KeyedRoute(APIRoute):
    """The class of every route of the platform API: `APIRouter(route_class=KeyedRoute)`. Its POSTs take a key."""

    identify: ClassVar[Identify] = staticmethod(internal_identity)
    """Replaced by webhook-gateway, whose callers bring the platform's token."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **values: Any) -> None:
        self._keyed = "POST" in (values.get("methods") or ())
        super().__init__(path, _after_all_others(endpoint, self.identify) if self._keyed else endpoint, **values)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by FastAPI. The returned handler runs inside the request's transaction."""
        handle = super().get_route_handler()
        if not self._keyed:
            return handle

        async def handle_once(request: Request) -> Response:
            try:
                response = await handle(request)
            except _AnsweredBefore as before:
                return before.response
            asked: _Asked | None = getattr(request.state, "asked_with_key", None)
            if asked is not None:
                await _keep(asked, response)
            return response

        return handle_once


def _after_all_others(endpoint: Callable[..., Any], identify: Identify) -> Callable[..., Any]:
    """The endpoint, with one more dependency behind its own: who may not call it is not shown a kept answer."""
    signature = inspect.signature(endpoint)

    @functools.wraps(endpoint)
    async def keyed(*, _look_up: None, **values: Any) -> Any:
        return await endpoint(**values)

    look_up = inspect.Parameter(
        "_look_up", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[None, Depends(_look_up_for(identify))]
    )
    keyed.__signature__ = signature.replace(parameters=[*signature.parameters.values(), look_up])  # type: ignore[attr-defined]
    return keyed


@functools.cache
def _look_up_for(identify: Identify) -> Callable[..., Awaitable[None]]:
    async def look_up(request: Request, user: Annotated[UserIdentity, Depends(identify)], session: Session) -> None:
        await _look_up(request, user, session)

    return look_up


async def _look_up(request: Request, user: UserIdentity, session: AsyncSession) -> None:
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return
    if not _FORM.fullmatch(key):
        raise Invalid(
            f"Send an `{IDEMPOTENCY_KEY}` of 1 to 200 visible ASCII characters, such as a UUID.",
            errors=[{"field": f"header.{IDEMPOTENCY_KEY}", "message": "is no key"}],
        )
    asked = _Asked(session, user.organization_id, key, await _digest(request))
    # The lock lasts until the end of the transaction, so its next holder sees the committed answer.
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(_lock(asked)))):
        raise Conflict(
            f"A request with this `{IDEMPOTENCY_KEY}` is being worked on. Ask again in a moment.",
            slug="in-progress",
            headers={"Retry-After": str(_AT_WORK_SECONDS)},
        )
    found = (
        await session.execute(
            select(KEPT_ANSWER).where(
                KEPT_ANSWER.c.organization_id == asked.organization_id,
                KEPT_ANSWER.c.key == key,
                KEPT_ANSWER.c.created_at > func.now() - KEPT,
            )
        )
    ).one_or_none()
    if found is None:
        request.state.asked_with_key = asked
        return
    if found.asked != asked.digest:
        raise Invalid(
            f"Another request was sent with this `{IDEMPOTENCY_KEY}`. Nothing was done: send this one with a key of "
            "its own.",
            slug="key-reused",
            errors=[{"field": f"header.{IDEMPOTENCY_KEY}", "message": "belongs to another request"}],
        )
    if found.status == _FORGOTTEN:
        raise Conflict(
            "This was done. What was answered is gone, because somebody was erased since: read it again.",
            slug="answer-gone",
        )
    raise _AnsweredBefore(Response(found.body, found.status, media_type=found.media_type))


async def _digest(request: Request) -> bytes:
    address = f"{request.method} {request.url.path}?{request.url.query}\0"
    return sha256(address.encode("utf-8", "surrogatepass") + await request.body()).digest()


def _lock(asked: _Asked) -> int:
    name = f"{IDEMPOTENCY_KEY}\0{asked.organization_id}\0{asked.key}"
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


async def _keep(asked: _Asked, response: Response) -> None:
    secret = "set-cookie" in response.headers or response.headers.get("cache-control") == "no-store"
    if not response.status_code < 300 or secret:
        return
    values = {
        "asked": asked.digest,
        "status": response.status_code,
        "media_type": response.headers.get("content-type"),
        "body": bytes(response.body),
        "created_at": func.now(),
    }
    kept = insert(KEPT_ANSWER).values(organization_id=asked.organization_id, key=asked.key, **values)
    # An existing answer is too old to count and not deleted yet.
    await asked.session.execute(
        kept.on_conflict_do_update(index_elements=[KEPT_ANSWER.c.organization_id, KEPT_ANSWER.c.key], set_=values)
    )


async def forget_all(session: AsyncSession, organization_id: str) -> None:
    """Delete the contents of an organization's stored answers, because a person is erased and answers hold personal
    data.

    The keys stay, so a repeated request still takes effect only once.
    """
    of_organization = update(KEPT_ANSWER).where(KEPT_ANSWER.c.organization_id == organization_id)
    await session.execute(of_organization.values(status=_FORGOTTEN, media_type=None, body=b""))


async def forget_old(sessions: Sessions) -> int:
    """Delete answers older than `KEPT`, in batches. Returns how many."""
    return await forget(sessions, KEPT_ANSWER, KEPT_ANSWER.c.created_at, [KEPT_ANSWER.c.created_at < func.now() - KEPT])
