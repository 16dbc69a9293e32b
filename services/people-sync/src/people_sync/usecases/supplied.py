"""Planning Center's numbers as the platform supplies them: whose they are, and whose they were."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import delete, exists, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import MEMBER
from people_sync.storage.among import among
from people_sync.storage.erased import adopt
from people_sync.storage.sync_tables import Alias
from people_sync.storage.tables import Link

NOT_CONNECTED: Final = ""
"""The Planning Center organization of links that the platform supplied while none was connected."""

_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:organization, 7))")


async def one_at_a_time(session: AsyncSession, organization_id: str) -> None:
    """Hold off other calls, and facts about the connection, until the transaction ends.

    Two calls for the same records would each see the other's as missing, and `adopt_supplied` would miss the ids of a
    call that is not committed yet.
    """
    await session.execute(_ONE_AT_A_TIME, {"organization": organization_id})


async def adopt_supplied(session: AsyncSession, organization_id: str, pco_organization_id: str) -> None:
    """Give links that the platform supplied while no organization was connected to the one that is now.

    A link that the organization has for the same record, or the same id, from an earlier time wins.
    """
    known = aliased(Link)
    of_church = (Link.organization_id == organization_id, Link.pco_organization_id == NOT_CONNECTED)
    overtaken = exists().where(
        known.organization_id == organization_id,
        known.pco_organization_id == pco_organization_id,
        known.kind == Link.kind,
        or_(known.pco_id == Link.pco_id, known.record_id == Link.record_id),
    )
    silent = {"synchronize_session": False}
    await session.execute(delete(Link).where(*of_church, overtaken), execution_options=silent)
    await session.execute(
        update(Link).where(*of_church).values(pco_organization_id=pco_organization_id), execution_options=silent
    )
    await adopt(session, organization_id, NOT_CONNECTED, pco_organization_id)


async def kept_ids(session: AsyncSession, owner: Mapping[str, str], pco_ids: Collection[str]) -> dict[str, str]:
    """Of people who were merged in Planning Center, as far as its log was read: who was kept at last.

    Not of those whose old number a link has: that one says already what became of them.
    """
    church = aliased(Alias, select(Alias).filter_by(**owner).subquery())
    has_link = exists().where(Link.pco_id == church.removed_id, Link.kind == MEMBER)
    has_link = has_link.where(*(getattr(Link, name) == value for name, value in owner.items()))
    chain = (
        select(church.removed_id.label("asked"), church.kept_id.label("kept"))
        .where(among(church.removed_id, pco_ids), ~has_link)
        .cte("chain", recursive=True)
    )
    onward = select(chain.c.asked, church.kept_id).join(church, church.removed_id == chain.c.kept)
    chain = chain.union(onward)
    found = select(chain.c.asked, chain.c.kept).where(~exists().where(church.removed_id == chain.c.kept))
    return dict((await session.execute(found)).all())
