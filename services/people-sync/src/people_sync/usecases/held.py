"""Held matches: people in Planning Center who may be a member here, and the administrators' answers."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.people_sync_run_v1 import HeldMatchesAnswered
from contracts.http.common import Page
from contracts.http.people import Answer, AnswerHeld, HeldCandidate, HeldMatch, HeldPerson, HeldQuery, TakeBackHeld
from contracts.identity import UserIdentity
from contracts.values import MEMBER
from people_sync.domain.held import ACTED_ON, BUSY, BUSY_NOW, IN_A_RUN, LEFT_ALONE, MEMBER_GONE, TAKEN, suffix_in
from people_sync.domain.sentences import answered_before
from people_sync.domain.values import from_json, to_contract
from people_sync.storage.held import WAITING, fitting
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import in_no_household, tie
from people_sync.storage.records import render_members
from people_sync.storage.runs import PROOF
from people_sync.storage.sync_tables import Change, Remote, Run
from people_sync.storage.sync_tables import HeldMatch as Row
from people_sync.storage.tables import Connection, Link, Member
from people_sync.usecases import history, refreshes
from people_sync.usecases.publishing import publish, touch_members
from people_sync.usecases.record.claims import is_being_written
from servicekit.errors import Conflict, Invalid, NotFound
from servicekit.http import paging
from servicekit.kafka.outbox import append
from synckit.among import among
from synckit.history import Actor, Noted
from synckit.records import check_version, parse_id
from synckit.runs import OPEN

ANSWERED: Final = ("same", "different")
"""States of answered matches; `later` still waits."""


async def held_matches(session: AsyncSession, organization_id: str, query: HeldQuery) -> Page[HeldMatch]:
    """A page of held matches, oldest first; without a filter only unanswered ones."""
    statement = of_connected(organization_id).where(*fitting(query))
    # A person has at most one match, which is shown in any state.
    if query.state or not query.pco_id:
        statement = statement.where(_in_state(query.state))
    total = None
    if query.after:
        created, last = paging.decode(query.after, paging.instant, UUID)
        statement = statement.where(func.row(Row.created_at, Row.id) > func.row(created, last))
    else:
        total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = (await session.scalars(statement.order_by(Row.created_at, Row.id).limit(query.limit + 1))).all()
    shown = rows[: query.limit]
    return Page[HeldMatch](
        items=tuple(await render(session, list(shown))),
        next=paging.encode(shown[-1].created_at.isoformat(), str(shown[-1].id)) if len(rows) > query.limit else None,
        total=total,
    )


async def get(session: AsyncSession, organization_id: str, held_id: str) -> HeldMatch:
    """One held match, answered or not. NotFound (404)."""
    return (await render(session, [await _find(session, organization_id, held_id)]))[0]


async def _find(session: AsyncSession, organization_id: str, held_id: str, *, locked: bool = False) -> Row:
    statement = of_connected(organization_id).where(Row.id == parse_id(held_id, "held match"))
    held: Row | None = await session.scalar(statement.with_for_update(of=Row) if locked else statement)
    if held is None:
        raise NotFound("There is no such held match.")
    return held


async def answer(
    session: AsyncSession,
    organization_id: str,
    held_id: str,
    body: AnswerHeld,
    user: UserIdentity,
    now: datetime,
    *,
    grace: timedelta = timedelta(0),
) -> HeldMatch:
    """Store an answer and act on it. Conflict (409) if the match changed since, or the member is linked already.

    `grace`: how long the answer can be taken back in any case, unless a run acts on it.
    """
    if body.answer == "same" and body.member_id is not None:
        # Locked before the held match, in the order of a sync. Whether the member is a candidate is checked later.
        await _member(session, organization_id, body.member_id)
    held = await _find(session, organization_id, held_id, locked=True)
    if held.state in ANSWERED:
        raise Conflict(answered_before(held.answered_by_name, held.state), slug="answered")
    check_version(body.version, held.version, "held match")
    member = None
    if body.answer == "same":
        member = await _chosen(session, organization_id, held, body)
        await tie_to(session, held, member)
    answered(held, body.answer, Actor.person(user), now, member.id if member else None)
    await session.flush()
    if member is not None:
        await in_no_household(session, _owner(held), [member.id])
        await history.note(session, organization_id, Actor.person(user), [tie_note(held, member)], now)
        await touch_members(session, [member], now)
        await publish(session, organization_id, now, [member], [])
    await act_on(session, held, body.answer, body.member_id, now, urgent=True, not_before=now + grace)
    await tell(session, [held], user.name)
    return (await render(session, [held]))[0]


async def take_back(
    session: AsyncSession, organization_id: str, held_id: str, body: TakeBackHeld, user: UserIdentity, now: datetime
) -> HeldMatch:
    """Take an answer back, as if nobody had answered. Conflict (409) once a sync has acted on it, or is about to."""
    shown = await _find(session, organization_id, held_id)
    member = await _member(session, organization_id, str(shown.same_as)) if shown.same_as else None
    held = await _find(session, organization_id, held_id, locked=True)
    await session.refresh(held)
    check_version(body.version, held.version, "held match")
    link = await _link_of(session, held, locked=True)
    if held.state == "same" and member is not None and await is_being_written(session, organization_id, member.id):
        raise Conflict(BUSY_NOW, slug="busy")
    if not may_take_back(held, link):
        raise Conflict(ACTED_ON, slug="acted-on")
    if await _in_a_run(session, held):
        raise Conflict(IN_A_RUN, slug="busy")
    if held.state == "different":
        held.different_from = sorted({*held.different_from} - {*held.candidate_ids})
    untied = held.state == "same" and link is not None and member is not None
    answered(held, "open", Actor.person(user), now)
    if untied and link is not None and member is not None:
        await session.delete(link)
        await session.flush()
        note = Noted(MEMBER, member.id, "planning_center_id", held.pco_id, None)
        await history.note(session, organization_id, Actor.person(user), [note], now)
        await touch_members(session, [member], now)
        await publish(session, organization_id, now, [member], [])
    await tell(session, [held], user.name)
    return (await render(session, [held]))[0]


async def _link_of(session: AsyncSession, held: Row, *, locked: bool = False) -> Link | None:
    statement = select(Link).filter_by(**_owner(held), kind=MEMBER, pco_id=held.pco_id)
    link: Link | None = await session.scalar(statement.with_for_update() if locked else statement)
    return link


def may_take_back(held: Row, link: Link | None) -> bool:
    """Whether no sync has acted on the answer yet. `link`: the link of the person in Planning Center."""
    if held.state == "same":
        return link is not None and link.record_id == held.same_as and not link.agreed and not link.remote_hash
    return held.state == "different" and link is None


async def _in_a_run(session: AsyncSession, held: Row) -> bool:
    planned = (
        select(Change.id)
        .join(Run, Run.id == Change.run_id)
        .where(
            Run.organization_id == held.organization_id,
            Run.state.in_(OPEN),
            Run.purpose != PROOF,
            Change.kind == MEMBER,
            Change.pco_id == held.pco_id,
        )
    )
    return await session.scalar(planned.limit(1)) is not None


async def tell(session: AsyncSession, rows: Collection[Row], by_name: str | None) -> None:
    """Publish these answered rows, which share a state. Their versions were already incremented."""
    if not rows:
        return
    one = next(iter(rows))
    fact = HeldMatchesAnswered(
        organization_id=one.organization_id,
        version=max(row.version for row in rows),
        held_ids=tuple(str(row.id) for row in rows),
        state=one.state,
        by_name=by_name,
    )
    await append(session, fact)


async def _chosen(session: AsyncSession, organization_id: str, held: Row, body: AnswerHeld) -> Member:
    if body.member_id not in held.candidate_ids:
        raise Invalid(
            "Say which member it is.", errors=[{"field": "member_id", "message": "must be one of the candidates"}]
        )
    member = await _member(session, organization_id, body.member_id)
    if member is None or member.deleted_at is not None:
        raise Conflict(f"{MEMBER_GONE} Choose again.", slug="member-gone")
    if await kept_out_among(session, organization_id, MEMBER, [member.id]):
        raise Conflict(LEFT_ALONE, slug="kept-out")
    if await is_being_written(session, organization_id, member.id):
        raise Conflict(BUSY, slug="busy")
    return member


async def tie_to(session: AsyncSession, held: Row, member: Member) -> None:
    """Link the two locked records. They have no agreed values, so the next sync applies the first-match choice.

    Conflict (409) if one of them was linked to somebody else meanwhile.
    """
    link = await tie(session, _owner(held), MEMBER, member.id, held.pco_id)
    if link is None:
        raise Conflict(f"{TAKEN} Read the list again.", slug="already-linked")
    link.compared_version = member.version


def _owner(held: Row) -> dict[str, str]:
    return {"organization_id": held.organization_id, "pco_organization_id": held.pco_organization_id}


def tie_note(held: Row, member: Member) -> Noted:
    """The row of the member's history about the new link."""
    return Noted(MEMBER, member.id, "planning_center_id", None, held.pco_id)


