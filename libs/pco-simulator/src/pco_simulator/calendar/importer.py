"""Events from an iCal feed that a church subscribes to.

Everything about it is unconfirmed: the vendor names feeds of the type `ical` and says neither which fields it takes,
nor how often it reads a feed, nor whether ids stay. Here a UID is one event whose occurrences are its instances, and
both keep their ids from one reading to the next; SUMMARY is the name, LOCATION the location, DESCRIPTION both the plain
and the rich text; URL, CATEGORIES, attendees and alarms are ignored; what is cancelled or gone from it is deleted.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import recurring_ical_events
from icalendar import Calendar, Event

from pco_simulator.calendar import rules
from pco_simulator.calendar.rules import Occurrence, Span
from pco_simulator.calendar.series import MOST, at, day_span
from pco_simulator.jsonapi import stamp
from pco_simulator.rows import Row
from pco_simulator.world import Change

BEFORE, AFTER = timedelta(days=366), timedelta(days=2 * 366)
"""How much of an endless series becomes instances."""

_RECURRENCES = {"DAILY": "Daily", "WEEKLY": "Weekly", "MONTHLY": "Monthly", "YEARLY": "Yearly"}


@dataclass(frozen=True, slots=True)
class Imported:
    """An event as a feed has it."""

    uid: str
    attributes: Mapping[str, Any]
    recurrence: str | None
    occurrences: Sequence[Occurrence]


def read(body: bytes, zone: ZoneInfo, now: datetime) -> list[Imported]:
    """The events of a feed; `ValueError` if it is none."""
    calendar = Calendar.from_ical(body)
    if calendar.name != "VCALENDAR":
        raise ValueError("the feed is no calendar")
    masters = {str(event["UID"]): event for event in _masters(calendar)}
    found: dict[str, list[Any]] = {uid: [] for uid in masters}
    for each in recurring_ical_events.of(calendar).between(now - BEFORE, now + AFTER):
        if "UID" in each and str(each.get("STATUS", "")).upper() != "CANCELLED":
            found.setdefault(str(each["UID"]), []).append(each)
    return [_imported(uid, masters.get(uid), events, zone) for uid, events in found.items() if events]


def _masters(calendar: Calendar) -> Iterator[Event]:
    for event in calendar.walk("VEVENT"):
        if isinstance(event, Event) and "UID" in event and "RECURRENCE-ID" not in event:
            yield event


def _imported(uid: str, master: Event | None, events: Sequence[Any], zone: ZoneInfo) -> Imported:
    first = events[0] if master is None else master
    name, description = _text(first, "SUMMARY"), _text(first, "DESCRIPTION")
    rich = None if description is None else "<div>" + html.escape(description).replace("\n", "<br>") + "</div>"
    rule = first.get("RRULE")
    frequency = None if rule is None else str(next(iter(rule.get("FREQ", ())), ""))
    repeats = frequency is not None or "RDATE" in first
    occurrences = []
    for event in events[:MOST]:
        span = _span(event.start, event.end, zone)
        own = _text(event, "SUMMARY")
        shared = {"location": _text(event, "LOCATION"), "name": None if own == name else own}
        occurrences.append(Occurrence(_slot(event, zone) if repeats else "only", span, shared))
    attributes = {"name": name or "Untitled event", "summary": description, "description": rich}
    return Imported(uid, attributes, _RECURRENCES.get(frequency or ""), occurrences)


def _text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return None if value is None or not str(value).strip() else str(value).strip()


def _slot(event: Mapping[str, Any], zone: ZoneInfo) -> str:
    original = event["RECURRENCE-ID"].dt if "RECURRENCE-ID" in event else event["DTSTART"].dt
    return stamp(_instant(original, zone))


def _instant(value: date, zone: ZoneInfo) -> datetime:
    """UTC; a time without a zone is the church's."""
    if not isinstance(value, datetime):
        return day_span(value, value, zone)[0]
    return at(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _span(start: date, end: date, zone: ZoneInfo) -> Span:
    if not isinstance(start, datetime):
        last = max(end - timedelta(days=1), start)
        return Span(*day_span(start, last, zone), all_day=True)
    return Span(_instant(start, zone).replace(microsecond=0), _instant(end, zone).replace(microsecond=0), all_day=False)


def apply(change: Change, feed: Row, imported: Sequence[Imported]) -> tuple[int, int, int]:
    """Create, update and delete the feed's events so that they are these; gives how many of each."""
    created = updated = 0
    known = {row.attrs["uid"]: row for row in change.view.children("Event", "feed_id", feed.id) if "uid" in row.attrs}
    visible = True if feed.attrs.get("default_church_center_visibility") == "published" else None
    for each in imported:
        row = known.pop(each.uid, None)
        before = len(change.mutations)
        if row is None:
            attributes = {**each.attributes, "visible_in_church_center": visible}
            row = rules.create_event(change, attributes, feed.attrs.get("event_owner_id"))
            row = change.update("Event", row, {"feed_id": feed.id, "uid": each.uid}, quiet=True)
            created += 1
        else:
            row = rules.update_event(change, row, each.attributes)
        if row.attrs.get("recurrence") != each.recurrence:
            row = change.update("Event", row, {"recurrence": each.recurrence}, quiet=True)
        rules.arrange(change, row, each.occurrences)
        updated += len(change.mutations) > before
    for row in known.values():
        rules.delete_event(change, row)
    return created, updated - created, len(known)
