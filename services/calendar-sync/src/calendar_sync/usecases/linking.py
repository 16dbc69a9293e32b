"""Links: compared before, made and taken away by people.

A link is made under the lock of the church's connection, then of the event, so two people at once are one after the
other. Planning Center is read before the transaction; the digest tells whether what was shown still holds.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.comparing import MOST_SHOWN, Moved, compare
from calendar_sync.domain.sentences import FROM_FEED, MOVED, NOT_CONNECTED, already_linked
from calendar_sync.domain.taking_over import Taken, There, after
from calendar_sync.planning_center import is_of_a_feed, url_of
from calendar_sync.resources import Resources
from calendar_sync.storage import links
from calendar_sync.storage.events import details, occurrences_of, rendered_occurrences, summary, whole
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, Creation, Event, EventLink, Push
from calendar_sync.usecases import events
from calendar_sync.usecases.events import Change, locked, write
from calendar_sync.usecases.history import LINK, THEIRS, Cause
from calendar_sync.usecases.publishing import BY_A_PERSON, event_changed, event_linked, event_unlinked
from calendar_sync.usecases.schedule import first_check
from calendar_sync.usecases.taking_over import note_link, title_there, without_ids
from calendar_sync.usecases.there import Asked, asking, in_words, read_target
from contracts.calendar import EventDetails
from contracts.http.calendar import (
    ComparedField,
    ComparedOccurrence,
    Comparison,
    ComparisonQuery,
    LinkedMany,
    LinkedOne,
    LinkInput,
    LinksInput,
    OneOfLinks,
)
from contracts.identity import UserIdentity
from contracts.values import EVENT
from servicekit.errors import Conflict, ServiceError
from servicekit.kafka.outbox import append
from synckit.history import Actor

_PATIENCE_FOR_MANY: Final = 45.0
_AT_ONCE: Final = 8
"""Targets of many links that are read at the same time."""


@dataclass(frozen=True, slots=True)
class Read:
    """A target as it was read for a person."""

    there: There
    owner: Owner
    zone: str
    from_feed: bool = False
    """Whether Planning Center has it from the church's feed, so that nothing here is overwritten."""


async def read_for(
    resources: Resources, organization_id: str, event_id: str, target: LinkInput | ComparisonQuery
) -> Read:
    """Read what an event is to be linked to; errors as `there.asking`. NotFound (404) for the event."""
    async with resources.runtime.sessions() as session:
        await events.find(session, organization_id, event_id)
    async with asking(resources, organization_id) as asked:
        return await _read(resources, asked, event_id, target)


async def read_or_error(
    resources: Resources, organization_id: str, event_id: str, target: LinkInput
) -> Read | ServiceError:
    """As `read_for`, with the error as a value, so that a kept answer goes before it."""
    try:
        return await read_for(resources, organization_id, event_id, target)
    except ServiceError as error:
        return error


async def _read(resources: Resources, asked: Asked, event_id: str, target: LinkInput | ComparisonQuery) -> Read:
    async with resources.runtime.sessions() as session:
        event = await events.find(session, asked.owner.organization_id, event_id)
    there = await read_target(asked.pco, target.pco_event_id, target.pco_event_instance_id)
    from_feed = event.handed_off and await is_of_a_feed(asked.pco, target.pco_event_id)
    return Read(there, asked.owner, asked.zone, from_feed)


async def comparison(resources: Resources, organization_id: str, event_id: str, query: ComparisonQuery) -> Comparison:
    """The values that a link would overwrite. NotFound (404) here or there."""
    async with resources.runtime.sessions() as session:
        await events.find(session, organization_id, event_id)
    read = await read_for(resources, organization_id, event_id, query)
    now = resources.clock.now()
    async with resources.runtime.sessions() as session:
        event = await events.find(session, organization_id, event_id)
        before = whole(event, (await occurrences_of(session, [event]))[event.id])
        taken = _taken(before, read, now)
        rivals = await links.rivals(session, read.owner, query.pco_event_id, query.pco_event_instance_id)
        other = await session.get(Event, rivals[0].event_id) if rivals else None
        found = compare(without_ids(before), taken.values)
        return Comparison(
            pco_event_id=query.pco_event_id,
            pco_event_instance_id=query.pco_event_instance_id,
            title_there=title_there(read.there) or "(no name)",
            url=url_of(query.pco_event_id),
            linked_to=summary(other, rivals[0]) if other is not None else None,
            fields=tuple(ComparedField(field=one.field, here=one.before, there=one.after) for one in found.fields),
            added=len(found.added),
            moved=len(found.moved),
            taken_out=len(found.taken_out),
            occurrences=tuple(
                _compared(one) for those in (found.added, found.moved, found.taken_out) for one in those[:MOST_SHOWN]
            ),
            note=taken.note,
            version=event.version,
            digest=found.digest,
        )


