"""What the People card shows: counts, the run in progress, the last and the next one."""

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import PeopleStatus
from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import REJECTED
from people_sync.storage import runs
from people_sync.storage.sync_tables import HeldMatch, Run
from people_sync.storage.tables import Connection, Family, Link, Member


async def status(session: AsyncSession, organization_id: str) -> PeopleStatus:
    """The organization's numbers as they are now."""
    connection = await session.get(Connection, organization_id)
    links: dict[tuple[str, str], int] = {}
    held = 0
    if connection is not None:
        rows = await session.execute(
            select(Link.kind, Link.state, func.count())
            .where(
                Link.organization_id == organization_id,
                Link.pco_organization_id == connection.pco_organization_id,
                ~exists().where(Member.id == Link.record_id, Member.deleted_at.is_not(None)),
                ~exists().where(Family.id == Link.record_id, Family.deleted_at.is_not(None)),
            )
            .group_by(Link.kind, Link.state)
        )
        links = {(kind, state): count for kind, state, count in rows.tuples()}
        held = (
            await session.scalar(
                select(func.count(HeldMatch.id)).where(
                    HeldMatch.organization_id == organization_id,
                    HeldMatch.pco_organization_id == connection.pco_organization_id,
                    HeldMatch.state.in_(["open", "later"]),
                )
            )
            or 0
        )
    # Of the organization that is, or was last, connected: what another one's said is in the history.
    here = Run.pco_organization_id == (connection.pco_organization_id if connection else "")
    last = await session.scalar(
        select(Run)
        # An undo reads nobody: it is no sync that the card could speak of.
        .where(Run.organization_id == organization_id, here, Run.state.not_in(runs.OPEN), Run.purpose != runs.UNDO)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
    )
    current = await runs.open_run(session, organization_id)
    return PeopleStatus(
        connected=connection is not None and connection.state == "connected",
        members=await _count(session, Member, organization_id),
        families=await _count(session, Family, organization_id),
        linked_members=links.get((MEMBER, "linked"), 0) + links.get((MEMBER, "supplied"), 0),
        linked_families=links.get((FAMILY, "linked"), 0) + links.get((FAMILY, "supplied"), 0),
        held=held,
        gone=links.get((MEMBER, "gone"), 0),
        rejected=last.counts.get(REJECTED, 0) if last else 0,
        run=runs.render(current) if current else None,
        last_run=runs.render(last) if last else None,
        next_run_at=connection.next_run_at if connection and connection.state == "connected" else None,
    )


async def _count(session: AsyncSession, table: type[Member] | type[Family], organization_id: str) -> int:
    statement = select(func.count(table.id)).where(table.organization_id == organization_id, table.deleted_at.is_(None))
    return await session.scalar(statement) or 0
