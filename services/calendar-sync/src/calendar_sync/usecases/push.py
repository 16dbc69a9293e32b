"""Events that somebody asks to have in Planning Center: created there once, or handed off where it refuses that.

    asked ──created and linked──▶ (link)
      └─refused──▶ waiting ──found there──▶ (link)

Whether Planning Center lets events be created is learnt from its answer to a push. Once it has refused, the next push
asks first with a body that creates nothing anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.changes import Whole
from calendar_sync.domain.events import Occurrence
from calendar_sync.domain.push import CLOCKS, NOTHING, allows, attributes_of, attributes_of_occurrence, in_zone
from calendar_sync.domain.sentences import (
    BEING_CREATED,
    HANDED_OFF,
    LINKED,
    NOT_LINKED,
    NOT_PUSHED,
    PUSH_ENDED,
    PUSH_STOPPED,
    PUSHED,
    TAKEN,
    UNCLEAR,
    already_linked,
)
from calendar_sync.planning_center import EVENTS, NEW_EVENT, event_there, events_called
from calendar_sync.storage import links
from calendar_sync.storage.events import occurrences_of, whole
from calendar_sync.storage.links import ASKED, WAITING, Owner, push_of, taken_there
from calendar_sync.storage.tables import CalendarConnection, Creation, Event, EventLink, Push
from calendar_sync.usecases import events
from calendar_sync.usecases.check import Check
from calendar_sync.usecases.events import locked
from calendar_sync.usecases.history import Cause, edited_since
from calendar_sync.usecases.linking import make
from calendar_sync.usecases.refreshes import PUSH, REFRESHES, awake, render
from calendar_sync.usecases.schedule import first_check, locked_connection
from contracts.http.calendar import EventPush, EventSync
from contracts.identity import UserIdentity
from contracts.values import CALENDAR, EVENT
from pco_client.client import PlanningCenter
from pco_client.errors import Forbidden, NotFound, PlanningCenterError, Rejected
from pco_client.jsonapi import Document
from servicekit.errors import Conflict
from servicekit.jobs.queue import LeaseLost
from synckit.creations import Creator, Made, create_once
from synckit.errors import IntentGone, NotConnected
from synckit.guard import guarded
from synckit.history import REFRESH, Actor
from synckit.refreshes import request

_OCCURRENCE: Final = "occurrence"
"""Kind of a creation, beside `contracts.values.EVENT`."""


log = structlog.get_logger(__name__)


class _Refused(Exception):
    """Planning Center does not let events be created."""


class _Unclear(Exception):
    """An earlier attempt may have created one of several events."""


@dataclass(frozen=True, slots=True)
class _Pushing:
    """One event on its way."""

    check: Check
    pco: PlanningCenter
    """For writes, within the job's lease."""
    event_id: UUID
    values: Whole

    @property
    def owner(self) -> Owner:
        return self.check.owner

    @property
    def creator(self) -> Creator[Creation]:
        resources = self.check.resources
        return Creator(
            job=self.check.job,
            clock=resources.clock,
            rows=Creation,
            owner=self.owner.columns,
            unseen=resources.settings.unseen,
        )


async def ask(
    session: AsyncSession, organization_id: str, event_id: str, user: UserIdentity, now: datetime
) -> EventSync:
    """*Push to Planning Center*. Conflict (409) if that is impossible, NotFound (404)."""
    owner = await awake(session, organization_id, event_id)
    event, _ = await locked(session, organization_id, event_id, None)
    link = await links.of_event(session, owner, event.id)
    if link is not None and link.state == links.LINKED:
        raise Conflict(already_linked(link.title_there), slug="already-linked", event_id=str(event.id))
    push = await push_of(session, owner, event.id)
    if push is None:
        push = Push(event_id=event.id, asked_at=now, **owner.columns)
        session.add(push)
    elif not await _sent(session, owner, event.id):
        push.asked_at = now
    push.state, push.looked_at, push.note = ASKED, now, None
    push.by_user_id, push.by_name = user.user_id, user.name
    row = await request(
        session, REFRESHES, owner.columns, EVENT, record_id=event.id, reason=PUSH, urgent=True, now=now, woken=True
    )
    return render(row)


async def _sent(session: AsyncSession, owner: Owner, event_id: UUID) -> bool:
    """Whether Planning Center may have the event as it was at the first request: edits count from then."""
    query = select(Creation.id).filter_by(**owner.columns, event_id=event_id).where(Creation.state != "intended")
    return await session.scalar(query.limit(1)) is not None


