"""A believable calendar for each seeded church, the same for the same seed; it never depends on the clock.

Seeded on purpose: two weekly services of one name, series by week, every second week, month and weekday of the month,
each of two years and so across every end of DST; occurrences over midnight, changed and left out ones; whole days, one
and several; events without a location, without any instance, hidden, pending, rejected, from a registrations feed
without event times; setup and teardown; rooms and bookings, tags, a connection, a blockout; ids of 8 and of 9 digits.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from pco_simulator.calendar.rules import Span, event_times, span_values
from pco_simulator.calendar.series import Repeats, Rule, at, day_span
from pco_simulator.jsonapi import stamp
from pco_simulator.world import CALENDAR_ACCESS, CALENDAR_ROLES

Rows = dict[str, list[tuple[int, dict[str, Any]]]]

_clock = datetime.fromisoformat
"""A time on the church's clock, without a zone."""

_UNTIL = date(2027, 12, 31)
_FIRST_DAY = date(2026, 1, 1)
_DAYS = (_UNTIL - _FIRST_DAY).days
_LONG_AGO = datetime(2025, 9, 1, 14, 0, tzinfo=UTC)

_FIRST_IDS = {"Event": 4_351_800, "EventInstance": 99_999_700, "EventTime": 181_500_020, "ResourceBooking": 61_200_400}

_SERIES: tuple[tuple[str, Repeats, int, datetime, int, dict[str, Any]], ...] = (
    (
        "Sunday Service", "weekly", 1, _clock("2026-01-04T09:00"), 75,
        {"location": "Sanctuary", "public": True, "setup": 60, "teardown": 30, "room": True, "tag": "Church-wide"},
    ),
    (
        "Men's Breakfast", "monthly_by_weekday", 1, _clock("2026-01-03T07:00"), 90,
        {"location": "Fellowship Hall - 12 Parish Way, Riverton", "public": True, "tag": "Men"},
    ),
    ("Sunday Service", "weekly", 1, _clock("2026-01-04T11:00"), 75, {"location": "Sanctuary", "public": True}),
    (
        "Youth Night", "weekly", 1, _clock("2026-01-07T18:30"), 120,
        {"location": "Youth Room", "public": True, "tag": "Youth"},
    ),
    ("Women's Bible Study", "weekly", 2, _clock("2026-01-08T10:00"), 90, {"public": True, "tag": "Women"}),
    ("Night Prayer", "weekly", 2, _clock("2026-01-09T23:00"), 120, {"location": "Chapel"}),
    ("Elders' Meeting", "monthly_by_weekday", 1, _clock("2026-01-13T19:00"), 90, {}),
    ("Overnight Watch", "monthly", 1, _clock("2026-01-31T22:00"), 480, {"location": "Chapel", "public": True}),
)  # fmt: skip
"""Name, repetition, interval, first start, minutes. The watch skips months without a 31st."""

_NAMES = (
    "Baptism Sunday", "Carol Concert", "Community Meal", "Deacons' Training", "Easter Egg Hunt", "Family Picnic",
    "Growth Track | Week 1", "Harvest Supper", "Kids' Movie Night", "Marriage Seminar", "Membership Class",
    "Missions Lunch", "New Year's Prayer", "Newcomers' Coffee", "Parents' Evening", "Quiz Night", "Summer Camp",
    "Volunteer Thank-You", "Work Day", "Worship Night",
)  # fmt: skip
_LOCATIONS = (
    "Sanctuary", "Fellowship Hall", "Riverside Park - Shelter 3", "Youth Room", "Offsite: 40 Lakeview Blvd", "Room 101",
)  # fmt: skip
_SUMMARIES = (
    "Bring a friend.",
    "All are welcome!",
    "Child care is provided.",
    "Please register by Friday & bring a dish.",
)
_TAGS = (("Kids", "#4f8ef7"), ("Youth", "#f7a14f"), ("Men", "#58a55c"), ("Women", "#a55ca0"))
_ROOMS = (("Sanctuary", "Room"), ("Fellowship Hall", "Room"), ("Youth Room", "Room"), ("Projector", "Resource"))

_REGISTRATIONS = "https://riverbend.churchcenter.com/registrations/events"

Draw = Callable[[str], int]


