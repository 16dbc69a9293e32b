"""People who were merged in Planning Center: the link follows to the person who was kept.

The log of mergers is append-only and read in its order, from where it was read last, less the staleness horizon: a
chain (A into B, B into C) is followed by itself. What it said is kept, so that it need not be read twice.
"""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Text, any_, delete, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from pco_client.jsonapi import Resource
from pco_client.walk import walk_since
from people_sync.domain.sentences import MERGED, merged_here
from people_sync.planning_center import MERGERS
from people_sync.storage import remote
from people_sync.storage.records import full_name
from people_sync.storage.tables import Alias, Change, Connection, Link, LinkWrite, Member
from people_sync.usecases.record.effects import Effects, noted, publish, touch
from people_sync.usecases.run.context import RunContext

_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)


async def follow_mergers(context: RunContext) -> list[str]:
    """Move links along the log. Returns the people kept, in Planning Center's ids."""
    async with context.job.sessions() as session:
        cursor = (await session.get_one(Connection, context.organization_id)).merger_cursor
    since = cursor - context.resources.horizon if cursor else _BEGINNING
    kept: list[str] = []
    async for page in walk_since(context.pco, MERGERS, since, field="created_at"):
        async with context.step() as session:
            effects = Effects()
            pairs = await _remember(session, context, page.rows)
            await _lock(session, context, [removed for _, removed in pairs])
            for keep, removed in pairs:
                if await _follow(session, context, removed, keep, effects):
                    kept.append(keep)
            await publish(session, context, effects)
    return kept


async def _remember(session: AsyncSession, context: RunContext, rows: list[Resource]) -> list[tuple[str, str]]:
    """Store what a page of the log says; (kept, removed) in its order."""
    if not rows:
        return []
    found: list[dict[str, Any]] = [
        {
            **context.owner,
            "removed_id": str(row.attributes["person_to_remove_id"]),
            "kept_id": str(row.attributes["person_to_keep_id"]),
            "merged_at": datetime.fromisoformat(row.attributes["created_at"]),
            "seen_at": context.now(),
        }
        for row in rows
    ]
    await session.execute(insert(Alias).on_conflict_do_nothing(), found)
    connection = await session.get_one(Connection, context.organization_id, with_for_update=True)
    connection.merger_cursor = max([one["merged_at"] for one in found] + [connection.merger_cursor or _BEGINNING])
    # Whom the pull met before the merger would come back as somebody new.
    await remote.forget(session, context.owner, MEMBER, [one["removed_id"] for one in found])
    return [(one["kept_id"], one["removed_id"]) for one in found]


async def _lock(session: AsyncSession, context: RunContext, removed: list[str]) -> None:
    """Members before links, and those in their order, as everywhere."""
    await session.execute(
        select(Member.id)
        .join(Link, Link.record_id == Member.id)
        .where(
            Link.organization_id == context.organization_id,
            Link.pco_organization_id == context.pco_organization_id,
            Link.kind == MEMBER,
            Link.pco_id == any_(literal(removed, ARRAY(Text))),
        )
        .order_by(Member.id)
        .with_for_update(of=Member)
    )


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
    if link is None:
        return False
    member = await session.get_one(Member, link.record_id, with_for_update=True)
    if keep in links:
        await _two_became_one(session, context, link, member, links[keep], effects)
        return False
    link.pco_id, link.remote_hash, link.state = keep, None, "linked"
    link.gone_at = link.missing_since = link.merged_into = None
    # They were about the person removed.
    await session.execute(delete(LinkWrite).where(LinkWrite.link_id == link.id))
    effects.rows.append(noted(context, MEMBER, member.id, "planning_center_id", removed, keep, rule="merged"))
    unchanged = link.compared_version == member.version
    touch(context, member, effects)
    if unchanged:
        # Only the link moved: no value that Planning Center would have to get.
        link.compared_version = member.version
    await session.flush()
    return True


async def _two_became_one(
    session: AsyncSession, context: RunContext, link: Link, member: Member, kept: Link, effects: Effects
) -> None:
    """Two members here whose people became one there: both stay, the second one's link ends, and both are named."""
    if link.merged_into == kept.pco_id:
        return
    other = await session.get_one(Member, kept.record_id)
    link.state, link.gone_at, link.merged_into = "gone", link.gone_at or context.now(), kept.pco_id
    link.create_again, link.missing_since = False, None
    effects.rows.append(noted(context, MEMBER, member.id, "planning_center_id", link.pco_id, None, rule="merged"))
    touch(context, member, effects)
    await session.execute(
        insert(Change)
        .values(
            organization_id=context.organization_id,
            run_id=context.run_id,
            kind=MEMBER,
            record_id=member.id,
            pco_id=link.pco_id,
            name=full_name(member),
            here="done",
            there="none",
            outcome=MERGED,
            sentence=merged_here(full_name(member), full_name(other)),
        )
        .on_conflict_do_nothing()
    )