async def give_up(session: AsyncSession, organization_id: str, event_id: str) -> None:
    """Wait no longer for an event to appear in Planning Center. Conflict (409) while it is being created."""
    event, _ = await locked(session, organization_id, event_id, None)
    connection = await session.get(CalendarConnection, organization_id)
    push = None
    if connection is not None:
        push = await push_of(session, Owner(organization_id, connection.pco_organization_id), event.id)
    if push is None:
        raise Conflict(NOT_PUSHED, slug="not-pushed")
    if push.state == ASKED:
        raise Conflict(BEING_CREATED, slug="being-created")
    event.handed_off = False
    await session.delete(push)


async def push(check: Check, event_id: UUID) -> str:
    """Create an event in Planning Center and link it. Returns the outcome, as in `domain.sentences`.

    NotYet while an earlier attempt may not be visible yet; errors of Planning Center.
    """
    async with check.job.sessions() as session:
        event = await session.get(Event, event_id)
        if event is None or event.deleted_at is not None:
            return NOT_LINKED
        link = await links.of_event(session, check.owner, event_id)
        if link is not None and link.state == links.LINKED:
            return LINKED
        values = whole(event, (await occurrences_of(session, [event]))[event.id])
    pco = guarded(check.pco, check.job, check.resources.settings.pco_request_timeout_seconds)
    one = _Pushing(check, pco, event_id, values)
    try:
        await _refused_before(one)
        pco_event_id = await _event(one)
        instances = await _dated(one, pco_event_id)
    except _Refused:
        await _hand_off(one)
        return HANDED_OFF
    except _Unclear:
        await _hand_off(one, UNCLEAR)
        return UNCLEAR
    except IntentGone:
        return await _linked_meanwhile(one)
    return await _link(one, pco_event_id, instances)


async def state(session: AsyncSession, organization_id: str, event_id: str) -> EventPush:
    """Whether an event is on its way to Planning Center, and what that allows. NotFound (404)."""
    event = await events.find(session, organization_id, event_id)
    connection = await session.get(CalendarConnection, organization_id)
    found = None
    if connection is not None:
        found = await push_of(session, Owner(organization_id, connection.pco_organization_id), event.id)
    return EventPush(
        state="none" if found is None else "asked" if found.state == ASKED else "waiting",
        asked_at=found.asked_at if found else None,
        by_name=found.by_name if found else None,
        note=found.note if found else None,
        may_create=connection.may_create if connection else None,
        may_create_at=connection.may_create_at if connection else None,
        new_event_url=NEW_EVENT,
    )


async def _refused_before(one: _Pushing) -> None:
    """Ask again without creating anything, if the last push was refused."""
    async with one.check.job.sessions() as session:
        connection = await session.get(CalendarConnection, one.owner.organization_id)
    if connection is None or connection.may_create is not False:
        return
    try:
        await one.pco.post(EVENTS, _body("Event", NOTHING))
    except (Rejected, Forbidden, NotFound) as error:
        if _answer_of(error) is False:
            raise _Refused from error


def _answer_of(error: PlanningCenterError) -> bool | None:
    complaints = [text for each in error.problems for text in (each.parameter, each.detail) if text]
    return allows(error.status, complaints)


async def _event(one: _Pushing) -> str:
    """Planning Center's id of the event, created now or by an earlier attempt."""
    if (known := await _created(one, EVENT, one.event_id)) is not None:
        return known
    content = attributes_of(one.values) | {"first": min(_starts(one)).isoformat()}

    async def look(row: Creation) -> Made | None:
        return await _look_for_event(one, row)

    async def post(_: Creation) -> Document:
        return await one.pco.create(EVENTS, _body("Event", attributes_of(one.values)))

    try:
        made = await _once(one, EVENT, one.event_id, content, look, post)
    except (Rejected, Forbidden, NotFound) as error:
        if error.method == "POST" and _answer_of(error) is False:
            raise _Refused from error
        raise
    return made.pco_id


def _starts(one: _Pushing) -> list[datetime]:
    return [in_zone(each.span, one.check.zone).starts_at for each in one.values.occurrences if not each.cancelled]


async def _look_for_event(one: _Pushing, row: Creation) -> Made | None:
    content = row.content or {}
    if row.slipped:
        return Made(str(row.slipped[0]), content)
    since = (row.sent_at or one.check.resources.clock.now()) - CLOCKS
    named = await events_called(one.check.pco, str(content["name"]))
    fresh = [event_id for event_id, created_at in named if created_at is None or created_at >= since]
    async with one.check.job.sessions() as session:
        taken = await taken_there(session, one.owner, one.event_id, fresh)
    found = []
    for event_id in fresh:
        if event_id in taken:
            continue
        there = await event_there(one.check.pco, event_id)
        if not there.instances or str(content["first"]) in {_iso(each.starts_at) for each in there.instances}:
            found.append(event_id)
    if len(found) > 1:
        raise _Unclear
    return Made(found[0], content) if found else None


