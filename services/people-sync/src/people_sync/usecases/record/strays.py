"""Strays: records created in Planning Center by a worker that had lost its lease meanwhile.

No check on our side can stop the last request of a frozen process from being sent late. The worker that learns from its
answer that the lease was lost stores the created record, and the record's next writer settles it (`settling`).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.canonical import name_key
from people_sync.domain.planning_center import RemotePerson
from people_sync.domain.strays import is_still_stray
from people_sync.domain.values import to_json
from people_sync.storage.links import ended
from people_sync.storage.records import values_of
from people_sync.storage.strays import STRAY, known_strays, record_kind
from people_sync.storage.sync_tables import Creation, Stray
from people_sync.storage.tables import Connection, Link, Member
from people_sync.usecases.record.writer import Writer
from people_sync.usecases.refreshes import REFRESHES
from synckit import refreshes


async def leave_behind(
    writer: Writer, kind: str, pco_id: str, *, record_id: UUID, intent_id: UUID, content: dict[str, Any]
) -> None:
    """Store a stray without checking the lost lease, since no decision is made here."""
    row = {"kind": kind, "pco_id": pco_id, "record_id": record_id, "intent_id": intent_id, "content": content}
    async with writer.job.sessions.begin() as session:
        await _note(session, writer, [row], writer.now())


async def strays_among(session: AsyncSession, writer: Writer, people: dict[str, RemotePerson]) -> frozenset[str]:
    """The unlinked people that are duplicates created by us.

    They are known as stored strays, or by the marker of an intent with another answer: the process that created them
    may never wake to store them.
    """
    now = writer.now()
    known = await known_strays(session, writer.owner, MEMBER, people)
    ignored = frozenset(
        pco_id
        for pco_id, settled_at in known.items()
        if is_still_stray(settled_at, used_again=people[pco_id].active, now=now)
    )
    marked = {pco_id: one for pco_id, one in people.items() if one.remote_id and pco_id not in known}
    if not marked:
        return ignored
    rows = await session.execute(
        select(Creation.marker, Member)
        .join(Member, Member.id == Creation.record_id)
        .join(Link, (Link.record_id == Creation.record_id) & (Link.pco_id == Creation.pco_id))
        .where(
            Creation.organization_id == writer.organization_id,
            Creation.pco_organization_id == writer.pco_organization_id,
            Creation.kind == MEMBER,
            Creation.state == "created",
            Creation.marker.in_({one.remote_id for one in marked.values()}),
            Link.organization_id == Creation.organization_id,
            Link.pco_organization_id == Creation.pco_organization_id,
            Link.kind == MEMBER,
            ~ended(Link),
        )
    )
    members = dict(rows.all())
    found: list[dict[str, Any]] = []
    for pco_id, one in marked.items():
        member = members.get(one.remote_id)
        # A relative may share the number and one name, so both names must be equal.
        if member and name_key(one.values.first_name, one.values.last_name) == member.name_key:
            of_record = {"record_id": member.id, "intent_id": member.id}
            found.append({"kind": MEMBER, "pco_id": pco_id, "content": to_json(values_of(member)), **of_record})
    await _note(session, writer, found, now)
    return ignored | {row["pco_id"] for row in found}


async def _note(session: AsyncSession, writer: Writer, rows: list[dict[str, Any]], now: datetime) -> None:
    if not rows:
        return
    await session.execute(
        insert(Stray).on_conflict_do_nothing(), [{**writer.owner, **row, "made_at": now} for row in rows]
    )
    connection = await session.get(Connection, writer.organization_id)
    if connection is None or connection.pco_organization_id != writer.pco_organization_id:
        return  # the record's next writer comes with the reconnect
    for row in sorted(rows, key=lambda row: str(row["record_id"])):
        kind = record_kind(row["kind"])
        await refreshes.request(
            session,
            REFRESHES,
            writer.owner,
            kind,
            record_id=row["record_id"],
            reason=STRAY,
            urgent=False,
            now=now,
        )
