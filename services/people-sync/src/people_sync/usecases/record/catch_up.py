"""Who came to be in Planning Center since we looked last: asked for before anybody is created there."""

from datetime import datetime

from contracts.values import MEMBER
from pco_client.walk import walk_since
from people_sync.planning_center import PEOPLE, latest
from people_sync.storage.families import linked_records
from people_sync.storage.tables import Connection
from people_sync.usecases.record.reading import read, store
from people_sync.usecases.record.writer import Writer


async def catch_up(writer: Writer, since: datetime | None) -> None:
    """Read people who were added or changed there and are nobody here yet, into the mirror alone.

    A creation looks there for somebody who may be the same. `since`: by Planning Center's clock, later than the last
    run's cursor; nothing is read where nothing says from when.
    """
    async with writer.job.sessions() as session:
        connection = await session.get_one(Connection, writer.organization_id)
    known_until = [instant for instant in (since, connection.cursor, connection.caught_up) if instant is not None]
    if not known_until:
        return
    start = max(known_until)
    newest: str | None = None
    async for page in walk_since(writer.pco, PEOPLE, start - writer.resources.horizon):
        newest = latest(page.rows, newest)
        async with writer.job.sessions() as session:
            known = await linked_records(session, writer.owner, [row.id for row in page.rows])
        for row in page.rows:
            if row.id not in known:
                found = await read(writer, MEMBER, row.id)
                if found.document is not None:
                    async with writer.transaction() as session:
                        await store(session, writer, found)
    if newest is not None:
        async with writer.transaction() as session:
            locked = await session.get_one(Connection, writer.organization_id, with_for_update=True)
            locked.caught_up = max(datetime.fromisoformat(newest), locked.caught_up or start)