class Ids:
    """Ids over all churches, rising with gaps; those of instances pass from 8 to 9 digits early."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next = dict(_FIRST_IDS)

    def draw(self, type_: str) -> int:
        """The next id of a type."""
        id_ = self._next.get(type_, 2_000_001)
        self._next[type_] = id_ + 1 + (self._rng.random() < 0.08)
        return id_


def rows(
    *, zone: str, staff: Sequence[tuple[int, bool, bool]], size: int, number: int, draw: Draw, rng: random.Random
) -> Rows:
    """The rows of a church's calendar. `staff`: who can log in, whether they open Calendar, whether they administer the
    organization; `size`: its people; `number`: its place among the churches, the first of which has the most."""
    return _Builder(zone, staff, draw, rng).build(size, number)


@cache
def _spans(zone: str, number: int) -> tuple[dict[str, Any], ...]:
    """Times of a series; cached, because tests seed the same churches again and again."""
    _, repeats, interval, first, minutes, more = _SERIES[number]
    where = ZoneInfo(zone)
    span = Span(
        at(first, where),
        at(first + timedelta(minutes=minutes), where),
        False,
        more.get("setup", 0),
        more.get("teardown", 0),
    )
    rule = Rule(repeats, interval, until=_UNTIL)
    return tuple(
        {**_filled(span_values(span.moved(start, where), where)), "slot": stamp(at(start, where))}
        for start in rule.starts(first)
    )


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class _Builder:
    def __init__(self, zone: str, staff: Sequence[tuple[int, bool, bool]], draw: Draw, rng: random.Random) -> None:
        self.zone, self.staff, self.draw, self.rng = zone, staff, draw, rng
        self.where = ZoneInfo(zone)
        self.rows: Rows = {}
        self.tags: dict[str, int] = {}
        self.rooms: list[int] = []

    def build(self, size: int, number: int) -> Rows:
        owner = self.staff[0][0]
        for person_id, opens, administers in self.staff:
            if opens:
                role = CALENDAR_ROLES[3 if administers else 2]
                self._put(CALENDAR_ACCESS, {"role": role}, person_id)
        self._references(owner)
        series, singles = (
            (len(_SERIES), min(24 + size // 20, 400)) if number == 0 else (2, 12) if number < 3 else (0, 6)
        )
        for place in range(series):
            self._series(place, owner)
        for place in range(singles):
            self._single(place, owner)
        self._odd(owner)
        for found in self.rows.values():
            found.sort(key=lambda row: row[0])
        return self.rows

    def _put(self, type_: str, attrs: Mapping[str, Any], id_: int | None = None) -> int:
        known = self.draw(type_) if id_ is None else id_
        self.rows.setdefault(type_, []).append((known, dict(attrs)))
        return known

    def _stamps(self) -> dict[str, str]:
        created = _LONG_AGO + timedelta(minutes=self.rng.randrange(60 * 24 * 90))
        updated = created if self.rng.random() < 0.6 else created + timedelta(minutes=self.rng.randrange(60 * 24 * 60))
        return {"created_at": stamp(created), "updated_at": stamp(updated)}

    def _references(self, owner: int) -> None:
        self._put("Calendar", {"name": "Default calendar", **self._stamps()}, 0)
        self._put("Calendar", {"name": "Facilities", "color": "orange", **self._stamps()})
        group = self._put("TagGroup", {"name": "Ministry", **self._stamps()})
        for place, (name, color) in enumerate(_TAGS, start=1):
            tag = {"name": name, "color": color, "position": place, "tag_group_id": group, **self._stamps()}
            self.tags[name] = self._put("Tag", tag)
        whole = {"name": "Church-wide", "color": "#bf3b3b", "position": 1, "church_center_category": True}
        self.tags["Church-wide"] = self._put("Tag", {**whole, **self._stamps()})
        for name, kind in _ROOMS:
            room = {"name": name, "kind": kind, "path_name": name, "quantity": 1, **self._stamps()}
            self.rooms.append(self._put("Resource", room))
        self.feed = self._put(
            "Feed",
            {
                "name": "Registrations",
                "feed_type": "registrations",
                "source_id": "1",
                "can_delete": False,
                "default_church_center_visibility": "published",
                "event_owner_id": owner,
                "imported_at": stamp(_LONG_AGO),
            },
        )

    def _event(self, name: str, owner: int, **attrs: Any) -> int:
        return self._put("Event", {"name": name, "owner_id": owner, **_filled(attrs), **self._stamps()})

    def _instance(self, event_id: int, values: Mapping[str, Any], *, single_registration: bool = False) -> int:
        instance_id = self._put("EventInstance", {**values, "event_id": event_id})
        for each in event_times(values, single_registration=single_registration):
            self._put("EventTime", {**_filled(each), "event_id": event_id, "event_instance_id": instance_id})
        return instance_id

    def _series(self, number: int, owner: int) -> None:
        name, repeats, interval, first, _, more = _SERIES[number]
        rule = Rule(repeats, interval, until=_UNTIL)
        recurrence, description, compact = rule.words(first)
        spans = _spans(self.zone, number)
        left_out = self.rng.sample(range(2, len(spans)), 2) if number < 4 else []
        event_id = self._event(
            name,
            owner,
            summary=f"{name}, {compact.lower()}",
            visible_in_church_center=more.get("public"),
            image=f"{name.lower().replace(' ', '-')}.png" if number % 3 == 0 else None,
            tag_ids=[self.tags[more["tag"]]] if "tag" in more else None,
            rule={"repeats": repeats, "interval": interval, "count": None, "until": _UNTIL.isoformat()},
            recurrence=recurrence,
            recurrence_description=description,
            compact_recurrence_description=compact,
            excluded=[spans[place]["slot"] for place in sorted(left_out)] or None,
        )
        stamps = self._stamps()
        shared = {**stamps, **({"location": more["location"]} if "location" in more else {})}
        ids = {
            place: self._instance(event_id, {**values, **shared})
            for place, values in enumerate(spans)
            if place not in left_out
        }
        if "room" in more:
            self._book(event_id, owner, {ids[place]: spans[place] for place in ids})
        if number < 2:
            self._exceptions(ids)

    def _book(self, event_id: int, owner: int, spans: Mapping[int, Mapping[str, Any]]) -> None:
        room, stamps = self.rooms[0], self._stamps()
        asked = {
            "event_id": event_id,
            "resource_id": room,
            "quantity": 1,
            "approval_status": "A",
            "approval_sent": True,
        }
        self._put("EventResourceRequest", {**asked, "created_by_id": owner, "updated_by_id": owner, **stamps})
        for instance_id, span in spans.items():
            times = {"starts_at": span["starts_at"], "ends_at": span["ends_at"]}
            booked = {"event_id": event_id, "event_instance_id": instance_id, "resource_id": room, "quantity": 1}
            self._put("ResourceBooking", {**booked, **times, **stamps})

    def _exceptions(self, ids: Mapping[int, int]) -> None:
        """Some occurrences elsewhere or under another name."""
        chosen = set(self.rng.sample(sorted(ids.values()), 3))
        for place, (id_, attrs) in enumerate(self.rows["EventInstance"]):
            if id_ in chosen:
                change = {"name": "Family Service"} if place % 2 else {"location": "Riverside Park - Shelter 3"}
                attrs.update(change)

    def _single(self, place: int, owner: int) -> None:
        rng = self.rng
        luck, status = rng.random(), rng.random()
        day = _FIRST_DAY + timedelta(days=rng.randrange(_DAYS))
        hour, minutes = rng.randrange(7, 21), rng.choice((45, 60, 90, 120, 180))
        from_feed = place % 9 == 4
        event_id = self._event(
            rng.choice(_NAMES),
            owner,
            summary=rng.choice(_SUMMARIES) if rng.random() < 0.6 else None,
            description=f"<div><strong>{rng.choice(_SUMMARIES)}</strong><br>See you there.</div>"
            if rng.random() < 0.3
            else None,
            visible_in_church_center=True if luck < 0.7 or from_feed else None,
            featured=True if luck < 0.05 else None,
            approval_status="P" if status < 0.05 else "R" if status < 0.07 else None,
            feed_id=self.feed if from_feed else None,
            registration_url=f"https://riverbend.churchcenter.com/registrations/events/{place + 1}"
            if from_feed
            else None,
            tag_ids=[rng.choice(sorted(self.tags.values()))] if rng.random() < 0.3 else None,
        )
        if luck > 0.85:
            starts, ends = day_span(day, day + timedelta(days=rng.choice((0, 0, 1, 4))), self.where)
            span = Span(starts, ends, True)
        else:
            start = datetime.combine(day, time(hour))
            span = Span(at(start, self.where), at(start + timedelta(minutes=minutes), self.where), False)
        values = {**_filled(span_values(span, self.where)), "slot": stamp(span.starts), **self._stamps()}
        if rng.random() < 0.75:
            values["location"] = rng.choice(_LOCATIONS)
        self._instance(event_id, values, single_registration=from_feed)

    def _odd(self, owner: int) -> None:
        """What every church has once: nights on which DST ends, a blockout, an event without instances, one that a
        form asks for."""
        for start in (_clock("2026-03-07T21:00"), _clock("2026-10-31T21:00")):
            span = Span(at(start, self.where), at(start + timedelta(hours=9), self.where), False)
            lock_in = self._event("Lock-In", owner, summary="All night long", visible_in_church_center=True)
            values = {**_filled(span_values(span, self.where)), "slot": stamp(span.starts), **self._stamps()}
            self._instance(lock_in, {**values, "location": "Youth Room"})
        starts, ends = day_span(date(2026, 12, 24), date(2026, 12, 27), self.where)
        closed = self._event("Building closed", owner, blockout=True)
        span = Span(starts, ends, True)
        times = {**_filled(span_values(span, self.where)), "slot": stamp(span.starts), **self._stamps()}
        self._instance(closed, times)
        planned = self._event("Night to Shine", owner, summary="Date to be announced", visible_in_church_center=True)
        connected = {"connected_to_id": "4711", "connected_to_name": "Night to Shine", "connected_to_type": "signup"}
        self._put("EventConnection", {**connected, "product_name": "registrations", "event_id": planned})
        asked = self._event("Wedding Reception", owner, approval_status="P")
        start = _clock("2026-06-20T15:00")
        span = Span(at(start, self.where), at(start + timedelta(hours=5), self.where), False)
        times = {**_filled(span_values(span, self.where)), "slot": stamp(span.starts), **self._stamps()}
        self._instance(asked, {**times, "location": "Fellowship Hall"})
        request = {"event_id": asked, "person_id": owner, "form_id": 1, "status": "pending"}
        self._put("EventRequest", {**request, "last_activity_at": stamp(_LONG_AGO)})
