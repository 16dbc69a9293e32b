"""Reading one record by itself in a run: one that Planning Center does not show is one line in the run's list."""

from sqlalchemy import select

from contracts.values import MEMBER
from people_sync.domain.sentences import REJECTED
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Remote
from people_sync.storage.tables import Family, Link, Member
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.reading import Read, read
from people_sync.usecases.record.refusals import PartRefused
from people_sync.usecases.run.context import RunContext, add_planned


async def read_or_list(context: RunContext, kind: str, pco_id: str) -> Read | None:
    """Read one person or household. None if Planning Center does not show it: it is listed, and nothing is decided."""
    try:
        return await read(context, kind, pco_id)
    except PartRefused as error:
        await _list(context, kind, pco_id, error)
        return None


async def _list(context: RunContext, kind: str, pco_id: str, refused: PartRefused) -> None:
    async with context.step() as session:
        name = f"{'Person' if kind == MEMBER else 'Household'} {pco_id}"
        row = await session.get(Remote, (*context.owner.values(), kind, pco_id))
        if row is not None and row.unread:
            name = row.unread["name"] or name
        of_record = select(Link).filter_by(**context.owner, kind=kind, pco_id=pco_id).with_for_update()
        link = await session.scalar(of_record)
        if link is not None:
            # Neither there nor gone, for all that is known.
            link.missing_since = None
            link.state = "linked" if link.state == "missing" else link.state
            if kind == MEMBER:
                name = full_name(await session.get_one(Member, link.record_id))
            else:
                name = (await session.get_one(Family, link.record_id)).name
        record_id = link.record_id if link else None
        plan = Planned(kind, name, REJECTED, record_id, pco_id, cause=refused.cause, sentence=str(refused))
        await add_planned(session, context, [plan])
