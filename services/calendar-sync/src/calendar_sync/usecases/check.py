"""A check of all linked events: read in as few requests as possible, then taken over event by event.

A read that fails proves nothing: what was read whole is taken over, and an event is looked for at its own address
before it counts as missing. An event that alone cannot be read holds up neither the others nor those who wait for a
check: the next one tries it again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

import structlog
from sqlalchemy import select

from calendar_sync.domain.planning_center import Seen, SeenInstance
from calendar_sync.domain.sentences import DIFFERS, MISSING, REJECTED, UNCHANGED
from calendar_sync.domain.taking_over import Reach, There
from calendar_sync.domain.window import Reads, Target, Window, Windows, plan_reads
from calendar_sync.planning_center import any_instance, read_window
from calendar_sync.resources import Resources
from calendar_sync.storage import links
from calendar_sync.storage.events import occurrences_of, whole
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection, Event, EventLink
from calendar_sync.usecases.history import Cause
from calendar_sync.usecases.refreshes import REFRESHES
from calendar_sync.usecases.taking_over import Context, miss, settled, take, taken
from calendar_sync.usecases.there import learn_zone, read_target
from contracts.values import EVENT
from pco_client.client import PlanningCenter
from pco_client.errors import (
    Forbidden,
    LeaseUnavailable,
    NotFound,
    PlanningCenterError,
    Unauthorized,
    Unavailable,
)
from servicekit.errors import is_transient
from servicekit.jobs.queue import LeaseLost, StopRequested
from servicekit.jobs.worker import JobContext
from synckit.among import among
from synckit.errors import NotConnected
from synckit.refreshes import request

_AT_ONCE: Final = 6
"""Events read at their own address at the same time."""
_ELSEWHERE: Final = 5
"""Events of one check whose dates are over, or more than a year ahead."""
_SILENT: Final = 3
"""Batches of events in a row without one answer, each after several tries, after which a check leaves the others."""
_LOADED: Final = 100
"""Events loaded at the same time to see what differs."""
_DAY: Final = 86_400.0
OF_ALL: Final = (Unauthorized, LeaseUnavailable, NotConnected)
"""Errors about all events, which end a check."""
PATIENCE: Final = (*OF_ALL, Forbidden)
"""Errors about all events, unless Planning Center refuses only one of them."""

log = structlog.get_logger(__name__)

Told: TypeAlias = Callable[[EventLink, str], Awaitable[None]]
"""Takes the link of an event that is done, and the outcome."""


@dataclass(slots=True, kw_only=True)
class Check:
    """One check of a church."""

    job: JobContext
    resources: Resources
    pco: PlanningCenter
    owner: Owner
    zone: str
    density: float | None
    cause: Cause
    told: Told
    every: bool
    """Whether events are read too that have no occurrence within the horizon."""
    asked_at: datetime | None = None
    """When a person asked for it, so that what was put back here before is overwritten."""
    incomplete: bool = field(default=False, init=False)
    """Whether a window was not read, so that nothing is known of what it shows."""
    unread: set[UUID] = field(default_factory=set, init=False)
    """Linked events that were tried, and could not be read or taken over. Nothing about them is decided."""
    began_at: datetime | None = field(default=None, init=False)
    seen: dict[tuple[str, str], datetime | None] = field(default_factory=dict, init=False)
    """What was read at its own address, with its `updated_at`, by Planning Center's type and id."""
    read_rows: int = field(default=0, init=False)
    read_days: float = field(default=0.0, init=False)

    def context(self, read_at: datetime) -> Context:
        """For taking over, now, what a read that began then found."""
        now, horizon = self.resources.clock.now(), self.resources.horizon
        return Context(self.owner, self.zone, self.cause, now, horizon, read_at, self.asked_at)


@dataclass(slots=True)
class _Found:
    """An event as a window shows it."""

    window: Window
    read_at: datetime
    event: Seen
    instances: dict[str, SeenInstance] = field(default_factory=dict)
    """By id: a row can come twice; the last copy wins."""


@dataclass(slots=True)
class _Shown:
    """Windows that were read whole, and the linked events in them."""

    windows: set[Window] = field(default_factory=set)
    events: dict[str, dict[Window, _Found]] = field(default_factory=dict)
    """By Planning Center's id, in the order of the reads."""

    def of(self, link: EventLink) -> Iterable[tuple[_Found, There]]:
        """A link's target, as each window shows it that does."""
        for found in self.events.get(link.pco_event_id, {}).values():
            if (there := _of(link, found)) is not None:
                yield found, there

    def has(self, link: EventLink, window: Window) -> bool:
        """Whether a window shows a link's target."""
        found = self.events.get(link.pco_event_id, {}).get(window)
        return found is not None and _of(link, found) is not None


async def zone_for(resources: Resources, pco: PlanningCenter, connection: CalendarConnection, now: datetime) -> str:
    """The church's zone: read anew once a day."""
    known, checked = connection.time_zone, connection.checked_from
    if known is not None and checked is not None and checked.date() == now.date():
        return known
    return await learn_zone(resources, pco, Owner(connection.organization_id, connection.pco_organization_id))


