"""Records to look at again, one by one: asked for at a screen, or by what could not be decided before."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import exists, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import RecordSync
from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import ASKING, LATER, LEFT_OUT, LOOKS_AGAIN, NOT_DONE
from people_sync.storage import remote
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.strays import STRAY, record_kind, unsettled
from people_sync.storage.sync_tables import Change, Creation, Refresh, Remote
from people_sync.storage.tables import Connection, Family, Link, Member
from people_sync.usecases.directory import parse_id
from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from servicekit.db.tables import JOB
from servicekit.errors import Conflict, NotFound
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs

KIND: Final = "people.refresh"
"""Of the job that works the organization's refreshes off."""
INCOMPLETE: Final = "incomplete"
UNANSWERED: Final = "unanswered"
MOST_OF_A_RUN: Final = 500
"""Records of each reason that one run leaves to refreshes; further ones wait for the next run."""
DUE_AT_ONCE: Final = 100
KEPT: Final = timedelta(days=1)
"""How long its end can be read."""


async def sync_now(session: AsyncSession, organization_id: str, kind: str, record_id: str, now: datetime) -> RecordSync:
    """*Sync this person now*, or this family. Conflict (409) while that is impossible, NotFound (404)."""
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    word = "member" if kind == MEMBER else "family"
    id_ = parse_id(record_id, word)
    found = await session.scalar(
        select(record.id).where(
            record.organization_id == organization_id, record.id == id_, record.deleted_at.is_(None)
        )
    )
    if found is None:
        raise NotFound(f"There is no such {word}.")
    if await kept_out_among(session, organization_id, kind, [id_]):
        raise Conflict(
            f"This {'person' if kind == MEMBER else 'family'} is kept out of the sync, so nothing was synced. Choose "
            "Sync again first.",
            slug="kept-out",
        )
    connection = await session.get(Connection, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(
            "Planning Center People is not connected, so nothing can be synced. Connect it under Integrations first.",
            slug="not-connected",
        )
    if not connection.mirrored:
        raise Conflict(
            "Sync everybody once first: until then it is not known who is in Planning Center already, and somebody "
            "could be added there twice.",
            slug="sync-first",
        )
    owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
    row = await request(session, owner, kind, record_id=id_, reason="asked", urgent=True, not_before=now, now=now)
    return render(row)


async def soon(
    session: AsyncSession,
    organization_id: str,
    now: datetime,
    *,
    record_id: UUID | None = None,
    pco_id: str | None = None,
    reason: str,
    urgent: bool = True,
    not_before: datetime | None = None,
) -> None:
    """Carry out what an administrator decided about one person; while not connected the next sync does.

    `urgent`: somebody waits at a screen for this one. `not_before`: at once if None.
    """
    if (owner := await awake(session, organization_id, urgent=urgent)) is not None:
        await queue(
            session,
            owner,
            MEMBER,
            record_id=record_id,
            pco_id=pco_id,
            reason=reason,
            urgent=urgent,
            not_before=not_before or now,
            now=now,
        )


async def awake(session: AsyncSession, organization_id: str, *, urgent: bool = True) -> dict[str, str] | None:
    """Wake the organization's worker before any row that it locks is locked; gives the records' owner.

    None while nothing can be synced: not connected, or nobody was read yet.
    """
    connection = await session.get(Connection, organization_id)
    if connection is None or connection.state != "connected" or not connection.mirrored:
        return None
    await wake(session, organization_id, urgent=urgent)
    return {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}


async def request(
    session: AsyncSession,
    owner: Mapping[str, str],
    kind: str,
    *,
    record_id: UUID | None = None,
    pco_id: str | None = None,
    reason: str,
    urgent: bool,
    not_before: datetime,
    now: datetime,
) -> Refresh:
    """Queue a record, by our id or by Planning Center's; ten requests for the same are one row, the earliest counts."""
    # A new job before the row: who asks for several in one transaction would wait for the second with the job in hand.
    await wake(session, owner["organization_id"], urgent=urgent)
    return await queue(
        session,
        owner,
        kind,
        record_id=record_id,
        pco_id=pco_id,
        reason=reason,
        urgent=urgent,
        not_before=not_before,
        now=now,
    )


async def queue(
    session: AsyncSession,
    owner: Mapping[str, str],
    kind: str,
    *,
    record_id: UUID | None = None,
    pco_id: str | None = None,
    reason: str,
    urgent: bool,
    not_before: datetime,
    now: datetime,
) -> Refresh:
    """Queue as `request` does, for a worker that is awake already."""
    if record_id is None:
        record_id = await session.scalar(select(Link.record_id).filter_by(**owner, kind=kind, pco_id=pco_id))
    by_record = record_id is not None
    statement = insert(Refresh).values(
        id=uuid7(),
        **owner,
        kind=kind,
        record_id=record_id,
        pco_id=None if by_record else pco_id,
        reasons=[reason],
        urgent=urgent,
        not_before=not_before,
        state="queued",
        tries=0,
        requested_at=now,
    )
    index = ["organization_id", "pco_organization_id", "kind", "record_id" if by_record else "pco_id"]
    where = text(f"state = 'queued' AND record_id IS {'NOT NULL' if by_record else 'NULL'}")
    merged = {
        # In words: a select of SQLAlchemy would name both as tables, and join every row with every row.
        "reasons": literal_column("ARRAY(SELECT DISTINCT unnest(refresh.reasons || excluded.reasons))"),
        "requested_at": statement.excluded.requested_at,
        "urgent": Refresh.urgent | statement.excluded.urgent,
        "not_before": func.least(Refresh.not_before, statement.excluded.not_before),
    }
    rows = await session.scalars(
        statement.on_conflict_do_update(index_elements=index, index_where=where, set_=merged).returning(Refresh),
        execution_options={"populate_existing": True},
    )
    return rows.one()


async def after_a_run(
    session: AsyncSession, owner: Mapping[str, str], now: datetime, horizon: timedelta, *, approved: UUID | None = None
) -> None:
    """Queue what a run had to leave: incomplete reads, requests whose answer was lost, and strays not settled yet.

    Each for the instant from which something can be decided about it, so that nobody waits for the next run.
    `approved`: a run that did what was approved. What it left is left to the next one, since nobody approved that.
    """
    left_out = exists().where(
        Change.run_id == approved,
        Change.kind == Remote.kind,
        Change.pco_id == Remote.pco_id,
        Change.outcome.in_([LATER, LEFT_OUT]),
    )
    unread = await session.execute(
        select(Remote.kind, Remote.pco_id, Remote.read_at, Link.record_id)
        .outerjoin(Link, remote.ITS_LINK)
        .where(
            Remote.organization_id == owner["organization_id"],
            Remote.pco_organization_id == owner["pco_organization_id"],
            Remote.again,
            # A value that cannot exist stays until somebody corrects it there.
            or_(Remote.unread.is_(None), Remote.unread["why"].astext != "unreadable"),
            # A household by itself says nothing: it comes with its people.
            or_(Remote.kind == MEMBER, Link.record_id.is_not(None)),
            *((~left_out,) if approved else ()),
        )
        .order_by(Remote.kind, Remote.pco_id)
        .limit(MOST_OF_A_RUN)
    )
    left: list[tuple[str, UUID | None, str | None, str, datetime]] = [
        (kind, record_id, pco_id, INCOMPLETE, read_at + horizon) for kind, pco_id, read_at, record_id in unread.tuples()
    ]
    lost = await session.execute(
        select(Creation.kind, Creation.of_record, Creation.record_id, Creation.look_after)
        .filter_by(**owner, state="sent")
        # Older ones were looked at already: nothing there is theirs.
        .where(Creation.look_after > now - KEPT)
        .order_by(Creation.id)
        .limit(MOST_OF_A_RUN)
    )
    left += [
        (record_kind(kind), of_record or record_id, None, UNANSWERED, look_after or now)
        for kind, of_record, record_id, look_after in lost.tuples()
    ]
    left += [(kind, record_id, None, STRAY, now) for kind, record_id in await unsettled(session, owner, MOST_OF_A_RUN)]
    if left:
        # A new job before the rows, as in `request`.
        await wake(session, owner["organization_id"])
    for kind, record_id, pco_id, reason, earliest in left:
        await queue(
            session,
            owner,
            kind,
            record_id=record_id,
            pco_id=pco_id,
            reason=reason,
            urgent=False,
            not_before=max(now, earliest),
            now=now,
        )


async def wake(session: AsyncSession, organization_id: str, *, urgent: bool = False) -> None:
    """See to it that a job works the organization's refreshes off.

    A job that is amid a step is not waited for: it looks again after it, or it is just ending, and `start_due` begins
    another.
    """
    job_id, created = await jobs.enqueue(session, KIND, organization_id, urgent=urgent)
    if not created:
        waiting = select(JOB.c.state).where(JOB.c.id == job_id).with_for_update(skip_locked=True)
        if await session.scalar(waiting) == "waiting":
            await jobs.resume(session, job_id, urgent=urgent)
        elif urgent:
            await jobs.hurry(session, job_id, waits=False)


async def start_due(session: AsyncSession) -> int:
    """Begin, or wake, jobs for refreshes that are due: a request may have met one that was just going to sleep.

    Returns how many organizations had some; `DUE_AT_ONCE` at most.
    """
    at_work = exists().where(
        JOB.c.kind == KIND,
        JOB.c.organization_id == Refresh.organization_id,
        or_(
            JOB.c.state.in_(("queued", "running")),
            # Waits for Planning Center or the connection, and not for a row's time.
            (JOB.c.state == "waiting") & JOB.c.checkpoint["given_back"].is_not(None),
        ),
    )
    due = await session.execute(
        select(Refresh.organization_id, func.bool_or(Refresh.urgent))
        .join(Connection, Connection.organization_id == Refresh.organization_id)
        .where(
            Refresh.state == "queued",
            Refresh.not_before <= func.now(),
            Connection.state == "connected",
            Connection.pco_organization_id == Refresh.pco_organization_id,
            ~at_work,
        )
        .group_by(Refresh.organization_id)
        .limit(DUE_AT_ONCE)
    )
    found = due.tuples().all()
    for organization_id, urgent in found:
        await wake(session, organization_id, urgent=urgent)
    return len(found)


async def resume_waiting(session: AsyncSession, organization_id: str) -> None:
    """The connection is back: what was queued meanwhile is worked off."""
    waiting = select(Refresh.id).where(Refresh.organization_id == organization_id, Refresh.state == "queued").limit(1)
    if await session.scalar(waiting) is not None:
        await wake(session, organization_id)


async def end(session: AsyncSession, organization_id: str, sentence: str, now: datetime) -> None:
    """End what is queued: the connection that it was for is over."""
    await session.execute(
        update(Refresh)
        .where(Refresh.organization_id == organization_id, Refresh.state == "queued")
        .values(state="done", outcome=NOT_DONE, sentence=sentence, finished_at=now)
        .execution_options(synchronize_session=False)
    )


async def get(session: AsyncSession, organization_id: str, sync_id: str) -> RecordSync:
    """What became of one. NotFound (404)."""
    row = await session.scalar(
        select(Refresh).where(
            Refresh.organization_id == organization_id,
            Refresh.id == parse_id(sync_id, "sync"),
            Refresh.record_id.is_not(None),
        )
    )
    if row is None:
        raise NotFound("There is no such sync. Those of one record are kept for a day.")
    return render(row)


def render(row: Refresh) -> RecordSync:
    """As the API shows it."""
    waits = row.state == "queued" and row.tries > 0
    return RecordSync(
        id=str(row.id),
        record_kind="family" if row.kind == FAMILY else "member",
        record_id=str(row.record_id),
        reasons=tuple(sorted(row.reasons)),
        state="done" if row.state == "done" else "queued",
        outcome=row.outcome if row.state == "done" else None,
        sentence=row.sentence or (LOOKS_AGAIN if waits else ASKING),
        again_at=row.not_before if waits else None,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
    )


async def forget_old(sessions: Sessions, now: datetime) -> None:
    """Delete those whose end need not be read any more, in pieces."""
    refreshes = Refresh.__table__
    await forget(sessions, refreshes, refreshes.c.finished_at, [refreshes.c.finished_at < now - KEPT])
