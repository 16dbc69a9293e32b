"""The data of the People card: counts, the run in progress, the last and the next run."""

from sqlalchemy import or_, select
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
    # Only for the Planning Center organization that is, or was last, connected; the history has those of others.
    owner = {
        "organization_id": organization_id,
        "pco_organization_id": connection.pco_organization_id if connection else "",
    }
    links, numbers = await counts.links_and(
        session,
        owner,
        members=select(Member.id).where(*by_key.here(Member, organization_id)),
        families=select(Family.id).where(*by_key.here(Family, organization_id)),
        held=select(HeldMatch.id).filter_by(**owner).where(HeldMatch.state.in_(["open", "later"])),
        asked=pairs(organization_id).where(~ENDED.kept_two).with_only_columns(ENDED.id),
        kept_out=select(KeptOut.record_id)
        .join(Member, Member.id == KeptOut.record_id)
        .where(KeptOut.organization_id == organization_id, KeptOut.kind == MEMBER, Member.deleted_at.is_(None)),
    )
    last_id = (
        select(Run.id)
        .filter_by(**owner)
        .where(Run.state.not_in(runs.OPEN), IS_SYNC)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    shown = await session.scalars(
        select(Run).where(Run.organization_id == organization_id, or_(runs.is_open(Run), Run.id == last_id))
    )
    by_open = {run.state in runs.OPEN: run for run in shown}
    current, last = by_open.get(True), by_open.get(False)
    members, families = links.get(MEMBER, Links()), links.get(FAMILY, Links())
    return PeopleStatus(
        connected=connection is not None and connection.state == "connected",
        members=numbers["members"],
        families=numbers["families"],
        linked_members=members.all - members.gone - members.missing,
        linked_families=families.all - families.gone - families.missing,
        held=numbers["held"] + numbers["asked"],
        gone=members.gone,
        kept_out=numbers["kept_out"],
        rejected=last.counts.get(REJECTED, 0) if last else 0,
        run=runs.render(RUNS, current) if current else None,
        last_run=runs.render(RUNS, last) if last else None,
        next_run_at=connection.next_run_at if connection and connection.state == "connected" else None,
    )
