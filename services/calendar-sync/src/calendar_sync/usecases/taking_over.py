"""An event takes over what was read of Planning Center, in the caller's transaction.

The event's lock guards its link too.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.sentences import (
    DIFFERS,
    FROM_FEED,
    GONE,
    LINKED,
    MISSING,
    NOT_LINKED,
    UNCHANGED,
    UPDATED_HERE,
)
from calendar_sync.domain.taking_over import KEPT, Taken, There, after, differing, still
from calendar_sync.storage import links
from calendar_sync.storage.events import occurrences_of, whole
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import Event, EventLink
from calendar_sync.usecases import history
from calendar_sync.usecases.events import Change, write
from calendar_sync.usecases.history import LINKED_TO, THEIRS, Cause
from calendar_sync.usecases.publishing import DELETED_THERE, event_changed, event_linked, event_unlinked
from calendar_sync.usecases.schedule import first_check, locked_connection
from contracts.values import EVENT
from servicekit.kafka.outbox import append
from synckit.history import Actor, Noted

_AGAIN: Final = timedelta(days=1)
_LOOKED_FOR: Final = timedelta(days=30)
"""How long an event that is gone in Planning Center is looked for, once in `_AGAIN`."""


@dataclass(frozen=True, slots=True)
class Context:
    """Whose events, by what cause, and by which clocks."""

    owner: Owner
    zone: str
    cause: Cause
    now: datetime
    horizon: timedelta
    """For so long a 404 proves nothing."""
    read_at: datetime
    """When the read began."""
    asked_at: datetime | None = None
    """When a person asked for the sync: what was put back before is overwritten."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A linked event in this transaction."""

    event: Event
    link: EventLink
    before: Whole


async def lock(session: AsyncSession, owner: Owner, event_id: UUID) -> Locked | None:
    """The event and its link, locked; None if it has none, or is deleted here."""
    query = select(Event).where(Event.organization_id == owner.organization_id, Event.id == event_id)
    event = await session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if event is None or event.deleted_at is not None:
        return None
    link = await links.of_event(session, owner, event_id)
    if link is None:
        return None
    return Locked(event, link, whole(event, (await occurrences_of(session, [event]))[event.id]))


def taken(
    before: Whole, link: EventLink, there: There, context: Context, since: Collection[str] = ()
) -> tuple[Taken, list[str]]:
    """The event after a read, and what a person put back that still differs. Nothing is written.

    since: the parts that were changed after a person asked for the sync.
    """
    if link.from_feed:
        return replace(after(before, there, context.zone, context.now, KEPT), values=before, note=FROM_FEED), []
    theirs = still(link.note, there, after(before, there, context.zone, context.now))
    differs = differing(before, theirs.values)
    kept = [name for name in link.kept if name in differs and (context.asked_at is None or name in since)]
    if not kept:
        return theirs, kept
    return still(link.note, there, after(before, there, context.zone, context.now, kept)), kept


def title_there(there: There) -> str | None:
    """The title in Planning Center."""
    return (there.instances[0].name if there.one and there.instances else None) or there.event.name


def settled(link: EventLink, there: There, found: Taken, kept: list[str]) -> bool:
    """Whether the link says already what a read of an unchanged event says."""
    return (
        link.state == links.LINKED
        and link.missing_since is None
        and link.note == found.note
        and link.kept == kept
        and link.title_there == (title_there(there) or link.title_there)
    )


async def take(session: AsyncSession, context: Context, event_id: UUID, there: There) -> str:
    """Take over what was read. Returns the outcome, as in `domain.sentences`."""
    connection = None
    known = await links.of_event(session, context.owner, event_id)
    if known is not None and known.state == links.GONE:
        # It may be linked again, as a person may be linking another event to the same there.
        connection = await locked_connection(session, context.owner)
    locked = await lock(session, context.owner, event_id)
    if locked is None or not _is_target(locked.link, there):
        return NOT_LINKED
    event, link, before = locked.event, locked.link, locked.before
    if _is_older(context, link):
        return UNCHANGED
    link.read_at = context.read_at
    again, said = link.state == links.GONE, _said(link)
    if again and await links.rivals(session, context.owner, link.pco_event_id, link.pco_instance_id):
        link.look_after = None
        return GONE
    found, kept = taken(before, link, there, context, await _put_back_since(session, context, locked))
    link.note, link.kept = found.note, kept
    link.title_there = title_there(there) or link.title_there
    link.missing_since = link.look_after = None
    if again:
        link.state, link.gone_at, link.linked_at, link.linked_by_name = links.LINKED, None, context.now, None
    changed = found.values != before
    if changed:
        await write(session, event, before, found.values, _change(context, link))
    if again:
        if not changed:
            event.version += 1
            event.updated_at = context.now
        if connection is not None:
            await first_check(session, connection, context.now)
        await note_link(session, event, THEIRS, None, link, context.now, context.cause)
        await append(session, event_linked(event, found.values.occurrences, link, context.now))
        return LINKED
    if changed or said != _said(link):
        await append(session, event_changed(event, found.values.occurrences, link, context.now))
    await session.flush()
    if kept:
        return DIFFERS
    return UPDATED_HERE if changed else UNCHANGED