def answered(
    held: Row, state: Answer | Literal["open"], actor: Actor, now: datetime, same_as: UUID | None = None
) -> None:
    """Store an answer, or its withdrawal (`open`), in a locked row."""
    if state == "different":
        held.different_from = sorted({*held.different_from, *held.candidate_ids})
    held.state, held.same_as = state, same_as
    held.version += 1
    held.answered_by, held.answered_by_name, held.answered_at = actor.user_id, actor.name, now


async def act_on(
    session: AsyncSession,
    held: Row,
    answer: Answer,
    member_id: str | None,
    now: datetime,
    *,
    urgent: bool,
    not_before: datetime | None = None,
) -> None:
    """Queue a sync of the person, if the answer changes anything."""
    if answer == "later":
        return
    await refreshes.soon(
        session,
        held.organization_id,
        now,
        record_id=parse_id(member_id or "", "member") if answer == "same" else None,
        pco_id=held.pco_id if answer == "different" else None,
        reason="answered",
        urgent=urgent,
        not_before=not_before,
    )


async def _member(session: AsyncSession, organization_id: str, member_id: str) -> Member | None:
    """A locked member; None if unknown."""
    try:
        id_ = UUID(member_id)
    except ValueError:
        return None
    found: Member | None = await session.scalar(
        select(Member).where(Member.organization_id == organization_id, Member.id == id_).with_for_update()
    )
    return found


