"""Decisions from conflict-service: each is queued, carried out by the record engine, and answered."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.conflicts_resolution_v1 import ConflictResolved
from people_sync.domain.sentences import CONFLICT, LATER, MOVED_HALFWAY, REJECTED, VALUES_MOVED
from people_sync.storage.erased import is_erased
from people_sync.storage.sync_tables import Conflict, Refresh
from people_sync.storage.tables import Connection
from people_sync.usecases.conflicts import applied, facts, is_half_done, overtaken
from people_sync.usecases.refreshes import REFRESHES, awake
from servicekit.errors import PermanentError
from servicekit.kafka.outbox import append_all
from synckit import refreshes

DECIDED: Final = "decided"
"""Reason of a refresh, rule of an effect."""
_AT_ONCE: Final = 200
"""Maximum decisions queued by one round."""


async def take(session: AsyncSession, event: ConflictResolved, now: datetime) -> None:
    """Queue a decision. If a value has changed since the decision, answer at once that it was overtaken."""
    conflict = await _find(session, event)
    if conflict is None:
        return
    owner = await awake(session, event.organization_id, urgent=event.rule_id is None)
    found = await session.get(Conflict, conflict.id, with_for_update=True, populate_existing=True)
    if found is None:
        return  # its record was erased meanwhile
    conflict = found
    if conflict.state != "open" or event.decision_id in conflict.answered:
        return
    if conflict.decision is not None and conflict.decision["id"] == event.decision_id:
        return
    earlier = conflict.decision
    conflict.decision = {
        "id": event.decision_id,
        "choices": event.choices,
        "by_user_id": event.decided_by,
        "by_name": event.decided_by_name,
        "bulk_id": event.bulk_id,
        "rule_id": event.rule_id,
    }
    fields = {field["field"] for field in conflict.fields}
    if earlier is not None or event.decided_on != conflict.values_version or event.choices.keys() != fields:
        await append_all(session, await facts(session, [overtaken(conflict, VALUES_MOVED, now)], now))
        conflict.decision = earlier
    elif owner is not None and owner["pco_organization_id"] == conflict.pco_organization_id:
        await _queue(session, conflict, now)


async def _queue(session: AsyncSession, conflict: Conflict, now: datetime) -> None:
    """Queue a sync of the record. The caller has woken the organization's worker."""
    owner = {"organization_id": conflict.organization_id, "pco_organization_id": conflict.pco_organization_id}
    await refreshes.request(
        session,
        REFRESHES,
        owner,
        conflict.kind,
        record_id=conflict.record_id,
        reason=DECIDED,
        # Nobody waits at a screen for one decision of a bulk answer, or for a rule's decision.
        urgent=all((conflict.decision or {}).get(name) is None for name in ("bulk_id", "rule_id")),
        now=now,
        woken=True,
    )


async def _find(session: AsyncSession, event: ConflictResolved) -> Conflict | None:
    """The conflict; None if its record was erased since."""
    try:
        conflict = await session.get(Conflict, UUID(event.conflict_id))
        erased = conflict is None and await is_erased(session, event.organization_id, UUID(event.record_id))
    except ValueError:
        conflict, erased = None, False
    if erased:
        return None
    if conflict is None or conflict.organization_id != event.organization_id:
        raise PermanentError(f"There is no conflict {event.conflict_id} of this organization.")
    return conflict


async def queue_waiting(session: AsyncSession, owner: Mapping[str, str], now: datetime) -> None:
    """Queue decisions taken while there was no connection."""
    await _queue_all(session, select(Conflict).filter_by(**owner), now)


async def queue_forgotten(session: AsyncSession, now: datetime) -> None:
    """Queue pending decisions without a refresh: taken just before the reconnect, or before the first sync."""
    queued = exists().where(
        Refresh.organization_id == Conflict.organization_id,
        Refresh.pco_organization_id == Conflict.pco_organization_id,
        Refresh.record_id == Conflict.record_id,
        Refresh.state == "queued",
    )
    connected = (
        (Connection.organization_id == Conflict.organization_id)
        & (Connection.pco_organization_id == Conflict.pco_organization_id)
        & (Connection.state == "connected")
        & Connection.mirrored
    )
    await _queue_all(session, select(Conflict).join(Connection, connected).where(~queued).limit(_AT_ONCE), now)


async def _queue_all(session: AsyncSession, conflicts: Select[Any], now: datetime) -> None:
    waiting = conflicts.where(Conflict.decision.is_not(None)).order_by(Conflict.organization_id, Conflict.id)
    found = (await session.scalars(waiting)).all()
    # Jobs before rows: the transaction would otherwise hold rows while it waits for the next organization's job.
    for organization_id in sorted({conflict.organization_id for conflict in found}):
        await refreshes.wake(session, REFRESHES, organization_id)
    for conflict in found:
        await _queue(session, conflict, now)


async def waiting_for(session: AsyncSession, organization_id: str, record_id: UUID) -> Conflict | None:
    """The locked conflict of a record with a pending decision."""
    found: Conflict | None = await session.scalar(
        select(Conflict)
        .filter_by(organization_id=organization_id, record_id=record_id, state="open")
        .where(Conflict.decision.is_not(None))
        .with_for_update()
    )
    return found


async def is_decided(session: AsyncSession, organization_id: str, record_id: UUID | None) -> bool:
    """Whether a decision about the record is pending."""
    found = select(Conflict.id).filter_by(organization_id=organization_id, record_id=record_id, state="open")
    return await session.scalar(found.where(Conflict.decision.is_not(None))) is not None


async def finish(session: AsyncSession, conflict: Conflict, outcome: str, sentence: str, now: datetime) -> None:
    """Publish the outcome of a decision after the record was synced. `sentence`: the outcome in words."""
    assert conflict.decision is not None
    if not is_half_done(conflict):
        overtaken(conflict, sentence, now)
    elif outcome == CONFLICT:
        overtaken(conflict, MOVED_HALFWAY, now)
    else:
        refused = [sentence] if outcome in {REJECTED, LATER} else []
        applied(conflict, [*conflict.decision.get("untold", ()), *refused], now)
    await append_all(session, await facts(session, [conflict], now))
