"""Receipts of erasures, composed from each service's report; and letting a person back."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.conflicts_resolution_v1 import ConflictsErased
from contracts.http import erasures
from contracts.http.common import Page, PageQuery
from contracts.topics import DAY_HOURS, DEAD_LETTER_RETENTION_HOURS, TOPICS
from contracts.values import FAMILY, MEMBER
from people_sync.domain.erasure import receipt
from people_sync.storage.erased import NUMBER
from people_sync.storage.erased_tables import Erased, ErasedRecord, Erasure
from people_sync.storage.sync_tables import Remote
from people_sync.storage.tables import Link
from people_sync.usecases.refreshes import REFRESHES, awake
from servicekit.errors import Conflict, NotFound
from servicekit.http import paging
from synckit import refreshes
from synckit.among import among
from synckit.history import Actor

LET_BACK: Final = "let_back"
"""Reason of a refresh."""


async def page(session: AsyncSession, organization_id: str, query: PageQuery) -> Page[erasures.Erasure]:
    """A page of receipts, newest first; the total comes with the first page."""
    own = Erasure.organization_id == organization_id
    statement = select(Erasure).where(own)
    if query.after:
        at, id_ = paging.decode(query.after, paging.instant, UUID)
        statement = statement.where(tuple_(Erasure.at, Erasure.id) < tuple_(at, id_))
    statement = statement.order_by(Erasure.at.desc(), Erasure.id.desc()).limit(query.limit + 1)
    rows = (await session.scalars(statement)).all()
    shown = rows[: query.limit]
    total = None if query.after else await session.scalar(select(func.count()).select_from(Erasure).where(own))
    last = paging.encode(shown[-1].at.isoformat(), str(shown[-1].id)) if len(rows) > query.limit else None
    return Page[erasures.Erasure](items=tuple([await render(session, row) for row in shown]), next=last, total=total)


async def get(session: AsyncSession, organization_id: str, erasure_id: str) -> erasures.Erasure:
    """One receipt. NotFound (404)."""
    return await render(session, await _find(session, organization_id, erasure_id))


async def let_back(
    session: AsyncSession, organization_id: str, erasure_id: str, actor: Actor, now: datetime
) -> erasures.Erasure:
    """Let syncs add an erased person again, at once if a sync is possible. NotFound (404).

    Conflict (409) if there is nobody to let back. Erased data is not restored.
    """
    row = await _find(session, organization_id, erasure_id)
    owner = await awake(session, organization_id)
    locked = await session.get_one(Erasure, row.id, with_for_update=True, populate_existing=True)
    gone = await session.execute(
        delete(Erased)
        .where(Erased.organization_id == organization_id, Erased.erasure_id == row.id)
        .returning(Erased.pco_organization_id, Erased.kind, Erased.pco_id),
        execution_options={"synchronize_session": False},
    )
    found = gone.all()
    if not any(kind in {MEMBER, NUMBER} for _, kind, _ in found):
        raise Conflict("Syncs do not leave this person out, so there is nobody to let back.", slug="not-kept-out")
    locked.let_back_at, locked.let_back_by_name = now, actor.name
    households = [(church, pco_id) for church, kind, pco_id in found if kind == FAMILY]
    for church, kind, pco_id in found:
        if kind == MEMBER:
            await _read_again(session, organization_id, church, pco_id, now)
    await _compare_again(session, organization_id, households)
    if owner is not None:
        here = owner["pco_organization_id"]
        for kind in (MEMBER, FAMILY):
            for pco_id in [id_ for church, one, id_ in found if church == here and one == kind]:
                await refreshes.request(
                    session,
                    REFRESHES,
                    owner,
                    kind,
                    pco_id=pco_id,
                    reason=LET_BACK,
                    urgent=True,
                    now=now,
                    woken=True,
                )
    return await render(session, locked)


async def _read_again(session: AsyncSession, organization_id: str, church: str, pco_id: str, now: datetime) -> None:
    """Make the next sync read them, even without an edit there."""
    row = insert(Remote).values(
        organization_id=organization_id,
        pco_organization_id=church,
        kind=MEMBER,
        pco_id=pco_id,
        email_keys=[],
        name_keys=[],
        keys=[],
        read_at=now,
        again=True,
    )
    await session.execute(row.on_conflict_do_nothing())


async def _compare_again(session: AsyncSession, organization_id: str, households: Sequence[tuple[str, str]]) -> None:
    """Make the next sync compare their households, so that they join their families here again."""
    for church in sorted({church for church, _ in households}):
        ids = [pco_id for one, pco_id in households if one == church]
        links = select(Link.id).filter_by(organization_id=organization_id, pco_organization_id=church, kind=FAMILY)
        locked = (await session.scalars(links.where(among(Link.pco_id, ids)).order_by(Link.id).with_for_update())).all()
        await session.execute(
            update(Link).where(among(Link.id, locked)).values(remote_hash=None),
            execution_options={"synchronize_session": False},
        )


async def told(session: AsyncSession, event: ConflictsErased) -> None:
    """Store what conflict-service erased of a record; idempotent."""
    row = await session.get(ErasedRecord, (event.organization_id, UUID(event.record_id)), with_for_update=True)
    if row is not None and row.told is None and str(row.erasure_id) == event.erasure_id:
        row.told = {"conflicts": event.conflicts, "decisions": event.decisions, "names": event.names}


async def render(session: AsyncSession, row: Erasure) -> erasures.Erasure:
    """The API's form of a receipt."""
    records = await session.scalars(select(ErasedRecord.told).where(ErasedRecord.erasure_id == row.id))
    answers = records.all()
    marked = (
        select(Erased.pco_id)
        .where(Erased.organization_id == row.organization_id, Erased.erasure_id == row.id, Erased.kind == MEMBER)
        .order_by(Erased.pco_id)
    )
    lines = receipt(
        row.counts,
        answers,
        days=(TOPICS["people.conflict.v1"].retention_hours or 0) // DAY_HOURS,
        failed_days=DEAD_LETTER_RETENTION_HOURS // DAY_HOURS,
        kept_out=row.let_back_at is None,
    )
    return erasures.Erasure(
        id=str(row.id),
        record_id=str(row.record_id),
        on_request_of=row.on_request_of,
        by_name=row.by_name,
        at=row.at,
        complete=None not in answers,
        lines=tuple(erasures.ErasureLine(**asdict(one)) for one in lines),
        pco_ids=tuple(await session.scalars(marked)),
        let_back_at=row.let_back_at,
        let_back_by_name=row.let_back_by_name,
    )


async def _find(session: AsyncSession, organization_id: str, erasure_id: str) -> Erasure:
    try:
        row = await session.get(Erasure, UUID(erasure_id))
    except ValueError:
        row = None
    if row is None or row.organization_id != organization_id:
        raise NotFound("There is no such receipt.")
    return row