def _iso(at: datetime | None) -> str:
    return at.isoformat() if at is not None else ""


async def _dated(one: _Pushing, pco_event_id: str) -> dict[str, str]:
    """As `_occurrences`. What was created and is deleted there by now is forgotten, so that a new push creates it."""
    try:
        return await _occurrences(one, pco_event_id)
    except NotFound:
        try:
            await event_there(one.check.pco, pco_event_id)
        except NotFound:
            await _forget(one, pco_event_id)
        raise


async def _forget(one: _Pushing, pco_event_id: str) -> None:
    seen_by_now = one.check.resources.clock.now() - one.check.resources.horizon
    of_event = select(Creation.event_id).filter_by(**one.owner.columns, kind=EVENT, pco_id=pco_event_id)
    async with one.check.job.transaction() as session:
        old = of_event.where(Creation.event_id == one.event_id, Creation.sent_at < seen_by_now)
        if await session.scalar(old) is not None:
            await _forget_all(session, one)


async def _occurrences(one: _Pushing, pco_event_id: str) -> dict[str, str]:
    """Planning Center's ids of all occurrences, by key; created now or by an earlier attempt."""
    path = f"{EVENTS}/{pco_event_id}/event_instances"
    found: dict[str, str] = {}

    for occurrence in one.values.occurrences:
        if occurrence.cancelled:
            continue
        record_id = uuid5(one.event_id, occurrence.key)
        known = await _created(one, _OCCURRENCE, record_id)
        if known is None:
            attributes = attributes_of_occurrence(one.values, occurrence, one.check.zone)
            known = (await _once_of_occurrence(one, pco_event_id, path, record_id, attributes, occurrence)).pco_id
        found[occurrence.key] = known
    return found


async def _once_of_occurrence(
    one: _Pushing, pco_event_id: str, path: str, record_id: UUID, attributes: dict[str, Any], occurrence: Occurrence
) -> Made:
    async def look(row: Creation) -> Made | None:
        content = row.content or {}
        if row.slipped:
            return Made(str(row.slipped[0]), content)
        there = await event_there(one.check.pco, pco_event_id)
        async with one.check.job.sessions() as session:
            others = set(
                await session.scalars(
                    select(Creation.pco_id).where(
                        Creation.event_id == one.event_id, Creation.kind == _OCCURRENCE, Creation.id != row.id
                    )
                )
            )
        same = (
            each
            for each in there.instances
            if _iso(each.starts_at) == in_zone(occurrence.span, one.check.zone).starts_at.isoformat()
        )
        return next((Made(each.id, content) for each in same if each.id not in others), None)

    async def post(_: Creation) -> Document:
        return await one.pco.create(path, _body("EventInstance", attributes))

    return await _once(one, _OCCURRENCE, record_id, attributes, look, post)


async def _created(one: _Pushing, kind: str, record_id: UUID) -> str | None:
    async with one.check.job.sessions() as session:
        query = select(Creation.pco_id).filter_by(**one.owner.columns, kind=kind, record_id=record_id, state="created")
        return await session.scalar(query)


async def _once(one: _Pushing, kind: str, record_id: UUID, content: dict[str, Any], look: Any, post: Any) -> Made:
    async def opened(_session: AsyncSession, row: Creation) -> bool:
        row.event_id = one.event_id
        return bool(row.slipped)

    async def lock(session: AsyncSession) -> None:
        await session.execute(select(Event.id).where(Event.id == one.event_id).with_for_update())

    async def created(_session: AsyncSession, _made: Made) -> None:
        return

    async def slipped(pco_id: str) -> None:
        await _slipped(one, kind, record_id, pco_id)

    return await create_once(
        one.creator,
        kind,
        record_id,
        content,
        look=look,
        post=post,
        lock=lock,
        created=created,
        slipped=slipped,
        opened=opened,
        unwanted=LeaseLost,
    )


