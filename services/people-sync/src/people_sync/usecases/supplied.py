"""Planning Center's ids that the platform supplies, and the links made from them."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import MEMBER
from people_sync.storage.erased import adopt
from people_sync.storage.sync_tables import Alias
from people_sync.storage.tables import Link
from synckit.among import among

NOT_CONNECTED: Final = ""
"""The Planning Center organization of links that the platform supplied while none was connected."""


async def adopt_supplied(session: AsyncSession, organization_id: str, pco_organization_id: str) -> None:
    """Move links, supplied while no organization was connected, to the organization connected now.

    An earlier link of that organization for the same record or the same id wins.
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
    """The finally kept person of each merged person, as far as the log of mergers was read.

    Without people whose old id has a link, because that link already followed the merger.
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
