"""A bulk answer to held matches: previewed, bound to the preview, carried out by a job in batches."""

import typing
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, cast, delete, func, insert, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http import people
from contracts.http.common import Page, PageQuery
from contracts.http.people import Answer, AnswerHeldBulk, HeldBulkInput, HeldBulkPreview, HeldSample, HeldSkipped
from contracts.identity import UserIdentity
from contracts.people import MemberValues
from contracts.values import MEMBER
from people_sync.domain.held import BUSY, LEFT_ALONE, MEMBER_GONE, TAKEN, moved, would_be_done
from people_sync.domain.merge import merge
from people_sync.domain.planning_center import MAILED_ABOUT
from people_sync.domain.values import from_json
from people_sync.planning_center import DEFAULT_COUNTRY
from people_sync.resources import Resources
from people_sync.storage.held import ONE_CANDIDATE, WAITING, fitting, wanted_by_nobody_else
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import in_no_household
from people_sync.storage.locks import locked
from people_sync.storage.records import values_of
from people_sync.storage.sync_tables import HeldBulk, HeldMatch, Remote
from people_sync.storage.sync_tables import HeldSkipped as Skipped
from people_sync.storage.tables import Connection, Member, Settings
from people_sync.usecases import history
from people_sync.usecases.held import act_on, answered, of_connected, render, tell, tie_note, tie_to
from people_sync.usecases.publishing import publish, touch_members
from people_sync.usecases.record.claims import is_being_written
from people_sync.usecases.record.writer import policy_of
from servicekit.db.sessions import Sessions
from servicekit.errors import Conflict, NotFound
from servicekit.http import paging
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import JobContext
from synckit.among import among
from synckit.history import Actor
from synckit.records import parse_id

KIND: Final = "people.held-answers"
"""Kind of the job that carries out a bulk answer."""
SAMPLES: Final = 10
MOST: Final = 10_000
"""Maximum held matches of one answer; further ones are left for the next answer."""
BATCH: Final = 100
"""Held matches per transaction."""
KEPT: Final = timedelta(days=1)
"""How long a preview can be answered, and a result be read."""


async def preview(session: AsyncSession, organization_id: str, body: HeldBulkInput, now: datetime) -> HeldBulkPreview:
    """Store the set of matching held matches, and return its size and first items. NotFound (404)."""
    connection = await session.get(Connection, organization_id)
    pco_organization_id = connection.pco_organization_id if connection else ""
    owner = {"organization_id": organization_id, "pco_organization_id": pco_organization_id}
    states = (body.state,) if body.state else WAITING
    fits = of_connected(organization_id).where(*fitting(body), HeldMatch.state.in_(states))
    can = fits.where(_can_have(body.answer, owner))
    shown = (
        await session.execute(
            can.with_only_columns(
                HeldMatch.id,
                HeldMatch.version,
                HeldMatch.theirs["first_name"].astext.label("first"),
                HeldMatch.theirs["last_name"].astext.label("last"),
            )
            .order_by(HeldMatch.created_at, HeldMatch.id)
            .limit(MOST)
        )
    ).all()
    everybody = await session.scalar(select(func.count()).select_from(fits.subquery())) or 0
    ids = [one.id for one in shown]
    row = HeldBulk(
        id=uuid7(),
        **owner,
        answer=body.answer,
        held_ids=ids,
        versions=[one.version for one in shown],
        names=[f"{one.first} {one.last}".strip() for one in shown],
        left_out=max(everybody - len(shown), 0),
        may_be_mailed=await _may_be_mailed(session, organization_id, ids) if body.answer == "same" else 0,
        digest=digest(body.answer, [(one.id, one.version) for one in shown]),
        state="shown",
        done=0,
        skipped=0,
        created_at=now,
    )
    session.add(row)
    first = await session.scalars(
        select(HeldMatch).where(HeldMatch.id.in_(row.held_ids[:SAMPLES])).order_by(HeldMatch.created_at, HeldMatch.id)
    )
    matches = await render(session, list(first))
    return HeldBulkPreview(**dict(_render(row)), samples=tuple(_sample(body.answer, match) for match in matches))


async def _may_be_mailed(session: AsyncSession, organization_id: str, held_ids: list[UUID]) -> int:
    """The number of people who sign in at Planning Center and would get another email or phone there once linked."""
    connection = await session.get(Connection, organization_id)
    if connection is None:
        return 0
    policy = policy_of(await session.get(Settings, organization_id), connection.country_code or DEFAULT_COUNTRY)
    rows = await session.stream(
        select(Member, HeldMatch.theirs)
        .select_from(HeldMatch)
        .join(Member, Member.id == cast(HeldMatch.candidate_ids[1], Uuid))
        .join(
            Remote,
            (Remote.organization_id == HeldMatch.organization_id)
            & (Remote.pco_organization_id == HeldMatch.pco_organization_id)
            & (Remote.kind == MEMBER)
            & (Remote.pco_id == HeldMatch.pco_id),
        )
        .where(Remote.login.is_(True), Member.organization_id == organization_id, among(HeldMatch.id, held_ids))
        .execution_options(yield_per=200)
    )
    found = 0
    async for member, theirs in rows:
        found += not MAILED_ABOUT.isdisjoint(merge({}, values_of(member), from_json(theirs), policy).to_theirs)
    return found


