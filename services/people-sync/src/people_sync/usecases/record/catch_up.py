"""Reads people added to Planning Center since the last look, before a person is created there."""

from datetime import datetime

from contracts.values import MEMBER
from pco_client.walk import walk_since
from people_sync.domain.planning_center import Unread
from people_sync.planning_center import FIELDS, INCLUDE, PEOPLE, latest, person_of
from people_sync.storage import remote
from people_sync.storage.families import linked_records
from people_sync.storage.tables import Connection
from people_sync.usecases.record.reading import read, store
from people_sync.usecases.record.refusals import PartRefused
from people_sync.usecases.record.writer import Writer


async def catch_up(writer: Writer, since: datetime | None) -> None:
    """Read added or changed people without a member here into the mirror only.

    A creation looks in the mirror for the same person. `since`: by Planning Center's clock, later than the last run's
    cursor; without either no read is made.
    """
    async with writer.job.sessions() as session:
        connection = await session.get_one(Connection, writer.organization_id)
    known_until = [instant for instant in (since, connection.cursor, connection.caught_up) if instant is not None]
    if not known_until:
        return
    start = max(known_until)
    newest: str | None = None
    asked_at = writer.now()
    walk = walk_since(writer.pco, PEOPLE, start - writer.resources.horizon, include=INCLUDE, fields=FIELDS)
    async for page in walk:
        newest = latest(page.rows, newest)
        async with writer.transaction() as session:
            known = await linked_records(session, writer.owner, [row.id for row in page.rows])
            strangers = [person_of(row, page.included) for row in page.rows if row.id not in known]
            rows = [remote.row_of(writer.owner, MEMBER, one) for one in strangers]
            await remote.put(session, writer.owner, rows, writer.reading(asked_at), None)
            await remote.met(session, writer.cause.id, MEMBER, [one.pco_id for one in strangers])
        for one in strangers:
            if isinstance(one, Unread) and one.why == "incomplete":
                await _read_alone(writer, one.pco_id)
        asked_at = writer.now()
    if newest is not None:
        async with writer.transaction() as session:
            locked = await session.get_one(Connection, writer.organization_id, with_for_update=True)
            locked.caught_up = max(datetime.fromisoformat(newest), locked.caught_up or start)


async def _read_alone(writer: Writer, pco_id: str) -> None:
    """Read one person by a separate request, because the page was incomplete."""
    try:
        found = await read(writer, MEMBER, pco_id)
    except PartRefused:
        return  # the page's read of this person stays valid
    if found.document is not None:
        async with writer.transaction() as session:
            await store(session, writer, found)