def _body(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": {"type": kind, "attributes": dict(attributes)}}


async def _slipped(one: _Pushing, kind: str, record_id: UUID, pco_id: str) -> None:
    """Store a record that was created after the job was lost, for the next look. The lost lease is not checked, since
    nothing is decided here.
    """
    log.warning("created after the loss of the lease", event_id=str(one.event_id), pco_id=pco_id)
    intent = {**one.owner.columns, "kind": kind, "record_id": record_id}
    async with one.check.job.sessions.begin() as session:
        row = await session.scalar(select(Creation).filter_by(**intent).with_for_update())
        if row is None:
            row = Creation(**intent, event_id=one.event_id, state="intended", slipped=[])
            session.add(row)
        if row.pco_id != pco_id:
            row.slipped = [*row.slipped, pco_id]


async def _hand_off(one: _Pushing, outcome: str = HANDED_OFF) -> None:
    """From now on the event is waited for."""
    now = one.check.resources.clock.now()
    async with one.check.job.transaction() as session:
        connection = await locked_connection(session, one.owner)
        if connection is None:
            raise NotConnected(CALENDAR)
        if outcome == HANDED_OFF:
            connection.may_create, connection.may_create_at = False, now
        await first_check(session, connection, now)
        found = await push_of(session, one.owner, one.event_id)
        if found is not None:
            found.state, found.looked_at = WAITING, now
            if outcome == HANDED_OFF:
                await session.execute(update(Event).where(Event.id == one.event_id).values(handed_off=True))
            found.note = PUSH_ENDED[outcome] if outcome != HANDED_OFF else None


async def refused(check: Check, event_id: UUID, sentence: str) -> None:
    """Note why an event was not created there. It is looked for, since it may have been created after all."""
    now = check.resources.clock.now()
    async with check.job.transaction() as session:
        connection = await locked_connection(session, check.owner)
        if connection is not None:
            await first_check(session, connection, now)
        found = await push_of(session, check.owner, event_id)
        if found is not None:
            found.state, found.note, found.looked_at = WAITING, sentence, now


async def stop_all(session: AsyncSession, organization_id: str) -> None:
    """End all pushes that are under way, because the connection has ended. The jobs are held."""
    under_way = update(Push).where(Push.organization_id == organization_id, Push.state == ASKED)
    await session.execute(under_way.values(state=WAITING, note=PUSH_STOPPED))


async def _linked_meanwhile(one: _Pushing) -> str:
    """Somebody linked what is being created: what was created since then is in that link, too. Returns the outcome."""
    async with one.check.job.transaction() as session:
        await locked(session, one.owner.organization_id, str(one.event_id), None)
        link = await links.of_event(session, one.owner, one.event_id)
        if link is None or link.state != links.LINKED:
            return NOT_LINKED
        await _forget_all(session, one)
    return LINKED


async def _forget_all(session: AsyncSession, one: _Pushing) -> None:
    mine = (Creation.event_id == one.event_id, Creation.pco_organization_id == one.owner.pco_organization_id)
    await session.execute(delete(Creation).where(*mine))


async def _link(one: _Pushing, pco_event_id: str, instances: Mapping[str, str]) -> str:
    """Link what was created. What somebody changed here meanwhile stays, and differs from Planning Center; so does a
    link that somebody made. Returns the outcome.
    """
    now = one.check.resources.clock.now()
    async with one.check.job.transaction() as session:
        connection = await locked_connection(session, one.owner)
        if connection is None:
            raise NotConnected(CALENDAR)
        connection.may_create, connection.may_create_at = True, now
        event, before = await locked(session, one.owner.organization_id, str(one.event_id), None)
        push = await push_of(session, one.owner, event.id)
        former = await links.of_event(session, one.owner, event.id)
        if former is not None and former.state == links.LINKED:
            if former.pco_event_id == pco_event_id:
                await _forget_all(session, one)
            return LINKED
        if await links.rivals(session, one.owner, pco_event_id, None):
            if push is not None:
                push.state, push.looked_at, push.note = WAITING, now, PUSH_ENDED[TAKEN]
            return TAKEN
        if former is not None:
            await session.delete(former)
            await session.flush()
        single = len(instances) == 1 and before.times.recurrence is None
        made = EventLink(
            **one.owner.columns,
            event_id=event.id,
            pco_event_id=pco_event_id,
            pco_instance_id=next(iter(instances.values())) if single else None,
            title_there=one.values.title,
            state=links.LINKED,
            linked_at=now,
            linked_by_name=push.by_name if push else None,
            from_feed=False,
            # A check keeps those that differ there.
            kept=await edited_since(session, event, push.asked_at) if push else [],
        )
        ids = tuple(replace(each, pco_instance_id=instances.get(each.key)) for each in before.occurrences)
        actor = Actor("person", push.by_user_id, push.by_name) if push else Actor("platform")
        values = replace(before, occurrences=ids)
        await make(session, connection, event, made, before, values, actor, Cause(REFRESH))
    return PUSHED