async def no_longer_held(session: AsyncSession, owner: Mapping[str, str], pco_ids: Collection[str]) -> None:
    """Delete the unanswered held matches of people who are linked now."""
    await session.execute(
        delete(Row).filter_by(**owner).where(among(Row.pco_id, pco_ids), Row.state.in_(["open", "later"])),
        execution_options={"synchronize_session": False},
    )


async def no_longer_asked(session: AsyncSession, *which: ColumnElement[bool]) -> None:
    """Close these questions, because a candidate is kept out of the sync.

    Earlier answers about the person stay stored.
    """
    waiting = select(Row.id).where(Row.state.in_(WAITING), *which).order_by(Row.id).with_for_update()
    ids = (await session.scalars(waiting)).all()
    if not ids:
        return
    silent = {"synchronize_session": False}
    answered_before = func.cardinality(Row.different_from) > 0
    await session.execute(
        update(Row).where(among(Row.id, ids), answered_before).values(state="different", version=Row.version + 1),
        execution_options=silent,
    )
    await session.execute(delete(Row).where(among(Row.id, ids), ~answered_before), execution_options=silent)


def of_connected(organization_id: str) -> Select[Row]:
    """Held matches of the connected Planning Center organization."""
    return (
        select(Row)
        .join(
            Connection,
            (Connection.organization_id == Row.organization_id)
            & (Connection.pco_organization_id == Row.pco_organization_id),
        )
        .where(Row.organization_id == organization_id)
    )


def _in_state(state: str | None) -> ColumnElement[bool]:
    return Row.state.in_([state] if state else WAITING)


async def render(session: AsyncSession, rows: list[Row]) -> list[HeldMatch]:
    """The API's form of these rows of one organization, in the given order."""
    ids = {UUID(one["member_id"]) for row in rows for one in row.candidates}
    members = (await session.scalars(select(Member).where(Member.id.in_(ids), Member.deleted_at.is_(None)))).all()
    rendered = {member.id: member for member in await render_members(session, members)}
    snapshots = await _as_read(session, rows)
    links = await _links(session, rows)
    return [_held(row, rendered, snapshots.get(row.pco_id), links.get(row.pco_id)) for row in rows]


async def _links(session: AsyncSession, rows: list[Row]) -> dict[str, Link]:
    answered = [row for row in rows if row.state in ANSWERED]
    if not answered:
        return {}
    found = await session.scalars(
        select(Link)
        .filter_by(**_owner(answered[0]), kind=MEMBER)
        .where(among(Link.pco_id, [row.pco_id for row in answered]))
    )
    return {link.pco_id: link for link in found if link.pco_id}


async def _as_read(session: AsyncSession, rows: list[Row]) -> dict[str, dict[str, Any]]:
    if not rows:
        return {}
    found = await session.execute(
        select(Remote.pco_id, Remote.snapshot)
        .filter_by(
            organization_id=rows[0].organization_id, pco_organization_id=rows[0].pco_organization_id, kind=MEMBER
        )
        .where(Remote.pco_id.in_([row.pco_id for row in rows]), Remote.snapshot.is_not(None))
    )
    return {pco_id: snapshot for pco_id, snapshot in found if snapshot is not None}


def _held(row: Row, members: dict[str, Any], snapshot: dict[str, Any] | None, link: Link | None) -> HeldMatch:
    there = snapshot or {}
    return HeldMatch(
        id=str(row.id),
        pco_id=row.pco_id,
        theirs=HeldPerson(
            **dict(to_contract(from_json(row.theirs))),
            middle_name=there.get("middle_name"),
            suffix=there.get("suffix"),
            active=there.get("active"),
        ),
        candidates=tuple(
            HeldCandidate(
                member=members[one["member_id"]],
                reasons=tuple(one["reasons"]),
                suffix=suffix_in(members[one["member_id"]].last_name),
            )
            for one in row.candidates
            if one["member_id"] in members
        ),
        more=row.more,
        reasons=tuple(row.reasons),
        state=row.state,
        answered_by_name=row.answered_by_name if row.state != "open" else None,
        answered_at=row.answered_at if row.state != "open" else None,
        member_id=str(link.record_id) if link and link.state == "linked" else None,
        can_take_back=may_take_back(row, link),
        version=row.version,
        created_at=row.created_at,
    )