def _compared(one: Moved) -> ComparedOccurrence:
    here, there = (rendered_occurrences([side])[0] if side else None for side in (one.before, one.after))
    return ComparedOccurrence(here=here, there=there)


def _taken(before: Whole, read: Read, now: datetime) -> Taken:
    if read.from_feed:
        return Taken(without_ids(before), FROM_FEED)
    return after(without_ids(before), read.there, read.zone, now)


async def link(
    session: AsyncSession,
    organization_id: str,
    event_id: str,
    body: LinkInput,
    read: Read | ServiceError,
    user: UserIdentity,
    now: datetime,
) -> EventDetails:
    """Link an event to what was read, and take that over.

    The error of the read; NotFound (404); Conflict (409) if the event or the target is linked, either changed since it
    was shown, or the connection is gone or another one.
    """
    if isinstance(read, ServiceError):
        raise read
    connection = await _connection(session, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(NOT_CONNECTED, slug="not-connected")
    if connection.pco_organization_id != read.owner.pco_organization_id:
        raise Conflict(MOVED, slug="comparison-moved")
    event, before = await locked(session, organization_id, event_id, body.version)
    former = await links.of_event(session, read.owner, event.id)
    if former is not None and former.state == links.LINKED:
        raise Conflict(already_linked(former.title_there), slug="already-linked", event_id=str(event.id))
    for rival in await links.rivals(session, read.owner, body.pco_event_id, body.pco_event_instance_id):
        other = await session.get_one(Event, rival.event_id)
        raise Conflict(already_linked(other.title), slug="already-linked", event_id=str(other.id))
    taken = _taken(before, read, now)
    if body.digest is not None and compare(without_ids(before), taken.values).digest != body.digest:
        raise Conflict(MOVED, slug="comparison-moved")
    if former is not None:
        await session.delete(former)
        await session.flush()
    made = EventLink(
        **read.owner.columns,
        event_id=event.id,
        pco_event_id=body.pco_event_id,
        pco_instance_id=body.pco_event_instance_id,
        title_there=title_there(read.there) or "(no name)",
        state=links.LINKED,
        linked_at=now,
        linked_by_name=user.name,
        note=taken.note,
        from_feed=read.from_feed,
        kept=[],
    )
    await make(session, connection, event, made, before, taken.values, Actor.person(user), Cause(LINK))
    return details(event, taken.values.occurrences, made)


async def make(
    session: AsyncSession,
    connection: CalendarConnection,
    event: Event,
    made: EventLink,
    before: Whole,
    values: Whole,
    actor: Actor,
    cause: Cause,
) -> None:
    """Add a link, with what it makes of the event. Connection and event are locked; nobody waits for the event there
    any more.
    """
    now = made.read_at = made.linked_at
    session.add(made)
    event.handed_off = made.from_feed
    await session.execute(
        delete(Push).where(Push.event_id == event.id, Push.pco_organization_id == made.pco_organization_id)
    )
    # The link has the event that a push created, so a push after an unlink creates another one. The next push still
    # finds an event that was created and is not linked.
    of_event = (Creation.event_id == event.id, Creation.pco_organization_id == made.pco_organization_id)
    linked = select(Creation.id).where(*of_event, Creation.kind == EVENT, Creation.pco_id == made.pco_event_id)
    await session.execute(
        delete(Creation).where(*of_event, linked.exists()), execution_options={"synchronize_session": False}
    )
    await note_link(session, event, actor, None, made, now)
    if values != before:
        await write(session, event, before, values, Change(THEIRS, now, made, cause))
    else:
        event.version += 1
        event.updated_at = now
    await append(session, event_linked(event, values.occurrences, made, now))
    await first_check(session, connection, now)
    await session.flush()


async def read_many(
    resources: Resources, organization_id: str, body: LinksInput
) -> list[Read | ServiceError] | ServiceError:
    """The targets of many links, in their order; one error about all."""
    try:
        async with asking(resources, organization_id, patience=_PATIENCE_FOR_MANY) as asked:
            places = asyncio.Semaphore(_AT_ONCE)
            return await asyncio.gather(*(_read_one(resources, asked, one, places) for one in body.links))
    except ServiceError as error:
        return error


async def link_many(
    resources: Resources,
    organization_id: str,
    body: LinksInput,
    reads: list[Read | ServiceError] | ServiceError,
    user: UserIdentity,
) -> LinkedMany:
    """Link many events, each in a transaction of its own. Raises the error about all."""
    if isinstance(reads, ServiceError):
        raise reads
    items = [
        await _link_one(resources, organization_id, one, read, user)
        for one, read in zip(body.links, reads, strict=True)
    ]
    return LinkedMany(items=tuple(items))


async def _read_one(
    resources: Resources, asked: Asked, one: OneOfLinks, places: asyncio.Semaphore
) -> Read | ServiceError:
    async with places:
        try:
            with in_words(asked.owner.organization_id):
                return await _read(resources, asked, one.event_id, one)
        except ServiceError as error:
            return error


async def _link_one(
    resources: Resources, organization_id: str, one: OneOfLinks, read: Read | ServiceError, user: UserIdentity
) -> LinkedOne:
    try:
        async with resources.runtime.sessions.begin() as session:
            event = await link(session, organization_id, one.event_id, one, read, user, resources.clock.now())
    except ServiceError as error:
        return LinkedOne(event_id=one.event_id, problem=error.type, sentence=str(error.detail))
    return LinkedOne(event_id=one.event_id, event=event)


async def unlink(
    session: AsyncSession, organization_id: str, event_id: str, user: UserIdentity, now: datetime
) -> EventDetails:
    """Take the link away; both events stay as they are. Conflict (409) without a link."""
    connection = await _connection(session, organization_id)
    event, before = await locked(session, organization_id, event_id, None)
    found = await _link_of(session, connection, event.id)
    if found is None:
        raise Conflict("This event is not linked to Planning Center.", slug="not-linked")
    await session.delete(found)
    values = without_ids(before)
    await write(session, event, before, values, Change(Actor.person(user), now))
    if found.state == links.LINKED:
        await note_link(session, event, Actor.person(user), found, None, now)
        await append(session, event_unlinked(event, values.occurrences, BY_A_PERSON, now))
    else:
        await append(session, event_changed(event, values.occurrences, None, now))
    return details(event, values.occurrences, None)


async def keep(
    session: AsyncSession, organization_id: str, event_id: str, user: UserIdentity, now: datetime
) -> EventDetails:
    """Keep an event that is gone in Planning Center as one of ours: it is no longer looked for there.

    Conflict (409) if it is not gone.
    """
    connection = await _connection(session, organization_id)
    event, _ = await locked(session, organization_id, event_id, None)
    found = await _link_of(session, connection, event.id)
    if found is None or found.state != links.GONE:
        raise Conflict("This event was not deleted in Planning Center, so there is nothing to keep.", slug="not-linked")
    return await unlink(session, organization_id, event_id, user, now)


async def _connection(session: AsyncSession, organization_id: str) -> CalendarConnection | None:
    """Locked before any event, so that links of a church are made one after the other."""
    query = select(CalendarConnection).where(CalendarConnection.organization_id == organization_id)
    return await session.scalar(query.with_for_update().execution_options(populate_existing=True))


async def _link_of(session: AsyncSession, connection: CalendarConnection | None, event_id: UUID) -> EventLink | None:
    if connection is None:
        return None
    owner = Owner(connection.organization_id, connection.pco_organization_id)
    return await links.of_event(session, owner, event_id)
