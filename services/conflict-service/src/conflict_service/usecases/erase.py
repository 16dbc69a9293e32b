"""Erasure of records that people-sync has erased."""

from collections.abc import Sequence, Set
from datetime import datetime

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.storage import queries
from conflict_service.storage.tables import BulkRow, ConflictRow, DecisionRow, ErasedRecordRow
from contracts.events.conflicts_conflict_v1 import ConflictClosed
from contracts.events.conflicts_resolution_v1 import ConflictsErased
from contracts.events.people_conflict_v1 import RecordErased
from servicekit.db.tables import OUTBOX, SET_ASIDE
from servicekit.http import answers
from servicekit.kafka import outbox

ERASED_PERSON = "Erased person"
"""Replaces the name of an erased person in rows of other people."""


async def erase(session: AsyncSession, fact: RecordErased, now: datetime) -> None:
    """Delete the record's conflicts and decisions, and publish the counts.

    Later facts about the record are dropped.
    """
    organization_id = fact.organization_id
    bulks = await _bulks(session, organization_id, fact.record_id)
    await queries.lock_record(session, organization_id, fact.record_id)
    marker = {"organization_id": organization_id, "record_id": fact.record_id, "erased_at": fact.erased_at}
    await session.execute(insert(ErasedRecordRow).values(marker).on_conflict_do_nothing())
    of_record = (ConflictRow.organization_id == organization_id, queries.of_record(fact.record_id))
    ids = list(await session.scalars(select(ConflictRow.id).where(*of_record).order_by(ConflictRow.id)))
    # A concurrent decision holds the conflict's lock.
    for conflict_id in ids:
        await queries.lock(session, organization_id, conflict_id)
    await _unsent(session, fact.record_id, ids)
    rows = (await session.scalars(select(ConflictRow).where(*of_record).order_by(ConflictRow.id))).all()
    decisions = await session.execute(
        delete(DecisionRow)
        .where(DecisionRow.organization_id == organization_id, DecisionRow.conflict_id.in_(ids))
        .returning(DecisionRow.id)
    )
    names = sum(_without_names(bulk, set(ids)) for bulk in bulks)
    await answers.forget_all(session, organization_id)
    for row in rows:
        if row.state in {"open", "resolving"}:
            await _closed(session, row, now)
        await session.delete(row)
    told = ConflictsErased(
        organization_id=organization_id,
        version=1,
        record_id=fact.record_id,
        erasure_id=fact.erasure_id,
        conflicts=len(rows),
        decisions=len(decisions.all()),
        names=names,
        occurred_at=now,
    )
    await outbox.append(session, told)


async def _unsent(session: AsyncSession, record_id: str, conflict_ids: list[str]) -> None:
    """Delete unsent and set aside messages about the conflicts. Tombstones stay: they hold no data, and only they
    remove messages sent before."""
    about = or_(
        and_(OUTBOX.c.topic == "conflicts.conflict.v1", OUTBOX.c.key.in_(conflict_ids)),
        and_(OUTBOX.c.topic == "conflicts.resolution.v1", OUTBOX.c.key == record_id),
    )
    await session.execute(delete(OUTBOX).where(about, OUTBOX.c.value.is_not(None)))
    await session.execute(delete(SET_ASIDE).where(SET_ASIDE.c.key == record_id.encode()))


async def _bulks(session: AsyncSession, organization_id: str, record_id: str) -> Sequence[BulkRow]:
    """Lock the bulk answers that show the record's conflicts, before the conflicts, like their job."""
    own = select(ConflictRow.id).where(ConflictRow.organization_id == organization_id, queries.of_record(record_id))
    ids = list(await session.scalars(own))
    found = select(BulkRow).where(BulkRow.organization_id == organization_id, BulkRow.conflict_ids.overlap(ids))
    return (await session.scalars(found.order_by(BulkRow.id).with_for_update())).all()


def _without_names(bulk: BulkRow, gone: Set[str]) -> int:
    """Remove the record's name from a bulk answer; gives the number of mentions."""
    bulk.names = [
        ERASED_PERSON if conflict_id in gone else name
        for conflict_id, name in zip(bulk.conflict_ids, bulk.names, strict=True)
    ]
    return sum(conflict_id in gone for conflict_id in bulk.conflict_ids)


async def _closed(session: AsyncSession, row: ConflictRow, now: datetime) -> None:
    """Announce the end of a conflict without a name; the tombstone removes earlier messages."""
    conflict = queries.value_of(row)
    closed = ConflictClosed(
        organization_id=row.organization_id,
        version=conflict.version + 1,
        conflict_id=row.id,
        record=conflict.record.model_copy(update={"name": "", "pco_id": "", "family_ids": ()}),
        occurred_at=now,
        outcome="withdrawn",
    )
    await outbox.append(session, closed, tombstone=True)
