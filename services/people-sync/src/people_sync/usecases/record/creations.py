"""Creating something in Planning Center exactly once, at whatever instant the process dies.

    (no row) ──intend──▶ sent ──answer──▶ created
                          │  └─refused──▶ intended            may be sent again at once
                          └─no answer──▶ sent, until `look_after`; then looked for, and found or sent again

`sent` is committed before the request leaves. `look_after` is when the request can no longer be under way (the
lease of whoever sent it is over, and so is its timeout) and when a read can be believed (staleness horizon). A request
that waited for its turn left later than that: it ended with its process, and shows a horizon after.

A request whose process was frozen right before the write may leave later still. Who reads its answer then has lost the
record, and leaves a stray behind (`strays`): an intent that has no other answer takes it for its own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import randbelow
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import AnsweredTooLate, PlanningCenterError, Unavailable
from pco_client.jsonapi import Document
from people_sync.storage.strays import of_intent, record_kind
from people_sync.storage.sync_tables import Creation, Stray
from people_sync.storage.tables import Family, Member
from people_sync.usecases.record.strays import leave_behind
from people_sync.usecases.record.writer import Writer
from servicekit.jobs.queue import LeaseLost

_FIRST_MARKER: Final = 1_000_000_000
_LAST_MARKER: Final = 2_147_483_647
"""Within what a 32-bit integer holds, far above the small numbers that churches use."""

Content: TypeAlias = Mapping[str, Any]
"""What is sent, as JSON in the form of `Link.agreed`."""


class NotYet(Exception):
    """Nothing can be decided about this record, or the rest of it, before `until`. `so_far`: what was done already."""

    def __init__(self, until: datetime, so_far: str | None = None) -> None:
        super().__init__(f"not before {until:%H:%M:%S}")
        self.until, self.so_far = until, so_far


class Later(Exception):
    """Left to a later run; the text says what it waits for."""


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent that is committed as `sent`."""

    id: int
    marker: int | None
    content: Content
    """Of the request that was sent last. Not what is to be sent now: the record may have been edited since."""
    must_look: bool
    """An earlier request for it may have been carried out."""
    strays: Mapping[str, Content]
    """Made by whoever had lost the record by then, with what was sent: no look finds them."""


@dataclass(frozen=True, slots=True)
class Made:
    """What Planning Center has now."""

    pco_id: str
    content: Content
    """As it was sent: by this attempt, or by an earlier one whose answer was lost."""


Created = Callable[[AsyncSession, Made], Awaitable[None]]
"""Stores what was created, in the transaction that closes the intent."""


async def create_once(
    writer: Writer,
    kind: str,
    record_id: UUID,
    content: Content,
    *,
    of_record: UUID | None = None,
    look: Callable[[Intent], Awaitable[str | None]],
    post: Callable[[Intent], Awaitable[Document]],
    created: Created,
) -> Made:
    """Create it, or find what an earlier attempt created.

    Raises NotYet while an earlier attempt may be under way or unseen, LeaseLost if it was made and the right to store
    that is another's, and what `look` and `post` raise.
    """
    of_record = of_record or record_id
    intent = await _intend(writer, kind, record_id, content, of_record)
    if intent.must_look:
        found = await look(intent)
        if found is not None:
            return await _close(writer, intent, Made(found, intent.content), created)
        if intent.strays:
            return await _close(writer, intent, Made(*next(iter(intent.strays.items()))), created)
        await _send_again(writer, intent, content)

    async def slipped(pco_id: str) -> None:
        await leave_behind(writer, kind, pco_id, record_id=of_record, intent_id=record_id, content=dict(content))

    try:
        document = await post(intent)
    except AnsweredTooLate as error:
        if error.record is not None:
            await slipped(error.record[1])
        raise LeaseLost(str(error)) from error
    except PlanningCenterError as error:
        if not (isinstance(error, Unavailable) and error.outcome_unknown):
            await _refused(writer, intent)
        raise
    try:
        return await _close(writer, intent, Made(document.data.id, content), created)
    except (LeaseLost, Later):
        # No link will have the new thing: another worker has claimed our record, or has linked it to another one.
        await slipped(document.data.id)
        raise


def _look_after(writer: Writer) -> datetime:
    settings = writer.resources.settings
    seconds = settings.job_lease_seconds + settings.pco_request_timeout_seconds + settings.pco_staleness_horizon_seconds
    return writer.now() + timedelta(seconds=seconds)


async def _intend(writer: Writer, kind: str, record_id: UUID, content: Content, of_record: UUID) -> Intent:
    now = writer.now()
    async with writer.transaction() as session:
        await session.execute(
            insert(Creation)
            .values(**writer.owner, kind=kind, record_id=record_id, of_record=of_record, state="intended")
            .on_conflict_do_nothing()
        )
        row = (
            await session.scalars(
                select(Creation).filter_by(**writer.owner, kind=kind, record_id=record_id).with_for_update()
            )
        ).one()
        # An intent of before this column: whoever takes over a claim has to find it.
        row.of_record = of_record
        strays = await of_intent(session, writer.owner, kind, record_id)
        must_look = row.state == "sent" or (row.state == "intended" and bool(strays))
        if must_look and row.look_after is not None and row.look_after > now:
            raise NotYet(row.look_after)
        if row.state == "created" or row.marker is None:
            # What was created before is gone and wanted again: a new thing with a marker of its own.
            row.marker = await _free_marker(session) if kind == MEMBER else None
            row.pco_id = None
        if not must_look:
            _sent(writer, row, content)
        made = {stray.pco_id: stray.content for stray in strays}
        return Intent(row.id, row.marker, row.content or {}, must_look, made)


async def _free_marker(session: AsyncSession) -> int:
    """A number for `remote_id` that no other intent has: random, so that a database restored cannot repeat one."""
    while True:
        marker = _FIRST_MARKER + randbelow(_LAST_MARKER - _FIRST_MARKER)
        if await session.scalar(select(Creation.id).where(Creation.marker == marker)) is None:
            return marker


async def _send_again(writer: Writer, intent: Intent, content: Content) -> None:
    async with _row(writer, intent) as row:
        _sent(writer, row, content)


def _sent(writer: Writer, row: Creation, content: Content) -> None:
    row.state, row.content = "sent", dict(content)
    row.sent_at, row.look_after = writer.now(), _look_after(writer)


async def _refused(writer: Writer, intent: Intent) -> None:
    async with _row(writer, intent) as row:
        row.state = "intended"


async def _close(writer: Writer, intent: Intent, made: Made, created: Created) -> Made:
    async with writer.transaction() as session:
        # The record is locked first, as in a batch that is taken over; the intent committed with its record.
        kind, of_record = (
            await session.execute(select(Creation.kind, Creation.of_record).where(Creation.id == intent.id))
        ).one()
        record: type[Member] | type[Family] = Family if record_kind(kind) == FAMILY else Member
        await session.execute(select(record.id).where(record.id == of_record).with_for_update())
        row = await session.get_one(Creation, intent.id, with_for_update=True)
        row.state, row.pco_id, row.content = "created", made.pco_id, None
        if made.pco_id in intent.strays:
            owner = {name: getattr(row, name) for name in ("organization_id", "pco_organization_id", "kind")}
            await session.execute(delete(Stray).filter_by(**owner, pco_id=made.pco_id))
        await created(session, made)
    return made


@asynccontextmanager
async def _row(writer: Writer, intent: Intent) -> AsyncIterator[Creation]:
    """The intent's row, in a transaction of its own."""
    async with writer.transaction() as session:
        yield await session.get_one(Creation, intent.id, with_for_update=True)
