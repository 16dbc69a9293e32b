"""Following the state of Calendar connections."""

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.storage.tables import CalendarConnection
from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import CALENDAR


async def follow(session: AsyncSession, fact: ConnectionFact) -> None:
    """Keep the newest fact: repeated, late and replayed ones change nothing."""
    if fact.product != CALENDAR:
        return
    values = {
        "state": fact.state,
        "generation": fact.generation,
        "version": fact.version,
        "pco_organization_id": fact.pco_organization_id,
        "pco_organization_name": fact.pco_organization_name,
        "occurred_at": fact.occurred_at,
    }
    await session.execute(
        insert(CalendarConnection)
        .values(organization_id=fact.organization_id, **values)
        .on_conflict_do_update(
            index_elements=[CalendarConnection.organization_id],
            set_=values,
            where=CalendarConnection.version < fact.version,
        )
    )
