"""Held matches: people in Planning Center who may or may not be somebody here, and what an administrator says."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import Page
from contracts.http.people import AnswerHeld, HeldCandidate, HeldMatch, HeldQuery
from contracts.identity import UserIdentity
from contracts.values import MEMBER
from people_sync.domain.values import from_json, to_contract
from people_sync.storage import paging
from people_sync.storage.links import tie
from people_sync.storage.records import render_members
from people_sync.storage.sync_tables import HeldMatch as Row
from people_sync.storage.tables import Connection, Member
from people_sync.usecases import refreshes
from people_sync.usecases.directory import check_version, parse_id
from people_sync.usecases.publishing import publish, touch_members
from people_sync.usecases.record.claims import is_being_written
from servicekit.errors import Conflict, Invalid, NotFound


async def held_matches(session: AsyncSession, organization_id: str, query: HeldQuery) -> Page[HeldMatch]:
    """A page of held matches, oldest first; without a filter those that still wait."""
    states = [query.state] if query.state else ["open", "later"]
    statement = _of(organization_id).where(Row.state.in_(states))
    total = None
    if query.after:
        created, last = paging.decode(query.after, paging.instant, UUID)
        statement = statement.where(func.row(Row.created_at, Row.id) > func.row(created, last))
    else:
        total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = (await session.scalars(statement.order_by(Row.created_at, Row.id).limit(query.limit + 1))).all()
    shown = rows[: query.limit]
    return Page[HeldMatch](
        items=tuple(await _render(session, list(shown))),
        next=paging.encode(shown[-1].created_at.isoformat(), str(shown[-1].id)) if len(rows) > query.limit else None,
        total=total,
    )


async def answer(
    session: AsyncSession, organization_id: str, held_id: str, body: AnswerHeld, user: UserIdentity, now: datetime
) -> HeldMatch:
    """Take an answer and act on it at once. Conflict (409) if the match moved on since, or the member is taken."""
    if body.answer == "same" and body.member_id is not None:
        # Members before held matches, as a sync locks them. Who is a candidate is checked behind.
        await _member(session, organization_id, body.member_id)
    held = await session.scalar(
        _of(organization_id).where(Row.id == parse_id(held_id, "held match")).with_for_update(of=Row)
    )
    if held is None:
        raise NotFound("There is no such held match.")
    check_version(body.version, held.version, "held match")
    if held.state in {"same", "different"}:
        raise Conflict("This match was answered already. Read the list again.", slug="answered")
    if body.answer == "same":
        await _same(session, organization_id, held, body, now)
    elif body.answer == "different":
        held.different_from = sorted({*held.different_from, *held.candidate_ids})
    held.state = body.answer
    held.version += 1
    held.answered_by, held.answered_at = user.user_id, now
    await session.flush()
    if body.answer == "same":
        member_id = parse_id(body.member_id or "", "member")
        await refreshes.soon(session, organization_id, now, record_id=member_id, reason="answered")
    elif body.answer == "different":
        await refreshes.soon(session, organization_id, now, pco_id=held.pco_id, reason="answered")
    return (await _render(session, [held]))[0]


async def _same(session: AsyncSession, organization_id: str, held: Row, body: AnswerHeld, now: datetime) -> None:
    """Link the two. Nothing was ever agreed between them, so the next sync asks the organization's choice."""
    if body.member_id not in held.candidate_ids:
        raise Invalid(
            "Say which member it is.", errors=[{"field": "member_id", "message": "must be one of the candidates"}]
        )
    member = await _member(session, organization_id, body.member_id)
    if member is None or member.deleted_at is not None:
        raise Conflict("This member was deleted meanwhile. Nothing was linked. Choose again.", slug="member-gone")
    if await is_being_written(session, organization_id, member.id):
        raise Conflict(
            "This member is being synced at the moment, and may just be added in Planning Center. Nothing was linked. "
            "Answer again in a few seconds.",
            slug="busy",
        )
    owner = {"organization_id": organization_id, "pco_organization_id": held.pco_organization_id}
    link = await tie(session, owner, MEMBER, member.id, held.pco_id)
    if link is None:
        raise Conflict(
            "This member, or this person in Planning Center, was linked to somebody else meanwhile. "
            "Nothing was linked. Read the list again.",
            slug="already-linked",
        )
    link.compared_version = member.version
    await session.flush()
    await touch_members(session, [member], now)
    await publish(session, organization_id, now, [member], [])


async def _member(session: AsyncSession, organization_id: str, member_id: str) -> Member | None:
    """Somebody of the directory, locked."""
    try:
        id_ = UUID(member_id)
    except ValueError:
        return None
    found: Member | None = await session.scalar(
        select(Member).where(Member.organization_id == organization_id, Member.id == id_).with_for_update()
    )
    return found


async def no_longer_held(session: AsyncSession, owner: Mapping[str, str], pco_ids: Collection[str]) -> None:
    """Who is known now waits for no answer any more, and keeps nobody else waiting."""
    await session.execute(
        delete(Row)
        .filter_by(**owner)
        .where(Row.pco_id == any_(literal(list(pco_ids), ARRAY(Text))), Row.state.in_(["open", "later"])),
        execution_options={"synchronize_session": False},
    )


def _of(organization_id: str) -> Select[Row]:
    """Those of the Planning Center organization that is connected."""
    return (
        select(Row)
        .join(
            Connection,
            (Connection.organization_id == Row.organization_id)
            & (Connection.pco_organization_id == Row.pco_organization_id),
        )
        .where(Row.organization_id == organization_id)
    )


async def _render(session: AsyncSession, rows: list[Row]) -> list[HeldMatch]:
    ids = {UUID(one["member_id"]) for row in rows for one in row.candidates}
    members = (await session.scalars(select(Member).where(Member.id.in_(ids), Member.deleted_at.is_(None)))).all()
    rendered = {member.id: member for member in await render_members(session, members)}
    return [_held(row, rendered) for row in rows]


def _held(row: Row, members: dict[str, Any]) -> HeldMatch:
    return HeldMatch(
        id=str(row.id),
        pco_id=row.pco_id,
        theirs=to_contract(from_json(row.theirs)),
        candidates=tuple(
            HeldCandidate(member=members[one["member_id"]], reasons=tuple(one["reasons"]))
            for one in row.candidates
            if one["member_id"] in members
        ),
        reasons=tuple(row.reasons),
        state=row.state,
        version=row.version,
        created_at=row.created_at,
    )
