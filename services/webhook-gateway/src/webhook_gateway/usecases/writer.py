"""Storing accepted calls: those that arrive together share one transaction and one fsync (docs/decisions/0036)."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final
from uuid import UUID

import structlog

from servicekit.db.sessions import Sessions
from servicekit.errors import Unavailable, is_contended, is_transient
from servicekit.kafka.outbox import append_outgoing, outgoing
from webhook_gateway import metrics
from webhook_gateway.domain.envelope import Hint
from webhook_gateway.storage import deliveries, seen
from webhook_gateway.storage.deliveries import Body

MOST_DELIVERIES: Final = 250
"""Deliveries of one transaction."""
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_WAITING: Final = 5_000
"""Calls that wait for the database at once; the budget of bytes does not bound small ones."""
STORE_SECONDS: Final = 10.0
"""Time for a transaction. Planning Center's own timeout is unknown (pco-api.md 6.4)."""
IDLE_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.002
"""After a transaction of several calls the next one waits this long for more, because a transaction costs as much as
many deliveries in it.
"""

log = structlog.get_logger(__name__)


def away() -> Unavailable:
    """The answer while deliveries cannot be stored."""
    return Unavailable("Deliveries cannot be stored at the moment. Send this one again in a few seconds.")


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a part of one with very many deliveries."""

    body: Body
    hints: Sequence[Hint]
    done: "asyncio.Future[None]"
    flow: Context = field(default_factory=copy_context)
    """The request's, which its facts belong to."""


class Writer:
    """The only task of a process that stores calls: it takes all that wait, and tells each its own result."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: deque[Call] = deque()
        self._filled = asyncio.Event()
        self._busy = False
        """The last transaction had several calls."""

    async def store(self, body: Body, hints: Sequence[Hint]) -> None:
        """Return when all deliveries of the body are stored durably, or were before. Unavailable if they cannot be."""
        if len(self._waiting) >= MOST_WAITING:
            raise away()
        loop = asyncio.get_running_loop()
        calls = [
            Call(body, hints[first : first + MOST_DELIVERIES], loop.create_future())
            for first in range(0, len(hints), MOST_DELIVERIES)
        ]
        self._waiting.extend(calls)
        self._filled.set()
        await asyncio.gather(*(call.done for call in calls))

    async def step(self) -> None:
        """Store what waits, or wait for something."""
        if not self._waiting:
            self._filled.clear()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                self._busy = False
                return
        if self._busy:
            await asyncio.sleep(GATHER_SECONDS)
        calls = self._take()
        self._busy = len(calls) > 1
        try:
            await self._store(calls)
        finally:
            for call in calls:  # cancelled at the process's end
                _tell(call, away())

    def _take(self) -> list[Call]:
        """The calls of one transaction, without those whose caller has left."""
        taken: list[Call] = []
        count = size = 0
        while self._waiting:
            call = self._waiting[0]
            count += len(call.hints)
            size += len(call.body.body)
            if taken and (count > MOST_DELIVERIES or size > MOST_BYTES):
                break
            self._waiting.popleft()
            if not call.done.done():
                taken.append(call)
        return taken

    async def _store(self, calls: Sequence[Call]) -> None:
        try:
            await self._attempt(calls)
        except Exception as error:
            if is_transient(error) and not is_contended(error):
                log.warning("deliveries cannot be stored", calls=len(calls), exc_info=error)
                for call in calls:
                    _tell(call, away())
                return
            # Whatever one of them has wrong must not cost the others.
            for call in calls:
                await self._alone(call)

    async def _alone(self, call: Call) -> None:
        try:
            await self._attempt([call])
        except Exception:
            log.exception("a call cannot be stored", body=str(call.body.id))
            _tell(call, away())

    async def _attempt(self, calls: Sequence[Call]) -> None:
        """One transaction. When it is committed, every call is told."""
        began = time.monotonic()
        async with asyncio.timeout(STORE_SECONDS), self._sessions.begin() as session:
            given: dict[tuple[int, UUID], tuple[Call, Hint]] = {}
            for call in calls:
                for hint, identity in zip(call.hints, _identities(call), strict=True):
                    given.setdefault((call.body.key.id, identity), (call, hint))
            fresh = await seen.note(session, given)
            kept = [pair for which, pair in given.items() if which in fresh]
            if kept:
                rows = await deliveries.keep(session, [(call.body, hint) for call, hint in kept])
                messages = [
                    message
                    for (call, hint), row in zip(kept, rows, strict=True)
                    if hint.unreadable is None
                    for message in call.flow.run(outgoing, session, deliveries.fact(row))
                ]
                await append_outgoing(session, messages)
        for call in calls:
            _tell(call, None)
        unreadable = sum(hint.unreadable is not None for _, hint in kept)
        metrics.STORE_SECONDS.observe(time.monotonic() - began)
        metrics.STORE_DELIVERIES.observe(len(kept))
        metrics.DELIVERIES.labels("stored").inc(len(kept) - unreadable)
        metrics.DELIVERIES.labels("unreadable").inc(unreadable)
        metrics.DELIVERIES.labels("duplicate").inc(sum(len(call.hints) for call in calls) - len(kept))


def _identities(call: Call) -> Iterator[UUID]:
    """By which deliveries are recognized: their own ids; of one without an id, its place in these bytes."""
    whole = b""
    for hint in call.hints:
        if (own := hint.uuid) is not None:
            yield own
            continue
        if not hint.delivery_id:
            whole = whole or blake2b(call.body.body).digest()
        text = hint.delivery_id.encode() or b"%d %b" % (hint.position, whole)
        yield UUID(bytes=blake2b(text, digest_size=16).digest())


def _tell(call: Call, error: Exception | None) -> None:
    if call.done.done():
        return
    if error is None:
        call.done.set_result(None)
    else:
        call.done.set_exception(error)
