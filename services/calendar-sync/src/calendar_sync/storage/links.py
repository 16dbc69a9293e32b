"""Links of events with Planning Center as rows, and in the shapes of answers."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.sentences import deleted_there
from calendar_sync.domain.window import BEHIND, HORIZON, Target
from calendar_sync.domain.zones import local_time
from calendar_sync.planning_center import url_of
from calendar_sync.storage.tables import CalendarConnection, Creation, Event, EventLink, OccurrenceRow, Push
from contracts import calendar
from contracts.values import EVENT
from synckit.among import among

LINKED: Final = "linked"
GONE: Final = "gone"
ASKED: Final = "asked"
WAITING: Final = "waiting"
"""States of a push."""
_SELDOM: Final = timedelta(days=1)
_OVER: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Owner:
    """An organization here, with the one in Planning Center whose ids its links have."""

    organization_id: str
    pco_organization_id: str

    @property
    def columns(self) -> dict[str, str]:
        """For `filter_by`, and as synckit takes it."""
        return {"organization_id": self.organization_id, "pco_organization_id": self.pco_organization_id}


def of_connected(statement: Select[Any]) -> Select[Any]:
    """Links, only those of the Planning Center organization that is, or was last, connected."""
    return statement.join(
        CalendarConnection,
        and_(
            CalendarConnection.organization_id == EventLink.organization_id,
            CalendarConnection.pco_organization_id == EventLink.pco_organization_id,
        ),
    )


async def links_of(session: AsyncSession, events: Collection[Event]) -> dict[UUID, EventLink]:
    """The links of these events, also those that are gone."""
    if not events:
        return {}
    found = await session.scalars(
        of_connected(select(EventLink)).where(among(EventLink.event_id, [one.id for one in events]))
    )
    return {link.event_id: link for link in found}


def has_link(event: Any, organization_id: str, state: str | None = None) -> ColumnElement[bool]:
    """Whether an event has a link, in this state."""
    link = of_connected(select(EventLink.id)).where(
        EventLink.organization_id == organization_id, EventLink.event_id == event.id
    )
    return exists(link.where(EventLink.state == state) if state else link)


async def of_event(session: AsyncSession, owner: Owner, event_id: UUID) -> EventLink | None:
    """The link of one event."""
    query = select(EventLink).filter_by(**owner.columns, event_id=event_id)
    return await session.scalar(query.execution_options(populate_existing=True))


async def push_of(session: AsyncSession, owner: Owner, event_id: UUID) -> Push | None:
    """The push of one event."""
    query = select(Push).filter_by(**owner.columns, event_id=event_id)
    return await session.scalar(query.execution_options(populate_existing=True))


async def all_of(session: AsyncSession, owner: Owner) -> Sequence[EventLink]:
    """All links of an organization whose events are here, by id."""
    query = select(EventLink).filter_by(**owner.columns).join(Event, Event.id == EventLink.event_id)
    return (await session.scalars(query.where(Event.deleted_at.is_(None)).order_by(EventLink.id))).all()


async def rivals(session: AsyncSession, owner: Owner, pco_event_id: str, instance_id: str | None) -> list[EventLink]:
    """Links of the same event there that exclude this target: itself, and a series beside one of its occurrences."""
    query = select(EventLink).filter_by(**owner.columns, pco_event_id=pco_event_id, state=LINKED)
    those = (await session.scalars(query.order_by(EventLink.linked_at))).all()
    return [one for one in those if instance_id is None or one.pco_instance_id in (None, instance_id)]


async def linked_to(session: AsyncSession, owner: Owner, pco_event_ids: Iterable[str]) -> list[EventLink]:
    """Links to these events there, and to occurrences of them."""
    query = select(EventLink).filter_by(**owner.columns, state=LINKED)
    return list(await session.scalars(query.where(among(EventLink.pco_event_id, set(pco_event_ids)))))


async def taken_there(session: AsyncSession, owner: Owner, event_id: UUID, pco_event_ids: Collection[str]) -> set[str]:
    """Which of these events there belong to another event here: by a link, or because its push created them."""
    linked = {link.pco_event_id for link in await linked_to(session, owner, pco_event_ids)}
    created = select(Creation.pco_id, Creation.slipped).where(
        Creation.organization_id == owner.organization_id,
        Creation.pco_organization_id == owner.pco_organization_id,
        Creation.kind == EVENT,
        Creation.record_id != event_id,
    )
    of_others = {one for pco_id, slipped in await session.execute(created) for one in (pco_id, *slipped)}
    return linked | (of_others & set(pco_event_ids))


async def targets(session: AsyncSession, owner: Owner, now: datetime) -> list[Target]:
    """Linked events with occurrences within the horizon, for `domain.window.plan_reads`.

    New occurrences of a series can be anywhere, so all of the horizon is its.
    """
    earliest, latest = now - BEHIND, now + HORIZON
    row = OccurrenceRow
    inside = ~row.cancelled & (row.ends_at > earliest) & (row.starts_at < latest)
    query = (
        select(
            EventLink.event_id,
            EventLink.pco_instance_id,
            func.min(row.starts_at).filter(inside).label("first"),
            func.max(row.ends_at).filter(inside).label("last"),
            func.count().filter(inside).label("ahead"),
            func.count().label("every"),
        )
        .join(row, row.event_id == EventLink.event_id)
        .where(
            EventLink.organization_id == owner.organization_id,
            EventLink.pco_organization_id == owner.pco_organization_id,
            EventLink.state == LINKED,
        )
        .group_by(EventLink.event_id, EventLink.pco_instance_id)
        .having(func.count().filter(inside) > 0)
        .order_by(EventLink.event_id)
    )
    found = []
    for one in await session.execute(query):
        single = one.pco_instance_id is not None or one.every == 1
        first, last = (max(one.first, earliest), min(one.last, latest)) if single else (earliest, latest)
        found.append(Target(str(one.event_id), first, last, one.ahead, single))
    return found


async def some_elsewhere(session: AsyncSession, owner: Owner, now: datetime, most: int) -> set[UUID]:
    """Some of the linked events that have no occurrence within the horizon, and were not read for a day.

    None that has been over for a month, so that their number does not grow with the history. Drawn by chance: those
    that cannot be read keep no others away.
    """
    row = OccurrenceRow
    inside = exists().where(
        row.event_id == EventLink.event_id, ~row.cancelled, row.ends_at > now - BEHIND, row.starts_at < now + HORIZON
    )
    seldom = EventLink.read_at.is_(None) | (EventLink.read_at <= now - _SELDOM) | (EventLink.read_at > now)
    query = (
        select(EventLink.event_id).filter_by(**owner.columns, state=LINKED).join(Event, Event.id == EventLink.event_id)
    )
    query = query.where(Event.deleted_at.is_(None), Event.last_ends_at > now - _OVER, seldom, ~inside)
    return set(await session.scalars(query.order_by(func.random()).limit(most)))


async def any_of(session: AsyncSession, owner: Owner) -> bool:
    """Whether an organization has links, or some that are gone and still looked for."""
    query = select(EventLink.id).filter_by(**owner.columns)
    wanted = (EventLink.state == LINKED) | EventLink.look_after.is_not(None)
    return await session.scalar(query.where(wanted).limit(1)) is not None


async def waits(session: AsyncSession, owner: Owner) -> bool:
    """Whether an event is waited for in Planning Center."""
    query = select(Push.event_id).filter_by(**owner.columns, state=WAITING)
    return await session.scalar(query.limit(1)) is not None


def rendered(event: Event, link: EventLink | None) -> calendar.EventLink | None:
    """A link as answers have it."""
    if link is None:
        return None
    note = link.note
    if link.state == GONE and link.gone_at is not None:
        note = deleted_there(local_time(link.gone_at, event.time_zone))
    return calendar.EventLink(
        pco_event_id=link.pco_event_id,
        pco_event_instance_id=link.pco_instance_id,
        state="gone" if link.state == GONE else "linked",
        title_there=link.title_there,
        url=url_of(link.pco_event_id),
        linked_at=link.linked_at,
        linked_by_name=link.linked_by_name,
        missing_since=link.missing_since,
        gone_at=link.gone_at,
        note=note,
        differs=tuple(link.kept),
        read_at=link.read_at,
    )