async def check(one: Check) -> None:
    """Check all linked events. Raises errors that no single event causes: no connection, no role, Planning Center away.

    `one.incomplete` and `one.unread` tell afterwards what was not read.
    """
    now = one.began_at = one.resources.clock.now()
    async with one.job.sessions() as session:
        every = await links.all_of(session, one.owner)
        targets = await links.targets(session, one.owner, now)
        some = await links.some_elsewhere(session, one.owner, now, _ELSEWHERE)
    linked = [link for link in every if link.state == links.LINKED]
    reads = plan_reads(targets, one.density, now)
    shown, failure = await _windows(one, reads, {link.pco_event_id for link in every})
    alone = _not_shown(linked, targets, reads, shown)
    ahead = {target.id for target in targets}
    far = {link.event_id for link in linked if str(link.event_id) not in ahead} if one.every else some
    due = {
        link.event_id
        for link in every
        if link.state == links.GONE and link.look_after is not None and link.look_after <= now
    }
    met = {link.event_id for link in every if any(True for _ in shown.of(link))}
    alone |= due | {link.event_id for link in every if link.state == links.GONE and link.event_id in met}
    for batch in _batches([link for link in linked if link.event_id in met - alone - far]):
        alone |= await _take_shown(one, batch, shown)
    await _look(one, [link for link in every if link.event_id in alone])
    if failure is not None:
        raise failure
    incomplete, unread = one.incomplete, set(one.unread)
    await _look(one, [link for link in every if link.event_id in far - alone])
    if not one.every:
        # The regular check is complete if it read what takes place within the horizon.
        one.incomplete, one.unread = incomplete, unread


def _not_shown(linked: Iterable[EventLink], targets: Sequence[Target], reads: Reads, shown: _Shown) -> set[UUID]:
    """Events to be read at their own address: as planned, and those that should be in a window, and are not.

    Nothing follows for what a window should show that was not read.
    """
    found = {UUID(one) for one in reads.alone}
    of_event = {str(link.event_id): link for link in linked}
    windows = Windows(reads.windows)
    for target in targets:
        link = of_event.get(target.id)
        if link is None:
            continue
        window = windows.of(target)
        if window is None or (window in shown.windows and not shown.has(link, window)):
            found.add(link.event_id)
    return found


async def _windows(one: Check, reads: Reads, wanted: set[str]) -> tuple[_Shown, Exception | None]:
    """Read the windows, as far as Planning Center answers. Returns those read whole, and what ended the reading."""
    shown = _Shown()
    for window in reads.windows:
        found: dict[str, _Found] = {}
        rows, read_at = 0, one.resources.clock.now()
        try:
            async for count, met in read_window(one.pco, window):
                rows += count
                for row in met:
                    if row.event.id in wanted:
                        of_event = found.setdefault(row.event.id, _Found(window, read_at, row.event))
                        of_event.instances[row.instance.id] = row.instance
                        if of_event.event.name is None:
                            of_event.event = row.event
        except PATIENCE:
            raise
        except Unavailable as error:
            one.incomplete = True
            return shown, error
        except PlanningCenterError as error:
            log.warning("window not understood", job=str(one.job.id), exc_info=error)
            one.incomplete = True
            continue
        days = (window.ends - window.begins).total_seconds() / _DAY
        one.read_rows, one.read_days = one.read_rows + rows, one.read_days + max(days, 1.0)
        shown.windows.add(window)
        for pco_event_id, of_event in found.items():
            shown.events.setdefault(pco_event_id, {})[window] = of_event
    return shown, None


def _of(link: EventLink, found: _Found) -> There | None:
    """A link's target as a window shows it."""
    if link.pco_instance_id is None:
        return There(found.event, tuple(found.instances.values()), reach=Reach(found.window.begins, found.window.ends))
    instance = found.instances.get(link.pco_instance_id)
    return There(found.event, (instance,), one=True) if instance is not None else None


async def _take_shown(one: Check, batch: Sequence[EventLink], shown: _Shown) -> set[UUID]:
    """Take over what windows show. Returns the events that are to be read at their own address after all: an
    occurrence vanished, or the event began to repeat.
    """
    alone: set[UUID] = set()
    async with one.job.sessions() as session:
        ids = [link.event_id for link in batch]
        rows = list(await session.scalars(select(Event).where(among(Event.id, ids))))
        occurrences = await occurrences_of(session, rows)
    before = {row.id: whole(row, occurrences[row.id]) for row in rows}
    for link in batch:
        _stop(one)
        outcome = UNCHANGED
        for found, there in shown.of(link) if link.event_id in before else ():
            was, context = before[link.event_id], one.context(found.read_at)
            then, kept = taken(was, link, there, context)
            single = len(was.occurrences) == 1 and not there.one
            began_to_repeat = single and any(each.repeats for each in there.instances)
            if then.vanished or began_to_repeat:
                alone.add(link.event_id)
                break
            if then.values == was and settled(link, there, then, kept):
                outcome = DIFFERS if kept and outcome == UNCHANGED else outcome
                continue
            outcome = await _guarded(one, context, link, there)
            async with one.job.sessions() as session:
                row = await session.get(Event, link.event_id)
                if row is not None:
                    before[link.event_id] = whole(row, (await occurrences_of(session, [row]))[row.id])
        else:
            await one.told(link, outcome)
    return alone