def digest(answer: str, shown: list[tuple[UUID, int]]) -> str:
    """Hash an answer and the shown held matches, by id and version, in order."""
    content = "\n".join([answer, *(f"{id_}:{version}" for id_, version in shown)])
    return blake2b(content.encode(), digest_size=16).hexdigest()


def _can_have(answer: Answer, owner: Mapping[str, str]) -> ColumnElement[bool]:
    if answer == "same":
        return ONE_CANDIDATE & wanted_by_nobody_else(owner)
    return HeldMatch.state == "open" if answer == "later" else true()


def _sample(answer: Answer, match: people.HeldMatch) -> HeldSample:
    here = [_name(one.member) for one in match.candidates]
    return HeldSample(match=match, sentence=would_be_done(answer, _name(match.theirs), here))


def _name(values: MemberValues) -> str:
    return f"{values.first_name} {values.last_name}".strip()


async def answer(
    session: AsyncSession, organization_id: str, bulk_id: str, body: AnswerHeldBulk, user: UserIdentity
) -> people.HeldBulk:
    """Answer the shown held matches; idempotent. Conflict (409) if another set was shown, or another answer runs."""
    row = await _find(session, organization_id, bulk_id, locked=True)
    if body.digest != row.digest:
        raise Conflict(
            "The list has changed since it was shown to you. Nothing was answered: look at it and answer again.",
            slug="not-shown",
        )
    if row.state == "done":
        return _render(row)
    if row.state == "shown" and not row.held_ids:
        raise Conflict("There is nothing to answer. Choose other filters.", slug="nothing-shown")
    payload = {"bulk_id": str(row.id), "answered_by_name": user.name}
    job_id, created = await jobs.enqueue(session, KIND, organization_id, payload)
    if not created:
        job = await jobs.get(session, job_id, organization_id)
        if job.payload.get("bulk_id") != str(row.id):
            raise Conflict(
                "Another answer to several records is still being carried out. Nothing was answered: wait until it is "
                "done, then answer again.",
                slug="at-work",
            )
    if row.state == "shown":
        row.state, row.answered_by = "working", user.user_id
    return _render(row)


async def get(session: AsyncSession, organization_id: str, bulk_id: str) -> people.HeldBulk:
    """Count the outcomes of a bulk answer so far. NotFound (404)."""
    return _render(await _find(session, organization_id, bulk_id))


async def skipped(session: AsyncSession, organization_id: str, bulk_id: str, query: PageQuery) -> Page[HeldSkipped]:
    """A page of skipped held matches, in the order shown. NotFound (404)."""
    row = await _find(session, organization_id, bulk_id)
    statement = select(Skipped).where(Skipped.bulk_id == row.id)
    if query.after:
        (last,) = paging.decode(query.after, paging.position)
        statement = statement.where(Skipped.position > last)
    found = (await session.scalars(statement.order_by(Skipped.position).limit(query.limit + 1))).all()
    shown = found[: query.limit]
    return Page[HeldSkipped](
        items=tuple(
            HeldSkipped(held_id=str(row.held_ids[one.position]), name=row.names[one.position], sentence=one.sentence)
            for one in shown
        ),
        next=paging.encode(shown[-1].position) if len(found) > query.limit else None,
        total=row.skipped,
    )


async def _find(session: AsyncSession, organization_id: str, bulk_id: str, *, locked: bool = False) -> HeldBulk:
    statement = (
        select(HeldBulk)
        .join(
            Connection,
            (Connection.organization_id == HeldBulk.organization_id)
            & (Connection.pco_organization_id == HeldBulk.pco_organization_id),
        )
        .where(HeldBulk.organization_id == organization_id, HeldBulk.id == parse_id(bulk_id, "bulk answer"))
    )
    row = await session.scalar(statement.with_for_update(of=HeldBulk) if locked else statement)
    if row is None:
        raise NotFound("This list is no longer kept: it is there for a day. Filter again and answer then.")
    return row


