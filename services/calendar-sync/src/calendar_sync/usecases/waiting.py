"""Events that were handed off: linked by themselves once they are in Planning Center."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, select

from calendar_sync.domain.planning_center import span_of
from calendar_sync.domain.push import in_zone
from calendar_sync.domain.sentences import FROM_FEED, SEVERAL_MATCH
from calendar_sync.domain.taking_over import Taken, There, after
from calendar_sync.domain.window import Window
from calendar_sync.planning_center import is_of_a_feed, search
from calendar_sync.storage import links
from calendar_sync.storage.events import occurrences_of, whole
from calendar_sync.storage.links import WAITING, push_of, taken_there
from calendar_sync.storage.tables import Event, EventLink, Push
from calendar_sync.usecases.check import OF_ALL, Check, answers_others
from calendar_sync.usecases.events import locked
from calendar_sync.usecases.history import THEIRS
from calendar_sync.usecases.linking import make
from calendar_sync.usecases.schedule import locked_connection
from calendar_sync.usecases.taking_over import tell_again, title_there, without_ids
from calendar_sync.usecases.there import read_target
from contracts.values import CALENDAR
from pco_client.errors import Forbidden, Unavailable
from servicekit.errors import is_transient
from servicekit.jobs.queue import LeaseLost, StopRequested
from synckit.errors import NotConnected
from synckit.text import fold

_AT_ONCE: Final = 20
"""Events that one check looks for; the others have their turn in the next ones."""
_WAITED_FOR: Final = timedelta(days=7)
"""How long an event that is over is still looked for."""
_MOMENT: Final = timedelta(seconds=1)

log = structlog.get_logger(__name__)


async def look_for_waiting(check: Check) -> None:
    """Link events that were handed off and are there by now: a few, those first that were looked for longest ago."""
    await _forget_what_is_over(check)
    async with check.job.sessions() as session:
        query = select(Push).filter_by(**check.owner.columns, state=WAITING).join(Event, Event.id == Push.event_id)
        query = query.where(Event.deleted_at.is_(None)).order_by(Push.looked_at).limit(_AT_ONCE)
        waiting = [push.event_id for push in await session.scalars(query)]
    for event_id in waiting:
        if check.job.stop_requested:
            raise StopRequested
        try:
            await _look_for(check, event_id)
        except Exception as error:
            if isinstance(error, LeaseLost) or is_transient(error):
                raise
            # It comes last next time, so that it holds up no other.
            await _still_waiting(check, event_id, None)
            if isinstance(error, OF_ALL):
                raise
            if isinstance(error, (Forbidden, Unavailable)):
                await answers_others(check)
            log.warning("not looked for", event_id=str(event_id), exc_info=error)


async def _forget_what_is_over(check: Check) -> None:
    """Nobody creates an event there that is long over."""
    over = select(Event.id).where(
        Event.organization_id == check.owner.organization_id,
        Event.last_ends_at < check.resources.clock.now() - _WAITED_FOR,
    )
    waiting = delete(Push).where(
        Push.organization_id == check.owner.organization_id,
        Push.pco_organization_id == check.owner.pco_organization_id,
        Push.state == WAITING,
        Push.event_id.in_(over),
    )
    async with check.job.transaction() as session:
        await session.execute(waiting, execution_options={"synchronize_session": False})


async def _look_for(check: Check, event_id: UUID) -> None:
    """Link an event if exactly one in Planning Center has its title and its first start."""
    async with check.job.sessions() as session:
        event = await session.get(Event, event_id)
        if event is None or event.deleted_at is not None:
            return
        values = whole(event, (await occurrences_of(session, [event]))[event.id])
    spans = [in_zone(one.span, check.zone) for one in values.occurrences if not one.cancelled]
    first = min(spans, key=lambda span: span.starts_at)
    met, _ = await search(check.pco, values.title, Window(first.starts_at, first.starts_at + _MOMENT), limit=100)
    same = {
        one.event.id: one
        for one in met
        if fold(one.event.name or one.instance.name or "") == fold(values.title)
        and (span := span_of(one.instance, check.zone)) is not None
        and (span.first_day or span.starts_at) == (first.first_day or first.starts_at)
    }
    async with check.job.sessions() as session:
        taken = await taken_there(session, check.owner, event_id, same)
    left = [one for pco_event_id, one in same.items() if pco_event_id not in taken]
    if len(left) != 1:
        await _still_waiting(check, event_id, SEVERAL_MATCH if left else None)
        return
    (found,) = left
    single = len(values.occurrences) == 1 and not found.instance.repeats
    there = await read_target(check.pco, found.event.id, found.instance.id if single else None)
    from_feed = await is_of_a_feed(check.pco, found.event.id)
    await _link_found(check, event_id, there, from_feed=from_feed)


async def _still_waiting(check: Check, event_id: UUID, note: str | None) -> None:
    async with check.job.transaction() as session:
        # Before the push, as everywhere; an edit meanwhile would otherwise be followed by the state before it.
        await session.execute(select(Event.id).where(Event.id == event_id).with_for_update())
        found = await push_of(session, check.owner, event_id)
        if found is not None and found.state == WAITING:
            now = found.looked_at = check.resources.clock.now()
            if note != found.note and (note is not None or found.note == SEVERAL_MATCH):
                found.note = note
                await tell_again(session, check.context(now), event_id)


async def _link_found(check: Check, event_id: UUID, there: There, *, from_feed: bool) -> None:
    now = check.resources.clock.now()
    async with check.job.transaction() as session:
        connection = await locked_connection(session, check.owner)
        if connection is None:
            raise NotConnected(CALENDAR)
        event, before = await locked(session, check.owner.organization_id, str(event_id), None)
        waits = await push_of(session, check.owner, event_id)
        former = await links.of_event(session, check.owner, event_id)
        instance_id = there.instances[0].id if there.one else None
        rivals = await links.rivals(session, check.owner, there.event.id, instance_id)
        if waits is None or rivals or (former is not None and former.state == links.LINKED):
            return
        if former is not None:
            await session.delete(former)
            await session.flush()
        found = Taken(without_ids(before), FROM_FEED)
        if not from_feed:
            found = after(without_ids(before), there, check.zone, now)
        made = EventLink(
            **check.owner.columns,
            event_id=event.id,
            pco_event_id=there.event.id,
            pco_instance_id=instance_id,
            title_there=title_there(there) or "(no name)",
            state=links.LINKED,
            linked_at=now,
            linked_by_name=None,
            note=found.note,
            from_feed=from_feed,
            kept=[],
        )
        await make(session, connection, event, made, before, found.values, THEIRS, check.cause)
