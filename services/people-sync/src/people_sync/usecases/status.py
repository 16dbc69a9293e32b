"""The data of the People card: counts, the run in progress, the last and the next run."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import PeopleStatus
from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import REJECTED
from people_sync.storage import counts
from people_sync.storage.counts import Links
from people_sync.storage.joined import ENDED, pairs
from people_sync.storage.runs import IS_SYNC, RUNS
from people_sync.storage.sync_tables import HeldMatch, KeptOut, Run
from people_sync.storage.tables import Connection, Family, Member
from synckit import by_key, runs


async def status(session: AsyncSession, organization_id: str) -> PeopleStatus:
    """The organization's present numbers."""
    connection = await session.get(Connection, organization_id)
    links: dict[str, Links] = {}
    held = 0
    if connection is not None:
        owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
        links = await counts.links(session, owner)
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
        asked = pairs(organization_id).where(~ENDED.kept_two).with_only_columns(ENDED.id)
        held += await session.scalar(select(func.count()).select_from(asked.subquery())) or 0
    # Only for the Planning Center organization that is, or was last, connected; the history has those of others.
    here = Run.pco_organization_id == (connection.pco_organization_id if connection else "")
    last = await session.scalar(
        select(Run)
        .where(Run.organization_id == organization_id, here, Run.state.not_in(runs.OPEN), IS_SYNC)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
    )
    current = await runs.open_run(session, RUNS, organization_id)
    members, families = links.get(MEMBER, Links()), links.get(FAMILY, Links())
    return PeopleStatus(
        connected=connection is not None and connection.state == "connected",
        members=await by_key.count(session, Member, organization_id),
        families=await by_key.count(session, Family, organization_id),
        linked_members=members.all - members.gone - members.missing,
        linked_families=families.all - families.gone - families.missing,
        held=held,
        gone=members.gone,
        kept_out=await _kept_out(session, organization_id),
        rejected=last.counts.get(REJECTED, 0) if last else 0,
        run=runs.render(RUNS, current) if current else None,
        last_run=runs.render(RUNS, last) if last else None,
        next_run_at=connection.next_run_at if connection and connection.state == "connected" else None,
    )


async def _kept_out(session: AsyncSession, organization_id: str) -> int:
    found = (
        select(func.count())
        .select_from(KeptOut)
        .join(Member, Member.id == KeptOut.record_id)
        .where(KeptOut.organization_id == organization_id, KeptOut.kind == MEMBER, Member.deleted_at.is_(None))
    )
    return await session.scalar(found) or 0
