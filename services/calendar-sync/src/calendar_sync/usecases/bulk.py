"""Many events at once, by the platform's own ids: sent twice it has the effect of once.

One transaction, a fixed number of statements whatever the size. An event that is not acceptable is refused alone, with
its position and what is wrong; all others are taken.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.events import Fault, Occurrence, Unacceptable, as_platform_says, own_texts_fault, times
from calendar_sync.storage.events import Writes, locked, occurrences_of, take_over, whole
from calendar_sync.storage.links import links_of
from calendar_sync.storage.tables import Event
from calendar_sync.usecases import history
from calendar_sync.usecases.events import (
    TEXTS,
    DatesAreTheirs,
    church_zone,
    is_linked,
    new_event,
    notes,
    values_after,
    values_sent,
)
from calendar_sync.usecases.history import CREATED
from calendar_sync.usecases.publishing import event_changed
from contracts.http.calendar import BulkEvent, BulkEvents, BulkEventsResult, OwnOccurrence, RejectedEvent
from contracts.values import EVENT
from servicekit.errors import TooLarge
from servicekit.http.wording import encodable, field_errors, sentence
from servicekit.kafka.outbox import append_all
from synckit.history import DELETED, Actor, Noted
from synckit.standstill import one_at_a_time

DATES_STAY: Final = (
    "comes from Planning Center, which lists the dates of this event: change it there, or unlink the event"
)
MOST_OCCURRENCES: Final = 20_000
"""Of all events that one call changes: one transaction writes and publishes them."""


@dataclass(slots=True)
class _Call:
    organization_id: str
    now: datetime
    zone: str | None
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[RejectedEvent] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    writes: Writes = field(default_factory=Writes)
    changed: dict[UUID, tuple[Event, tuple[Occurrence, ...]]] = field(default_factory=dict)

    def reject(self, position: int, external_id: object, faults: Iterable[Fault]) -> None:
        readable = isinstance(external_id, str) and encodable(external_id) == external_id
        self.rejected.append(
            RejectedEvent(
                position=position,
                external_id=external_id if readable else None,
                errors=field_errors(faults),
            )
        )


async def upsert(
    session: AsyncSession, organization_id: str, body: BulkEvents, actor: Actor, now: datetime
) -> BulkEventsResult:
    """Add or change events. TooLarge (413) if more occurrences change than one transaction takes."""
    await one_at_a_time(session, organization_id)
    call = _Call(organization_id, now, await church_zone(session, organization_id))
    items = _valid(call, body.events)
    known = await locked(session, organization_id, [item.external_id for item in items.values()])
    before = await occurrences_of(session, list(known.values()))
    links = await links_of(session, list(known.values()))
    added = []
    for position, item in items.items():
        event = known.get(item.external_id)
        was = whole(event, before[event.id]) if event else None
        try:
            values = _values(call, item, was, linked=event is not None and is_linked(links.get(event.id)))
        except Unacceptable as error:
            call.reject(position, item.external_id, error.faults)
            continue
        if event is None or was is None:
            event = new_event(organization_id, values, item.external_id, now)
            added.append(event)
            call.created += 1
            call.notes.append(Noted(EVENT, event.id, CREATED, False, True))
            _write(call, event, None, values)
        else:
            _change(call, event, was, values)
        await asyncio.sleep(0)  # a long rule takes tens of milliseconds, and others wait
    session.add_all(added)
    await call.writes.write(session, organization_id)
    await history.note(session, organization_id, actor, call.notes, now)
    facts = [event_changed(event, those, links.get(event.id), now) for event, those in call.changed.values()]
    await append_all(session, facts)
    call.rejected.sort(key=lambda one: one.position)
    return BulkEventsResult(
        created=call.created, updated=call.updated, unchanged=call.unchanged, rejected=tuple(call.rejected)
    )


def _valid(call: _Call, items: Sequence[dict[Any, Any]]) -> dict[int, BulkEvent]:
    """By position, those whose shape is acceptable and whose ids are named once."""
    valid: dict[int, BulkEvent] = {}
    first: dict[str, int] = {}
    for position, raw in enumerate(items):
        try:
            item = BulkEvent.model_validate(raw)
        except ValidationError as error:
            faults = [(".".join(map(str, one["loc"])) or "event", sentence(one)) for one in error.errors()]
            call.reject(position, raw.get("external_id"), faults)
            continue
        if (at := first.setdefault(item.external_id, position)) != position:
            call.reject(
                position, item.external_id, [("external_id", f"is the same as that of event {at}: send each once")]
            )
        else:
            valid[position] = item
    return valid


def _values(call: _Call, item: BulkEvent, was: Whole | None, *, linked: bool) -> Whole:
    """The event afterwards. Unacceptable."""
    sent = values_sent(item)
    if was is not None and was.listed:
        return _listed(item, sent, was, linked=linked)
    if not sent.get("time_zone") and (was is None or "time_zone" in sent):
        if call.zone is None:
            raise Unacceptable(("time_zone", "is required, because the church's own is not known: send an IANA name"))
        sent["time_zone"] = call.zone
    at = times(was.times if was else None, sent)
    those = as_platform_says(
        at,
        was.times if was else None,
        was.occurrences if was else (),
        item.excluded if "excluded" in item.model_fields_set else None,
        [_own(one) for one in item.moved] if "moved" in item.model_fields_set else None,
    )
    if fault := own_texts_fault(those):
        raise Unacceptable(fault)
    texts: dict[str, Any] = {name: sent.get(name, getattr(was, name, None)) for name in TEXTS}
    return Whole(**texts, times=at, occurrences=tuple(those))


def _listed(item: BulkEvent, sent: dict[str, Any], was: Whole, *, linked: bool) -> Whole:
    """An event after a change whose occurrences Planning Center has listed. Unacceptable."""
    if linked and item.model_fields_set & {"excluded", "moved"}:
        raise Unacceptable(("moved" if "moved" in item.model_fields_set else "excluded", DATES_STAY))
    try:
        return values_after(was, sent, linked=linked)
    except DatesAreTheirs as error:
        raise Unacceptable((error.field, DATES_STAY)) from error


def _own(one: OwnOccurrence) -> dict[str, Any]:
    sent = {name: getattr(one, name) for name in one.model_fields_set}
    return {name: value if value != "" else None for name, value in sent.items()}


def _change(call: _Call, event: Event, was: Whole, values: Whole) -> None:
    found = notes(event, was, values)
    revived = event.deleted_at is not None
    if was == values and not revived:
        call.unchanged += 1
        return
    if revived:
        event.deleted_at = None
        found.append(Noted(EVENT, event.id, DELETED, True, False))
    call.updated += 1
    call.notes += found
    event.version += 1
    event.updated_at = call.now
    take_over(event, values)
    _write(call, event, was, values)


def _write(call: _Call, event: Event, was: Whole | None, values: Whole) -> None:
    call.writes.replace(event, was.occurrences if was else (), values.occurrences)
    call.changed[event.id] = (event, values.occurrences)
    if sum(len(those) for _, those in call.changed.values()) > MOST_OCCURRENCES:
        raise TooLarge(
            f"These events have more than {MOST_OCCURRENCES} occurrences: send them in smaller parts. Nothing was "
            "changed.",
            limit=MOST_OCCURRENCES,
        )
