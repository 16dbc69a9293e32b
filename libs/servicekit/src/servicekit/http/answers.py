"""`Idempotency-Key`: a POST that is sent again, because its answer was lost, is not done again.

The answer of a POST with a key is kept in the service's own database by the transaction that has its effect, so there
is never one without the other. The same request with the same key gets the same answer for 24 hours; another request
with it is refused (422), and one that comes while the first is at work is told so (409). Nothing is kept of a request
that failed: nothing was done, so it may be tried again with the same key.

What sets a cookie is made for one browser and holds a secret of it, so it is not kept but made again; such a route must
do no harm twice. Keys belong to an organization.
"""

import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.routes import IDEMPOTENCY_KEY, KEY_HOURS, KEY_PATTERN
from servicekit.db.retention import forget
from servicekit.db.sessions import Session, Sessions
from servicekit.db.tables import KEPT_ANSWER
from servicekit.errors import Conflict, Invalid
from servicekit.http.auth import User

KEPT: Final = timedelta(hours=KEY_HOURS)
_FORM: Final = re.compile(KEY_PATTERN)
_AT_WORK_SECONDS: Final = 1
_FORGOTTEN: Final = 410
"""In the place of the status of an answer that nobody may see again."""


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
    """`APIRouter(route_class=KeyedRoute)`: the class of every route of the platform API. Its POSTs take a key."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **values: Any) -> None:
        self._keyed = "POST" in (values.get("methods") or ())
        super().__init__(path, _after_all_others(endpoint) if self._keyed else endpoint, **values)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by FastAPI. What it returns runs inside the request's transaction."""
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


def _after_all_others(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, with one more dependency behind its own: who may not call it is not shown a kept answer."""
    signature = inspect.signature(endpoint)

    @functools.wraps(endpoint)
    async def keyed(*, _look_up: None, **values: Any) -> Any:
        return await endpoint(**values)

    look_up = inspect.Parameter(
        "_look_up", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[None, Depends(_look_up)]
    )
    keyed.__signature__ = signature.replace(parameters=[*signature.parameters.values(), look_up])  # type: ignore[attr-defined]
    return keyed


async def _look_up(request: Request, user: User, session: Session) -> None:
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return
    if not _FORM.fullmatch(key):
        raise Invalid(
            f"Send an `{IDEMPOTENCY_KEY}` of 1 to 200 visible ASCII characters, such as a UUID.",
            errors=[{"field": f"header.{IDEMPOTENCY_KEY}", "message": "is no key"}],
        )
    asked = _Asked(session, user.organization_id, key, await _digest(request))
    # Held until the end of the transaction: whoever gets it sees what an earlier one has committed.
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
    if not response.status_code < 300 or "set-cookie" in response.headers:
        return
    values = {
        "asked": asked.digest,
        "status": response.status_code,
        "media_type": response.headers.get("content-type"),
        "body": bytes(response.body),
        "created_at": func.now(),
    }
    kept = insert(KEPT_ANSWER).values(organization_id=asked.organization_id, key=asked.key, **values)
    # One that is there is too old to count, and was not cleaned away yet.
    await asked.session.execute(
        kept.on_conflict_do_update(index_elements=[KEPT_ANSWER.c.organization_id, KEPT_ANSWER.c.key], set_=values)
    )


async def forget_all(session: AsyncSession, organization_id: str) -> None:
    """Let go of what an organization's answers say, which is what people are: one of them is erased.

    That they were given stays: a repeat of one is not done again.
    """
    of_organization = update(KEPT_ANSWER).where(KEPT_ANSWER.c.organization_id == organization_id)
    await session.execute(of_organization.values(status=_FORGOTTEN, media_type=None, body=b""))


async def forget_old(sessions: Sessions) -> int:
    """Delete answers older than `KEPT`, in pieces. Returns how many."""
    return await forget(sessions, KEPT_ANSWER, KEPT_ANSWER.c.created_at, [KEPT_ANSWER.c.created_at < func.now() - KEPT])
