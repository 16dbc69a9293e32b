"""Differences that an administrator decided to keep: list them, and end one."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import Difference, Differences
from contracts.values import MEMBER
from people_sync.domain.values import to_json
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.records import values_of
from people_sync.storage.sync_tables import Conflict
from people_sync.storage.tables import Connection, Family, Link, Member
from people_sync.usecases.decisions import DECIDED
from people_sync.usecases.directory import existing
from people_sync.usecases.history import DECIDE_AGAIN, note
from people_sync.usecases.refreshes import REFRESHES, awake
from servicekit.errors import Conflict as Refused
from servicekit.errors import NotFound
from synckit import refreshes
from synckit.history import Actor, Noted


async def of_record(session: AsyncSession, organization_id: str, kind: str, record_id: str) -> Differences:
    """List the differences of one record that are kept. NotFound (404)."""
    id_ = await existing(session, organization_id, kind, record_id)
    link = await session.scalar(_link(organization_id, kind, id_))
    return Differences(items=await _shown(session, link))


async def end(
    session: AsyncSession, organization_id: str, kind: str, record_id: str, field: str, actor: Actor, now: datetime
) -> Differences:
    """End a kept difference, which becomes a conflict. NotFound (404) if the field is not kept different."""
    id_ = await existing(session, organization_id, kind, record_id)
    if await kept_out_among(session, organization_id, kind, [id_]):
        raise Refused(
            "This record is kept out of the sync, so the two sides are not compared. Choose Sync again first.",
            slug="kept-out",
        )
    owner = await awake(session, organization_id)
    if owner is None:
        raise Refused(
            "Planning Center People is not connected, so the two sides can't be compared. Connect it under "
            "Integrations first.",
            slug="not-connected",
        )
    link = await session.scalar(_link(organization_id, kind, id_).with_for_update(of=Link))
    if link is None or field not in {one.field for one in await _shown(session, link)}:
        raise NotFound("This field is not kept different any more. Read the page again.")
    link.decided = {**link.decided, field: {**link.decided[field], "ended": now.isoformat()}}
    link.remote_hash = None
    ours = link.decided[field]["ours"]
    await note(session, organization_id, actor, [Noted(kind, id_, field, ours, ours, DECIDE_AGAIN)], now)
    await refreshes.request(
        session, REFRESHES, owner, kind, record_id=id_, reason=DECIDED, urgent=True, now=now, woken=True
    )
    return Differences(items=await _shown(session, link))


def _link(organization_id: str, kind: str, record_id: UUID) -> Select[Any]:
    """Select the record's link in the Planning Center organization that is connected, or was last."""
    return (
        select(Link)
        .join(
            Connection,
            (Connection.organization_id == Link.organization_id)
            & (Connection.pco_organization_id == Link.pco_organization_id),
        )
        .where(Link.organization_id == organization_id, Link.kind == kind, Link.record_id == record_id)
    )


async def _ours(session: AsyncSession, link: Link) -> dict[str, Any]:
    """Our present values, JSON by field."""
    if link.kind == MEMBER:
        return to_json(values_of(await session.get_one(Member, link.record_id)))
    family = await session.get_one(Family, link.record_id)
    contact = family.primary_contact_id
    return {"name": family.name, "primary_contact": str(contact) if contact else None}


async def _shown(session: AsyncSession, link: Link | None) -> tuple[Difference, ...]:
    """The kept differences. Fields that changed since are left out, because they are in conflict."""
    if link is None or not link.decided:
        return ()
    open_conflict = select(Conflict.fields).where(
        Conflict.organization_id == link.organization_id,
        Conflict.record_id == link.record_id,
        Conflict.state == "open",
    )
    in_conflict = {field["field"] for field in await session.scalar(open_conflict) or []}
    ours = await _ours(session, link)
    return tuple(
        Difference(
            field=name, ours=kept["ours"], theirs=kept["theirs"], decided_by_name=kept["by_name"], decided_at=kept["at"]
        )
        for name, kept in link.decided.items()
        # After a change here, the next sync decides about the field again.
        if "ended" not in kept and name not in in_conflict and ours.get(name) == kept["ours"]
    )
