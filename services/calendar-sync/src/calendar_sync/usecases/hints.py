"""Notices of Planning Center: each asks for a refresh of its event, and is answered when that ends."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.hints import pco_id_of, why_ignored
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection
from calendar_sync.usecases.refreshes import HINTS, REFRESHES, may_have_changed
from servicekit.kafka.outbox import Outgoing
from synckit import hints
from synckit.deliveries import Facts, held_connection, ignored, take_by_organization
from synckit.notices import Known


async def take(session: AsyncSession, facts: Facts, now: datetime) -> None:
    """Queue refreshes for these notices, and answer those that need none."""
    await take_by_organization(session, facts, now, _of_organization)


async def _of_organization(session: AsyncSession, organization_id: str, facts: Facts, now: datetime) -> list[Outgoing]:
    def asks(known: CalendarConnection | None) -> bool:
        return any(why_ignored(fact.event, _known(known)) is None for fact in facts)

    connection = await held_connection(session, REFRESHES, CalendarConnection, organization_id, asks)
    known = _known(connection)
    said = [(fact, why_ignored(fact.event, known)) for fact in facts]
    asking = [fact for fact, sentence in said if sentence is None]
    if asking:
        assert connection is not None
        owner = Owner(organization_id, connection.pco_organization_id)
        rows: dict[str, UUID] = {}
        # In one order, because another transaction may request the same events.
        for pco_id in sorted({pco_id_of(fact.event) for fact in asking}):
            rows[pco_id] = (await may_have_changed(session, owner, pco_id, now, woken=True)).id
        await hints.note(session, HINTS, [hints.columns_of(fact.event, rows[pco_id_of(fact.event)]) for fact in asking])
    return ignored(session, HINTS, [(fact, sentence) for fact, sentence in said if sentence is not None], now)


def _known(connection: CalendarConnection | None) -> Known | None:
    return None if connection is None else Known(connection.state, connection.generation)