async def _guarded(one: Check, context: Context, link: EventLink, there: There) -> str:
    try:
        async with one.job.transaction() as session:
            return await take(session, context, link.event_id, there)
    except Exception as error:
        if isinstance(error, LeaseLost) or is_transient(error):
            raise
        # One bad record must not stop the others.
        log.exception("event not taken over", event_id=str(link.event_id))
        _leave(one, link)
        return REJECTED


async def _look(one: Check, those: Sequence[EventLink]) -> None:
    """Read events at their own address. Those that alone cannot be read are left to the next check."""
    silent = 0
    # In another order each time, because those behind many that cannot be read are left to the next check, too.
    for batch in _batches(random.sample(those, len(those)), _AT_ONCE):
        _stop(one)
        if silent == _SILENT:
            for link in batch:
                _leave(one, link)
            continue
        looked = await asyncio.gather(*(_looked(one, link) for link in batch), return_exceptions=True)
        failed = await _tell(one, batch, looked)
        if len(failed) < len(batch):
            silent = 0
        else:
            one.incomplete = not await answers_others(one) or one.incomplete
            silent += any(isinstance(error, Unavailable) for error in failed.values())
        for link, error in failed.items():
            log.warning("event not read", event_id=str(link.event_id), exc_info=error)
            _leave(one, link)
            if not isinstance(error, Unavailable):
                await one.told(link, REJECTED)


async def _tell(
    one: Check, batch: Sequence[EventLink], looked: Sequence[str | BaseException]
) -> dict[EventLink, PlanningCenterError]:
    """Tell what became of those that were read. Returns the others with their errors; raises one about all events."""
    failed: dict[EventLink, PlanningCenterError] = {}
    about_all: BaseException | None = None
    for link, outcome in zip(batch, looked, strict=True):
        if isinstance(outcome, str):
            if outcome == MISSING:
                await _look_again(one, link)
            await one.told(link, outcome)
        elif isinstance(outcome, PlanningCenterError) and not isinstance(outcome, OF_ALL):
            failed[link] = outcome
        else:
            about_all = about_all or outcome
    if about_all is not None:
        raise about_all
    return failed


def _leave(one: Check, link: EventLink) -> None:
    """Note that nothing is known of an event. One that is gone anyway leaves no linked event unread."""
    if link.state == links.LINKED:
        one.unread.add(link.event_id)


async def answers_others(one: Check) -> bool:
    """Whether Planning Center answers about others, after it did not about an event. Raises that it is away, or that it
    refuses everything to the person who connected it.
    """
    try:
        await any_instance(one.pco)
    except (*PATIENCE, Unavailable):
        raise
    except PlanningCenterError as error:
        log.warning("answer not understood", job=str(one.job.id), exc_info=error)
        return False
    return True


async def _look_again(one: Check, link: EventLink) -> None:
    """Read a missing event once more as soon as that is conclusive."""
    now = one.resources.clock.now()
    async with one.job.transaction() as session:
        await request(
            session,
            REFRESHES,
            one.owner.columns,
            EVENT,
            record_id=link.event_id,
            reason=MISSING,
            urgent=False,
            not_before=now + one.resources.horizon,
            now=now,
            # `start_due` wakes the worker once the row is due.
            woken=True,
        )


async def look(one: Check, link: EventLink) -> str:
    """Read one event at its own address, and settle it. Returns the outcome; raises if Planning Center refuses it, or
    does not answer.
    """
    try:
        return await _looked(one, link)
    except (*PATIENCE, Unavailable):
        raise
    except PlanningCenterError as error:
        log.warning("answer not understood", event_id=str(link.event_id), exc_info=error)
        return REJECTED


async def _looked(one: Check, link: EventLink) -> str:
    began = one.resources.clock.now()
    try:
        there = await read_target(one.pco, link.pco_event_id, link.pco_instance_id)
        one.seen |= there.times
    except NotFound:
        async with one.job.transaction() as session:
            target = (link.pco_event_id, link.pco_instance_id)
            return await miss(session, one.context(began), link.event_id, target)
    return await _guarded(one, one.context(began), link, there)


def _stop(one: Check) -> None:
    if one.job.stop_requested:
        raise StopRequested


def _batches(those: Sequence[EventLink], size: int = _LOADED) -> Iterable[Sequence[EventLink]]:
    return (those[begin : begin + size] for begin in range(0, len(those), size))
