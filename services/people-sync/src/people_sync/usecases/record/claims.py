"""One writer per record at any time: a claim, fenced by the job that holds it.

A claim is valid while its job runs under the same fence and lease. A dead worker's claim is taken over together with
its possible writes, which count from the takeover, since a request never outlives its lease.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.sync_tables import Claim, Creation
from people_sync.storage.tables import Family, Link, LinkWrite, Member
from people_sync.usecases.record.writer import Writer
from servicekit.db.tables import JOB
from synckit.among import among
from synckit.creations import left_again


class Busy(Exception):
    """Another worker is writing this record at the moment."""


class LeftAlone(Exception):
    """An administrator keeps this record out of the sync."""


@asynccontextmanager
async def claimed(writer: Writer, kind: str, record_id: UUID) -> AsyncIterator[None]:
    """Claim the record for a block. Busy if another worker holds the claim, LeftAlone if the record is kept out."""
    async with writer.transaction() as session:
        await _take(session, writer, kind, record_id)
    try:
        yield
    finally:
        # Without checking the lease: after its loss only a claim still held by this job is released.
        async with writer.job.sessions.begin() as session:
            await session.execute(
                delete(Claim).where(Claim.record_id == record_id, *_mine(writer)),
            )


async def claimed_by_others(session: AsyncSession, writer: Writer, record_ids: Collection[UUID]) -> set[UUID]:
    """The records, among these with locked rows, that another worker is writing."""
    rows = await session.scalars(
        select(Claim.record_id)
        .join(JOB, _holder())
        .where(
            Claim.organization_id == writer.organization_id,
            among(Claim.record_id, record_ids),
            Claim.job_id != writer.job.id,
        )
    )
    return set(rows)


async def is_being_written(session: AsyncSession, organization_id: str, record_id: UUID) -> bool:
    """Whether a worker is writing this record. The caller holds the row's lock."""
    found = select(Claim.record_id).join(JOB, _holder())
    found = found.where(Claim.organization_id == organization_id, Claim.record_id == record_id)
    return await session.scalar(found) is not None


async def any_is_being_written(session: AsyncSession, organization_id: str, record_ids: Collection[UUID]) -> bool:
    """The records among these that a worker is writing."""
    found = select(Claim.record_id).join(JOB, _holder())
    found = found.where(Claim.organization_id == organization_id, among(Claim.record_id, record_ids)).limit(1)
    return await session.scalar(found) is not None


async def take_over_abandoned(session: AsyncSession, writer: Writer) -> None:
    """End the organization's claims of dead workers, at the beginning of a job's work."""
    alive = select(Claim.record_id).join(JOB, _holder()).where(Claim.organization_id == writer.organization_id)
    abandoned = (
        await session.scalars(
            select(Claim)
            .where(
                Claim.organization_id == writer.organization_id,
                (Claim.record_id.not_in(alive)) | ((Claim.job_id == writer.job.id) & (Claim.fence != writer.job.fence)),
            )
            .order_by(Claim.record_id)
            .with_for_update(skip_locked=True)
        )
    ).all()
    await _end(session, writer, abandoned)


async def _take(session: AsyncSession, writer: Writer, kind: str, record_id: UUID) -> None:
    # Lock the record's row first, like every batch, so that no batch can miss the claim.
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    await session.execute(
        select(record.id)
        .where(record.organization_id == writer.organization_id, record.id == record_id)
        .with_for_update()
    )
    if await kept_out_among(session, writer.organization_id, kind, [record_id]):
        raise LeftAlone
    if await claimed_by_others(session, writer, [record_id]):
        raise Busy
    left_behind = await session.scalars(
        select(Claim)
        .where(Claim.organization_id == writer.organization_id, Claim.record_id == record_id)
        .with_for_update()
    )
    await _end(session, writer, [claim for claim in left_behind if not _is_mine(writer, claim)])
    await session.execute(
        insert(Claim)
        .values(
            organization_id=writer.organization_id,
            record_id=record_id,
            job_id=writer.job.id,
            fence=writer.job.fence,
        )
        .on_conflict_do_nothing()
    )


async def _end(session: AsyncSession, writer: Writer, claims: Sequence[Claim]) -> None:
    """Note that their holders' writes may have been sent until now, and show a staleness horizon later."""
    if not claims:
        return
    records = [claim.record_id for claim in claims]
    now = writer.now()
    await session.execute(
        left_again(Creation, now, writer.resources.horizon)
        .where(Creation.organization_id == writer.organization_id, among(Creation.of_record, records))
        .execution_options(synchronize_session=False)
    )
    links = select(Link.id).where(Link.organization_id == writer.organization_id, among(Link.record_id, records))
    await session.execute(
        update(LinkWrite)
        .where(LinkWrite.link_id.in_(links), LinkWrite.answered_at.is_(None))
        .values(announced_at=func.greatest(LinkWrite.announced_at, now))
        .execution_options(synchronize_session=False)
    )
    for claim in claims:
        await session.delete(claim)
    await session.flush()


def _holder() -> ColumnElement[bool]:
    return (
        (JOB.c.id == Claim.job_id)
        & (JOB.c.fence == Claim.fence)
        & (JOB.c.state == "running")
        & (JOB.c.lease_until > func.clock_timestamp())
    )


def _mine(writer: Writer) -> tuple[ColumnElement[bool], ...]:
    return (
        Claim.organization_id == writer.organization_id,
        Claim.job_id == writer.job.id,
        Claim.fence == writer.job.fence,
    )


def _is_mine(writer: Writer, claim: Claim) -> bool:
    return bool(claim.job_id == writer.job.id and claim.fence == writer.job.fence)
