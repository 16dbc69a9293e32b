"""People who were merged in Planning Center: the link follows to the person who was kept.

The log of mergers is append-only and read in its order, so that a chain (A into B, B into C) is followed by itself.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Text, any_, delete, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from pco_client.walk import walk_since
from people_sync.storage.tables import Link, LinkWrite, Member, Staged
from people_sync.usecases.record.effects import Effects, noted, publish, touch
from people_sync.usecases.run.context import RunContext

PATH: Final = "/people/v2/person_mergers"
_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)


async def follow_mergers(context: RunContext) -> list[str]:
    """Move links along the log, the whole of it in a full run. Returns the people kept, in Planning Center's ids."""
    kept: list[str] = []
    async for page in walk_since(
        context.pco, PATH, _BEGINNING if context.kind == "full" else context.since or _BEGINNING, field="created_at"
    ):
        async with context.step() as session:
            effects = Effects()
            pairs = [
                (str(row.attributes["person_to_keep_id"]), str(row.attributes["person_to_remove_id"]))
                for row in page.rows
            ]
            # Whom the pull met before the merger would come back as somebody new.
            await session.execute(
                delete(Staged).where(
                    Staged.run_id == context.run_id,
                    Staged.kind == MEMBER,
                    Staged.pco_id.in_([removed for _, removed in pairs]),
                ),
                execution_options={"synchronize_session": False},
            )
            # Members before links, and those in their order, as everywhere.
            await session.execute(
                select(Member.id)
                .join(Link, Link.record_id == Member.id)
                .where(
                    Link.organization_id == context.organization_id,
                    Link.pco_organization_id == context.pco_organization_id,
                    Link.kind == MEMBER,
                    Link.pco_id == any_(literal([removed for _, removed in pairs], ARRAY(Text))),
                )
                .order_by(Member.id)
                .with_for_update(of=Member)
            )
            for keep, removed in pairs:
                if await _follow(session, context, removed, keep, effects):
                    kept.append(keep)
            await publish(session, context, effects)
    return kept


async def _follow(session: AsyncSession, context: RunContext, removed: str, keep: str, effects: Effects) -> bool:
    links = {
        link.pco_id: link
        for link in await session.scalars(
            select(Link)
            .filter_by(**context.owner, kind=MEMBER)
            .where(Link.pco_id.in_([removed, keep]))
            .with_for_update()
        )
    }
    link = links.get(removed)
    # Two members here whose people became one there: the second one's link ends as *gone*, both members stay.
    if link is None or keep in links:
        return False
    link.pco_id, link.remote_hash, link.state, link.gone_at = keep, None, "linked", None
    # They were about the person removed.
    await session.execute(delete(LinkWrite).where(LinkWrite.link_id == link.id))
    member = await session.get_one(Member, link.record_id, with_for_update=True)
    effects.rows.append(noted(context, MEMBER, member.id, "planning_center_id", removed, keep, rule="merged"))
    unchanged = link.compared_version == member.version
    touch(context, member, effects)
    if unchanged:
        # Only the link moved: no value that Planning Center would have to get.
        link.compared_version = member.version
    await session.flush()
    return True
