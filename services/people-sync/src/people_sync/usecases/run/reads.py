"""Single reads of a run: a refused read becomes one line of the run's list."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.planning_center import Unread, person_from_snapshot
from people_sync.domain.sentences import REJECTED
from people_sync.storage import remote
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Remote
from people_sync.storage.tables import Family, Link, Member
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import Read, read
from people_sync.usecases.record.refusals import PartRefused
from people_sync.usecases.run.context import RunContext, add_planned


async def read_or_list(context: RunContext, kind: str, pco_id: str) -> Read | None:
    """Read one person or household. None after a refusal, which is listed without a decision."""
    try:
        return await read(context, kind, pco_id)
    except PartRefused as error:
        await _list(context, kind, pco_id, error)
        return None


async def note_whether_there(
    session: AsyncSession, context: RunContext, kind: str, pco_id: str, *, there: bool
) -> None:
    """Note in a record's link whether a single read found the record. Locks the link."""
    link = select(Link).filter_by(**context.owner, kind=kind, pco_id=pco_id).with_for_update()
    for row in await session.scalars(link):
        row.missing_since = None if there else row.missing_since or context.now()
        row.state = "linked" if there and row.state == "missing" else row.state


async def _list(context: RunContext, kind: str, pco_id: str, refused: PartRefused) -> None:
    async with context.step() as session:
        name = f"{'Person' if kind == MEMBER else 'Household'} {pco_id}"
        row = await session.get(Remote, (*context.owner.values(), kind, pco_id))
        person = None
        if row is not None and row.unread:
            name = row.unread["name"] or name
            known = row.unread.get("person")
            person = person_from_snapshot(known) if known else None
        of_record = select(Link.record_id).filter_by(**context.owner, kind=kind, pco_id=pco_id)
        if (record_id := await session.scalar(of_record)) is not None:
            if kind == MEMBER:
                name = full_name(await session.get_one(Member, record_id))
            else:
                name = (await session.get_one(Family, record_id)).name
        # Makes the next run read the record again, edited there or not.
        unread = remote.row_of(context.owner, kind, Unread(pco_id, "unreadable", str(refused), name, person))
        await remote.put(session, context.owner, [unread], context.reading(context.now()), context.run_id)
        # A refusal does not say that the record is gone.
        await note_whether_there(session, context, kind, pco_id, there=True)
        plan = Planned(kind, name, REJECTED, record_id, pco_id, cause=refused.cause, sentence=str(refused))
        await add_planned(session, context, [plan])
