"""Creating a person, a household or a part of one in Planning Center exactly once: `synckit.creations`.

A person carries a marker to be found by. An intent that has no other answer takes what slipped through (`strays`).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from secrets import randbelow
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.jsonapi import Document
from people_sync.storage.strays import of_intent, record_kind
from people_sync.storage.sync_tables import Creation, Stray
from people_sync.storage.tables import Family, Member
from people_sync.usecases.record.strays import leave_behind
from people_sync.usecases.record.writer import Writer
from synckit import creations
from synckit.creations import Content, Created, Creator, Made

_FIRST_MARKER: Final = 1_000_000_000
_LAST_MARKER: Final = 2_147_483_647
"""Range of markers: within a 32-bit integer, far above the small numbers that churches use."""


class Later(Exception):
    """The record is postponed to a later run; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent committed as `sent`."""

    marker: int | None
    content: Content
    """Values of the last sent request. The values to send now may differ, since the record can be edited meanwhile."""
    strays: Mapping[str, Content]
    """Records created after the loss of a lease, with their sent values; `look` does not find them."""


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
    """Create it, or find what an earlier attempt created. `content` is in the form of `Link.agreed`.

    Raises as `synckit.creations.create_once` does.
    """
    of_record = of_record or record_id
    strays: dict[str, Content] = {}

    def intent(row: Creation) -> Intent:
        return Intent(row.marker, row.content or {}, strays)

    async def opened(session: AsyncSession, row: Creation) -> bool:
        # Intents older than this column need it set, so that the takeover of a claim finds them.
        row.of_record = of_record
        if kind == MEMBER and (row.state == "created" or row.marker is None):
            # The record created before is gone and wanted again, so it gets a new marker.
            row.marker = await _free_marker(session)
        strays.update({one.pco_id: one.content for one in await of_intent(session, writer.owner, kind, record_id)})
        return bool(strays)

    async def found(row: Creation) -> Made | None:
        pco_id = await look(intent(row))
        if pco_id is not None:
            return Made(pco_id, row.content or {})
        return next((Made(*stray) for stray in strays.items()), None)

    async def lock(session: AsyncSession) -> None:
        # As in a batch that is taken over.
        record: type[Member] | type[Family] = Family if record_kind(kind) == FAMILY else Member
        await session.execute(select(record.id).where(record.id == of_record).with_for_update())

    async def stored(session: AsyncSession, made: Made) -> None:
        if made.pco_id in strays:
            await session.execute(delete(Stray).filter_by(**writer.owner, kind=kind, pco_id=made.pco_id))
        await created(session, made)

    async def slipped(pco_id: str) -> None:
        await leave_behind(writer, kind, pco_id, record_id=of_record, intent_id=record_id, content=dict(content))

    return await creations.create_once(
        Creator(
            job=writer.job,
            clock=writer.resources.clock,
            rows=Creation,
            owner=writer.owner,
            unseen=writer.resources.settings.unseen,
        ),
        kind,
        record_id,
        content,
        look=found,
        post=lambda row: post(intent(row)),
        lock=lock,
        created=stored,
        slipped=slipped,
        opened=opened,
        unwanted=Later,
    )


async def _free_marker(session: AsyncSession) -> int:
    """A number for `remote_id` that no other intent has; random, so that a restored database cannot repeat one."""
    while True:
        marker = _FIRST_MARKER + randbelow(_LAST_MARKER - _FIRST_MARKER)
        if await session.scalar(select(Creation.id).where(Creation.marker == marker)) is None:
            return marker