async def _put_back_since(session: AsyncSession, context: Context, locked: Locked) -> list[str]:
    """The parts that were changed here after a person asked for this sync, so that it does not overwrite them."""
    if context.asked_at is None or not locked.link.kept:
        return []
    return await history.edited_since(session, locked.event, context.asked_at + timedelta.resolution)


async def miss(session: AsyncSession, context: Context, event_id: UUID, target: tuple[str, str | None]) -> str:
    """Note that Planning Center answered 404 at the event's own address. Returns the outcome.

    A 404 of a read that began past the horizon of the first is believed. target: Planning Center's ids of the event and
    the occurrence read.
    """
    locked = await lock(session, context.owner, event_id)
    if locked is None or (locked.link.pco_event_id, locked.link.pco_instance_id) != target:
        return NOT_LINKED
    event, link, now = locked.event, locked.link, context.now
    if _is_older(context, link):
        return UNCHANGED
    link.read_at = context.read_at
    if link.state == links.GONE:
        over = link.gone_at is None or now >= link.gone_at + _LOOKED_FOR
        link.look_after = None if over else now + _AGAIN
        return GONE
    if link.missing_since is None:
        link.missing_since, link.look_after = context.read_at, context.read_at + context.horizon
        await append(session, event_changed(event, locked.before.occurrences, link, now))
    if context.read_at < link.missing_since + context.horizon:
        return MISSING
    link.state, link.gone_at, link.look_after, link.missing_since = links.GONE, now, now + _AGAIN, None
    event.version += 1
    event.updated_at = now
    # In the feed it would come back as another event.
    event.handed_off = False
    await note_link(session, event, THEIRS, link, None, now, context.cause)
    await append(session, event_unlinked(event, locked.before.occurrences, DELETED_THERE, now))
    return GONE


def _said(link: EventLink) -> tuple[object, ...]:
    """What pages show of a link besides the event."""
    return link.note, link.title_there, link.missing_since, tuple(link.kept)


async def tell_again(session: AsyncSession, context: Context, event_id: UUID) -> None:
    """Publish an event as it is, so that open pages read what is said about it now. The event is locked."""
    event = await session.get_one(Event, event_id, populate_existing=True)
    occurrences = whole(event, (await occurrences_of(session, [event]))[event.id]).occurrences
    link = await links.of_event(session, context.owner, event_id)
    now = link if link is not None and link.state == links.LINKED else None
    await append(session, event_changed(event, occurrences, now, context.now))


def _is_older(context: Context, link: EventLink) -> bool:
    """Whether something newer was taken over since the read began. A clock that jumped back proves nothing."""
    return link.read_at is not None and context.read_at < link.read_at <= context.now


def _is_target(link: EventLink, there: There) -> bool:
    if there.one:
        return link.pco_instance_id is not None and there.instances[0].id == link.pco_instance_id
    return link.pco_instance_id is None and there.event.id == link.pco_event_id


def _change(context: Context, link: EventLink) -> Change:
    return Change(THEIRS, context.now, link, context.cause)


async def note_link(
    session: AsyncSession,
    event: Event,
    actor: Actor,
    before: EventLink | None,
    after_: EventLink | None,
    now: datetime,
    cause: Cause = history.EDITED,
) -> None:
    """Write into the history that a link was made or taken away."""
    row = Noted(EVENT, event.id, LINKED_TO, _named(before), _named(after_))
    await history.note(session, event.organization_id, actor, [row], now, cause)


def _named(link: EventLink | None) -> dict[str, Any] | None:
    if link is None:
        return None
    return {
        "pco_event_id": link.pco_event_id,
        "pco_event_instance_id": link.pco_instance_id,
        "title": link.title_there,
    }


def without_ids(one: Whole) -> Whole:
    """An event whose occurrences have no ids of Planning Center."""
    return replace(one, occurrences=tuple(replace(each, pco_instance_id=None) for each in one.occurrences))
