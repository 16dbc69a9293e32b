"""Creating something in Planning Center exactly once, at whatever instant the process dies.

    (no row) ──intend──▶ sent ──answer──▶ created
                          │  └─refused──▶ intended            may be sent again at once
                          └─no answer──▶ sent, until `look_after`; then looked for, and found or sent again

`sent` is committed before the request leaves. `look_after` is when the request can no longer be under way (the
lease of whoever sent it is over, and so is its timeout) and when a read can be believed (staleness horizon). A request
that waited for its turn left later than that: it ended with its process, and shows a horizon after (`left_again`).

A request whose process was frozen right before the write may leave later still. Whoever reads its answer then has lost
the record: what was made is given to the product (`slipped`), whose next look has to know of it.
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
from synckit.errors import NotYet


class CreationColumns:
    """An intent to create something in Planning Center: `class Creation(CreationColumns, Base)`."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)
    organization_id: Mapped[str]
    pco_organization_id: Mapped[str]
    kind: Mapped[str]
    """What is created, in the product's own words."""
    record_id: Mapped[UUID]
    state: Mapped[str]
    """`intended`, `sent` (the outcome is unknown until the answer is stored), `created`."""
    content: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What was sent, until the answer is known: the record may be edited before that."""
    sent_at: Mapped[datetime | None]
    look_after: Mapped[datetime | None]
    """Nobody looks for it before this instant: lease, timeout and staleness horizon are over."""
    pco_id: Mapped[str | None]


def creation_key() -> UniqueConstraint:
    """For `__table_args__` of a creation: one intent for each record and kind."""
    return UniqueConstraint("organization_id", "pco_organization_id", "kind", "record_id")


Content: TypeAlias = Mapping[str, Any]
"""What is sent, as JSON of the product's own."""
C = TypeVar("C", bound=CreationColumns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator(Generic[C]):
    """Who creates, and where the intents are."""

    job: JobContext
    """Under whose lease this is done."""
    clock: Clock
    rows: type[C]
    owner: Mapping[str, str]
    """`organization_id` and `pco_organization_id` of the intents."""
    unseen: timedelta
    """As `SyncSettings.unseen`."""


@dataclass(frozen=True, slots=True)
class Made:
    """What Planning Center has now."""

    pco_id: str
    content: Content
    """As it was sent: by this attempt, or by an earlier one whose answer was lost."""


Created: TypeAlias = Callable[[AsyncSession, Made], Awaitable[None]]
"""Stores what was created, in the transaction that closes the intent."""
Lock: TypeAlias = Callable[[AsyncSession], Awaitable[None]]
"""Locks the record, before its intent is."""


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
    """Create it, or find what an earlier attempt created.

    look: for what an earlier request made of the row's `content`. post: sends `content`. slipped: is given Planning
    Center's id of what was made and will have no counterpart here. opened: the product's part of the transaction that
    opens the intent, its row locked; whether something of it may be there although its request was refused. unwanted:
    what `created` raises if the record has another counterpart by now.

    Raises NotYet while an earlier attempt may be under way or unseen, LeaseLost if it was made and the right to store
    that is another's, and what `look`, `post` and `created` raise.
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
    except (LeaseLost, unwanted):
        # Nothing here will have the new thing: another worker has claimed the record, or has linked it to another one.
        await slipped(document.data.id)
        raise


def close(row: CreationColumns, pco_id: str) -> None:
    """The record has its counterpart, wherever that came from: there is nothing to send, or to look for."""
    row.state, row.pco_id, row.content = "created", pco_id, None


def left_again(rows: type[CreationColumns], now: datetime, horizon: timedelta) -> Update:
    """Requests without an answer may have left until now, since their worker was alive until then.

    The caller says in a `where` whose they are.
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
    """The intent as it is before the request leaves, and whether an earlier one may have been carried out."""
    rows, intent = creator.rows, {**creator.owner, "kind": kind, "record_id": record_id}
    async with creator.job.transaction() as session:
        await session.execute(insert(rows).values(**intent, state="intended").on_conflict_do_nothing())
        row = (await session.scalars(select(rows).filter_by(**intent).with_for_update())).one()
        known = await opened(session, row)
        must_look = row.state == "sent" or (row.state == "intended" and known)
        if must_look and row.look_after is not None and row.look_after > creator.clock.now():
            raise NotYet(row.look_after)
        if not must_look:
            # What was created before is gone and wanted again, or there was nothing.
            row.pco_id = None
            _send(creator, row, content)
        return row, must_look


def _send(creator: Creator[C], row: C, content: Content) -> None:
    now = creator.clock.now()
    row.state, row.content, row.sent_at, row.look_after = "sent", dict(content), now, now + creator.unseen


async def _close(creator: Creator[C], intent: C, made: Made, lock: Lock, created: Created) -> Made:
    async with creator.job.transaction() as session:
        await lock(session)
        close(await session.get_one(creator.rows, intent.id, with_for_update=True), made.pco_id)
        await created(session, made)
    return made


@asynccontextmanager
async def _locked(creator: Creator[C], intent: C) -> AsyncIterator[C]:
    """The intent's row, in a transaction of its own."""
    async with creator.job.transaction() as session:
        yield await session.get_one(creator.rows, intent.id, with_for_update=True)
