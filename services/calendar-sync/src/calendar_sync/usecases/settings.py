"""The settings of the Calendar."""

from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.schedule import next_check
from calendar_sync.storage.runs import interval_of
from calendar_sync.storage.tables import CalendarConnection, ChurchSettings
from contracts.http.calendar import CalendarSettings, CalendarSettingsPatch


async def read(session: AsyncSession, organization_id: str) -> CalendarSettings:
    """The chosen settings, else the defaults."""
    row = await session.get(ChurchSettings, organization_id, populate_existing=True)
    return CalendarSettings(poll_minutes=row.poll_minutes) if row else CalendarSettings()


async def change(
    session: AsyncSession, organization_id: str, patch: CalendarSettingsPatch, now: datetime
) -> CalendarSettings:
    """Change the sent fields. A field sent as null is reset to its default."""
    sent = {name: getattr(patch, name) for name in patch.model_fields_set}
    if sent:
        # The connection comes before the settings, as in synckit's steps of a run.
        connection = await session.get(CalendarConnection, organization_id, with_for_update=True)
        values = {
            name: CalendarSettings.model_fields[name].default if value is None else value
            for name, value in sent.items()
        }
        await session.execute(
            insert(ChurchSettings)
            .values(organization_id=organization_id, **values)
            .on_conflict_do_update(index_elements=[ChurchSettings.organization_id], set_=values)
        )
        if connection is not None and connection.next_poll_at is not None:
            interval = await interval_of(session, organization_id)
            connection.next_poll_at = next_check(organization_id, interval, now)
    return await read(session, organization_id)
