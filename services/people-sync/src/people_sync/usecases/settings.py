"""The settings of an organization's People sync."""

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import PeopleSettings, PeopleSettingsPatch
from people_sync.storage.tables import Connection, Settings


async def read(session: AsyncSession, organization_id: str) -> PeopleSettings:
    """The chosen settings, else the defaults."""
    found = select(Settings).where(Settings.organization_id == organization_id)
    row = await session.scalar(found.execution_options(populate_existing=True))
    if row is None:
        return PeopleSettings()
    return PeopleSettings.model_validate({name: getattr(row, name) for name in PeopleSettings.model_fields})


async def change(
    session: AsyncSession, organization_id: str, body: PeopleSettingsPatch, now: datetime
) -> PeopleSettings:
    """Change the sent fields. `first_match: null` makes the next first match ask again."""
    values = body.model_dump(exclude_unset=True)
    if "schedule_hours" in values:
        await session.get(Connection, organization_id, with_for_update=True)  # before Settings, in the global order
    if values.get("inactivate_deleted"):
        before = await session.get(Settings, organization_id, with_for_update=True)
        if before is None or not before.inactivate_deleted:
            values["inactivate_since"] = now
    if values:
        row = PeopleSettings().model_dump() | values | {"organization_id": organization_id}
        statement = insert(Settings).values(row)
        await session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=values))
    if "schedule_hours" in values:
        await session.execute(
            update(Connection)
            .where(Connection.organization_id == organization_id, Connection.next_run_at.is_not(None))
            .values(next_run_at=now + timedelta(hours=values["schedule_hours"]))
        )
    return await read(session, organization_id)