def _render(row: HeldBulk) -> people.HeldBulk:
    return people.HeldBulk(
        id=str(row.id),
        answer=row.answer,
        digest=row.digest,
        count=len(row.held_ids),
        left_out=row.left_out,
        may_be_mailed=row.may_be_mailed,
        state=row.state,
        done=row.done,
        skipped=row.skipped,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


async def carry_out(job: JobContext, resources: Resources) -> None:
    """Answer the shown held matches, one batch per transaction (`servicekit.jobs.queue.Run`)."""
    while not job.over:
        async with job.transaction() as session:
            row = await session.get(HeldBulk, UUID(job.payload["bulk_id"]), with_for_update=True)
            if row is not None and row.done < len(row.held_ids):
                actor = Actor("person", row.answered_by, job.payload.get("answered_by_name"))
                await _batch(session, row, actor, resources.clock.now())
                await job.checkpoint(session, {"done": row.done})
            else:
                if row is not None:
                    row.state, row.finished_at = "done", resources.clock.now()
                await job.finish(session)
        if not job.over:
            job.stop_if_requested()


async def _batch(session: AsyncSession, bulk: HeldBulk, actor: Actor, now: datetime) -> None:
    """Answer the next batch. Members are locked before held matches, as in runs."""
    answer_ = typing.cast("Answer", bulk.answer)
    part = slice(bulk.done, bulk.done + BATCH)
    ids = bulk.held_ids[part]
    members = await _candidates(session, bulk, ids) if answer_ == "same" else {}
    rows = await session.scalars(
        of_connected(bulk.organization_id)
        .where(HeldMatch.id.in_(ids), HeldMatch.pco_organization_id == bulk.pco_organization_id)
        .order_by(HeldMatch.id)
        .with_for_update(of=HeldMatch)
    )
    found = {row.id: row for row in rows}
    left: dict[int, str] = {}
    taken: list[tuple[HeldMatch, Member | None]] = []
    for position, (id_, version) in enumerate(zip(ids, bulk.versions[part], strict=True), start=bulk.done):
        held = found.get(id_)
        why = moved(version, held.version if held else None, held.state if held else None)
        member = None
        if why is None and held is not None and answer_ == "same":
            member = members.get(held.candidate_ids[0])
            why = await _tied(session, held, member)
        if why is not None or held is None:
            left[position] = why or ""
            continue
        answered(held, answer_, actor, now, member.id if member else None)
        taken.append((held, member))
    await session.flush()
    linked = [member for _, member in taken if member is not None]
    notes = [tie_note(held, member) for held, member in taken if member is not None]
    owner = {"organization_id": bulk.organization_id, "pco_organization_id": bulk.pco_organization_id}
    await in_no_household(session, owner, [member.id for member in linked])
    await history.note(session, bulk.organization_id, actor, notes, now)
    await touch_members(session, linked, now)
    await publish(session, bulk.organization_id, now, linked, [])
    for held, member in taken:
        await act_on(session, held, answer_, str(member.id) if member else None, now, urgent=False)
    await tell(session, [held for held, _ in taken], actor.name)
    if left:
        await session.execute(
            insert(Skipped),
            [{"bulk_id": bulk.id, "position": at, "sentence": sentence} for at, sentence in left.items()],
        )
    bulk.done += len(ids)
    bulk.skipped += len(left)


async def _candidates(session: AsyncSession, bulk: HeldBulk, ids: list[UUID]) -> dict[str, Member]:
    """The locked candidates, by id."""
    wanted = await session.scalars(select(func.unnest(HeldMatch.candidate_ids)).where(HeldMatch.id.in_(ids)))
    found = await locked(session, Member, bulk.organization_id, {UUID(one) for one in wanted})
    return {str(id_): member for id_, member in found.items()}


async def _tied(session: AsyncSession, held: HeldMatch, member: Member | None) -> str | None:
    """Link the two. Returns the reason if that is impossible."""
    if member is None or member.deleted_at is not None:
        return MEMBER_GONE
    if await kept_out_among(session, held.organization_id, MEMBER, [member.id]):
        return LEFT_ALONE
    if await is_being_written(session, held.organization_id, member.id):
        return BUSY
    try:
        await tie_to(session, held, member)
    except Conflict:
        return TAKEN
    return None


async def forget_old(sessions: Sessions, now: datetime) -> None:
    """Delete bulk answers older than `KEPT`, each in a transaction of its own."""
    async with sessions() as session:
        over = select(HeldBulk.id).where(HeldBulk.created_at < now - KEPT, HeldBulk.state != "working").limit(100)
        old = (await session.scalars(over)).all()
    for bulk_id in old:
        async with sessions.begin() as session:
            gone = delete(HeldBulk).where(HeldBulk.id == bulk_id, HeldBulk.state != "working").returning(HeldBulk.id)
            if await session.scalar(gone) is not None:
                await session.execute(delete(Skipped).where(Skipped.bulk_id == bulk_id))
