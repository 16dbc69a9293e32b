"""Creates a record in Planning Center exactly once, whenever the process may die.

    (no row) ──intend──▶ sent ──answer──▶ created
                          │  └─refused──▶ intended            may be sent again at once
                          └─no answer──▶ sent, until `look_after`; then looked for, and found or sent again

`sent` is committed before the request is sent. From `look_after` on, the request is no longer under way (the sender's
lease and the timeout are over) and reads show its effect (staleness horizon). A request that waited for its turn may
have been sent later: at the latest when its process ended, so a read shows it a horizon after that (`left_again`).

A process frozen right before the write may send even later. By then it has lost the lease, so when it reads the answer
it passes the created record to the product (`slipped`), whose next `look` must know of it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import BigInteger, Identity, UniqueConstraint, Update, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from pco_client.errors import AnsweredTooLate, PlanningCenterError, Unavailable
from pco_client.jsonapi import Document
from servicekit.clock import Clock
from servicekit.jobs.queue import LeaseLost
from servicekit.jobs.worker import JobContext
from synckit.errors import IntentGone, NotYet


class CreationColumns:
    """An intent to create something in Planning Center: `class Creation(CreationColumns, Base)`."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    """The kind of thing to create, as the product names it."""
    record_id: Mapped[UUID]
    state: Mapped[str]
    """`intended`, `sent` (the outcome is unknown until the answer is stored), `created`."""
    content: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The sent content, kept until the answer is known, because the record may be edited meanwhile."""
    sent_at: Mapped[datetime | None]
    look_after: Mapped[datetime | None]
    """Earliest time of a look, after lease, timeout and staleness horizon."""
    pco_id: Mapped[str | None]


def creation_key() -> UniqueConstraint:
    """For `__table_args__` of a creation: one intent for each record and kind."""
    return UniqueConstraint("organization_id", "pco_organization_id", "kind", "record_id")


Content: TypeAlias = Mapping[str, Any]
"""The content to send, as the product's JSON."""
C = TypeVar("C", bound=CreationColumns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator(Generic[C]):
    """The context of a creation: its job, clock and intents."""

    job: JobContext
    """The job whose lease covers the creation."""
    clock: Clock
    rows: type[C]
    owner: Mapping[str, str]
    """`organization_id` and `pco_organization_id` of the intents."""
    unseen: timedelta
    """As `SyncSettings.unseen`."""


@dataclass(frozen=True, slots=True)
class Made:
    """The created record in Planning Center."""

    pco_id: str
    content: Content
    """As sent, by this attempt or by an earlier one whose answer was lost."""


Created: TypeAlias = Callable[[AsyncSession, Made], Awaitable[None]]
"""Stores the created record, in the transaction that closes the intent."""
Lock: TypeAlias = Callable[[AsyncSession], Awaitable[None]]
"""Locks our record, before the intent is locked."""


async def _nothing(_session: AsyncSession, _row: CreationColumns) -> bool:
    return False


async def create_once(
    creator: Creator[C],
    kind: str,
    record_id: UUID,
    content: Content,
    *,
    look: Callable[[C], Awaitable[Made | None]],
    post: Callable[[C], Awaitable[Document]],
    lock: Lock,
    created: Created,
    slipped: Callable[[str], Awaitable[None]],
    opened: Callable[[AsyncSession, C], Awaitable[bool]] = _nothing,
    unwanted: type[Exception] = LeaseLost,
) -> Made:
    """Create a record in Planning Center, or find the one that an earlier attempt created.

    look: searches for the record that an earlier request made from the row's `content`. post: sends `content`. slipped:
    gets Planning Center's id of a created record without a counterpart here. opened: the product's part of the
    transaction that opens the intent, with its row locked; returns whether a record may exist although its request was
    refused. unwanted: the error that `created` raises if our record has another counterpart by now.

    Raises NotYet while an earlier attempt may be under way or not yet visible, LeaseLost if the record was created but
    another worker has the job, IntentGone if the intent was deleted meanwhile, and the errors of `look`, `post` and
    `created`.
    """
    row, must_look = await _intend(creator, kind, record_id, content, opened)
    if must_look:
        found = await look(row)
        if found is not None:
            return await _close(creator, row, found, lock, created)
        async with _locked(creator, row) as again:
            _send(creator, again, content)
    try:
        document = await post(row)
    except AnsweredTooLate as error:
        if error.record is not None:
            await slipped(error.record[1])
        raise LeaseLost(str(error)) from error
    except PlanningCenterError as error:
        if not (isinstance(error, Unavailable) and error.outcome_unknown):
            async with _locked(creator, row) as refused:
                refused.state = "intended"
        raise
    try:
        return await _close(creator, row, Made(document.data.id, content), lock, created)
    except (LeaseLost, IntentGone, unwanted):
        # The created record gets no counterpart here: another worker has the job, or our record has another
        # counterpart.
        await slipped(document.data.id)
        raise


def close(row: CreationColumns, pco_id: str) -> None:
    """Close the intent, because the record has a counterpart, from whatever source."""
    row.state, row.pco_id, row.content = "created", pco_id, None


def left_again(rows: type[CreationColumns], now: datetime, horizon: timedelta) -> Update:
    """Move `look_after` of unanswered requests, because their worker was alive until now and may have just sent them.

    The caller adds a `where` with the worker's rows.
    """
    shows = func.greatest(rows.look_after, now + horizon)
    return update(rows).where(rows.state == "sent").values(look_after=shows)


async def _intend(
    creator: Creator[C],
    kind: str,
    record_id: UUID,
    content: Content,
    opened: Callable[[AsyncSession, C], Awaitable[bool]],
) -> tuple[C, bool]:
    """The opened intent, and whether an earlier request may have taken effect."""
    rows, intent = creator.rows, {**creator.owner, "kind": kind, "record_id": record_id}
    async with creator.job.transaction() as session:
        await session.execute(insert(rows).values(**intent, state="intended").on_conflict_do_nothing())
        row = (await session.scalars(select(rows).filter_by(**intent).with_for_update())).one()
        known = await opened(session, row)
        must_look = row.state == "sent" or (row.state == "intended" and known)
        if must_look and row.look_after is not None and row.look_after > creator.clock.now():
            raise NotYet(row.look_after)
        if not must_look:
            # The record created before is gone and wanted again, or none was created.
            row.pco_id = None
            _send(creator, row, content)
        return row, must_look


def _send(creator: Creator[C], row: C, content: Content) -> None:
    now = creator.clock.now()
    row.state, row.content, row.sent_at, row.look_after = "sent", dict(content), now, now + creator.unseen


async def _close(creator: Creator[C], intent: C, made: Made, lock: Lock, created: Created) -> Made:
    async with creator.job.transaction() as session:
        await lock(session)
        row = await _again(session, creator, intent)
        close(row, made.pco_id)
        await created(session, made)
    return made


@asynccontextmanager
async def _locked(creator: Creator[C], intent: C) -> AsyncIterator[C]:
    """The intent's locked row, in a transaction of its own."""
    async with creator.job.transaction() as session:
        yield await _again(session, creator, intent)


async def _again(session: AsyncSession, creator: Creator[C], intent: C) -> C:
    row = await session.get(creator.rows, intent.id, with_for_update=True)
    if row is None:
        raise IntentGone
    return row
