"""The rules of writing to Calendar. Raises `jsonapi.Refused` before any row changes.

The API (where events can be written), the simulator's pages for humans and the importer of feeds share them.

Values of times: an instant with an offset, a local time of the church without one, or (whole days) a date. `starts_at`
and `ends_at` are the public times; `setup_minutes` and `teardown_minutes` widen what is booked, which is what the rows'
`starts_at` and `ends_at` are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pco_simulator.calendar.catalog import KINDS
from pco_simulator.calendar.event import APPROVED, PENDING, REJECTED
from pco_simulator.calendar.series import MOST, Rule, at, day_span, local
from pco_simulator.jsonapi import (
    forbidden,
    forbidden_attribute,
    invalid,
    parse_date,
    parse_time,
    resource_not_found,
    stamp,
    without_surrogates,
)
from pco_simulator.rows import Row, parse_id
from pco_simulator.world import CALENDAR_ACCESS, CALENDAR_ROLES, Change

EVENT_STRINGS = ("name", "summary", "description", "registration_url", "image")
EVENT_BOOLEANS = ("featured", "link_only", "visible_in_church_center")
EVENT_FIELDS = frozenset(
    {*EVENT_STRINGS, *EVENT_BOOLEANS, "approval_status", "calendar_id", "kind", "owner_id", "tag_ids"}
)
"""Attributes of an event that a human can set."""
SERIES_FIELDS = frozenset({"repeats", "interval", "count", "until"})
TIME_FIELDS = frozenset({"starts_at", "ends_at", "all_day_event", "setup_minutes", "teardown_minutes"})
INSTANCE_FIELDS = frozenset({*TIME_FIELDS, "location", "name"})
"""Attributes of one occurrence that a human can set."""

EVENT_ASSIGNABLE = frozenset(
    {"name", "summary", "description", "featured", "registration_url", "tags_ids", "visible_in_church_center"}
)
"""Attributes that the API accepts where events can be written; the vendor's schema promises `name` and `tags_ids`."""
INSTANCE_ASSIGNABLE = frozenset({"name", "starts_at", "ends_at", "all_day_event", "location"})
"""Likewise: the schema promises `name` alone."""
CONNECTION_ASSIGNABLE = frozenset(
    {"connected_to_id", "connected_to_name", "connected_to_type", "product_name", "promoted"}
)
TAG_ASSIGNABLE = frozenset({"church_center_category", "color", "name", "position", "tag_group_id"})
TAG_GROUP_ASSIGNABLE = frozenset({"name", "required"})

CONNECTED_TYPES = ("signup", "group", "event", "service_type")
CONNECTED_PRODUCTS = ("registrations", "groups", "check-ins", "services")

_CONTENT = frozenset({"name", "summary", "description", "location"})
"""Attributes whose change leaves `updated_at` alone."""
_HOUR = timedelta(hours=1)


def _now(change: Change) -> str:
    return stamp(change.at)


def _zone(change: Change) -> ZoneInfo:
    return change.church.organization.zone


def _only(attributes: Iterable[str], allowed: frozenset[str]) -> None:
    for name in attributes:
        if name not in allowed:
            raise forbidden_attribute(name)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _flag(value: Any) -> bool | None:
    """True, or None: rows keep no false."""
    return True if value not in (None, "", False, 0, "0", "f", "false", "off") else None


def _moved(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the row's."""
    return {name: value for name, value in values.items() if row.attrs.get(name) != value}


def _touched(change: Change, values: Mapping[str, Any]) -> dict[str, Any]:
    """`updated_at`, unless only content changed (planningcenter/developers#1385)."""
    if change.world.content_touches_updated_at or not _CONTENT.issuperset(values):
        return {"updated_at": _now(change)}
    return {}


# -- events ----------------------------------------------------------------------------------------------------


def _event_values(change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in EVENT_STRINGS:
        if name in attributes:
            values[name] = _text(attributes[name])
    if (before is None or "name" in values) and not values.get("name"):
        raise invalid("Event", "name", "can't be blank")
    for name in EVENT_BOOLEANS:
        if name in attributes:
            values[name] = _flag(attributes[name])
    if "approval_status" in attributes:
        values["approval_status"] = attributes["approval_status"]
        if values["approval_status"] not in (APPROVED, PENDING, REJECTED):
            raise invalid("Event", "approval_status", "is not included in the list")
    for name, type_ in (("calendar_id", "Calendar"), ("owner_id", "Person")):
        if name in attributes:
            given = attributes[name]
            values[name] = _referred(change, type_, name, 0 if given == "default" else given)
    if "tag_ids" in attributes:
        tags = [_referred(change, "Tag", "tag_ids", id_) for id_ in attributes["tag_ids"] or ()]
        values["tag_ids"] = tags or None
    return values


def _referred(change: Change, type_: str, parameter: str, id_: Any) -> int | None:
    if id_ is None:
        return None
    known = parse_id(str(id_))
    if known is None or change.view.get(type_, known) is None:
        raise resource_not_found(parameter, id_)
    return known


def create_event(change: Change, attributes: Mapping[str, Any], owner_id: int | None) -> Row:
    """A new event without instances."""
    values = {"owner_id": owner_id, **_event_values(change, attributes, None)}
    now = _now(change)
    return change.create("Event", {**values, "created_at": now, "updated_at": now})


def schedule(change: Change, attributes: Mapping[str, Any], owner_id: int | None) -> Row:
    """A new event with its only instance, or with those of a series; gives the event."""
    _known("Event", attributes, EVENT_FIELDS | SERIES_FIELDS | INSTANCE_FIELDS)
    own = {name: value for name, value in attributes.items() if name in EVENT_FIELDS}
    _event_values(change, own, None)
    kind = _kind(own)
    span = _span(change, attributes, None)
    rule = _rule(attributes)
    spans = [span] if rule is None else _repeated(span, rule, _zone(change))
    event = create_event(change, own, owner_id)
    if kind == "blockout":
        event = change.update("Event", event, {"blockout": True}, quiet=True)
    if rule is not None:
        event = change.update("Event", event, _rule_values(change, rule, span), quiet=True)
    shared = {"location": _text(attributes.get("location"))}
    arrange(change, event, [Occurrence(stamp(each.starts), each, shared) for each in spans])
    return event


def update_event(change: Change, row: Row, attributes: Mapping[str, Any]) -> Row:
    """Edit an event and all of its occurrences: `starts_at` moves the first one there and the others by the same
    time on the church's clock; `repeats`, `interval`, `count`, `until` change the series; `reissue`: the occurrences
    vanish and come back with new ids (whether the vendor does that to an edited series is unconfirmed)."""
    _known("Event", attributes, (EVENT_FIELDS - {"kind"}) | SERIES_FIELDS | TIME_FIELDS | {"location", "reissue"})
    values = _moved(row, _event_values(change, {k: v for k, v in attributes.items() if k in EVENT_FIELDS}, row))
    planned = _planned(change, row, attributes)
    if values:
        row = change.update("Event", row, {**values, **_touched(change, values)})
        _follow_request(change, row, values)
    if planned is not None:
        if planned.of_event:
            row = change.update("Event", row, planned.of_event, quiet=True)
        occurrences = planned.occurrences
        if _flag(attributes.get("reissue")):
            occurrences = [replace(each, id=None, shared=_shared(change, each)) for each in occurrences]
            for instance in change.view.children("EventInstance", "event_id", row.id):
                _destroy_instance(change, instance)
        arrange(change, row, occurrences)
    return row


def _shared(change: Change, occurrence: "Occurrence") -> Mapping[str, Any]:
    """The attributes of an occurrence, those of the instance that it was among them."""
    row = change.view.get("EventInstance", occurrence.id)
    kept = {} if row is None else {name: row.attrs.get(name) for name in ("location", "name", "tag_ids")}
    return {**kept, **occurrence.shared}


def _known(type_: str, attributes: Iterable[str], names: Iterable[str]) -> None:
    for name in attributes:
        if name not in names:
            raise invalid(type_, name, "is nothing that can be set")


def _kind(attributes: Mapping[str, Any]) -> str:
    kind = str(attributes.get("kind", "standard"))
    if kind not in ("standard", "blockout"):
        raise invalid("Event", "kind", "is not included in the list")
    return kind


def _follow_request(change: Change, event: Row, values: Mapping[str, Any]) -> None:
    """A form's request stands as its event does."""
    status = {APPROVED: "approved", REJECTED: "rejected", PENDING: "pending"}.get(values.get("approval_status", ""))
    if status is None:
        return
    for request in change.view.children("EventRequest", "event_id", event.id):
        changed = change.update("EventRequest", request, {"status": status, "last_activity_at": _now(change)})
        if status == "approved":
            change.approve("EventRequest", changed)
    for request in change.view.children("EventResourceRequest", "event_id", event.id):
        approval = {"approval_status": values["approval_status"], "updated_at": _now(change)}
        change.update("EventResourceRequest", request, approval)


def request_event(change: Change, attributes: Mapping[str, Any], person_id: int | None) -> Row:
    """Somebody asks for an event by a form: the event is pending until it is approved; gives the event."""
    event = schedule(change, {**attributes, "approval_status": PENDING}, person_id)
    asked = {"event_id": event.id, "person_id": person_id, "form_id": 1, "status": "pending"}
    change.create("EventRequest", {**asked, "last_activity_at": _now(change)})
    return event


def delete_event(change: Change, row: Row) -> None:
    """Delete an event with everything below it."""
    for instance in change.view.children("EventInstance", "event_id", row.id):
        _destroy_instance(change, instance)
    for type_ in ("ResourceBooking", "EventResourceRequest", "EventConnection", "EventRequest"):
        for child in change.view.children(type_, "event_id", row.id):
            change.destroy(type_, child)
    change.destroy("Event", row)


# -- times -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """When an occurrence is."""

    starts: datetime
    """Public time, UTC."""
    ends: datetime
    all_day: bool
    setup: int = 0
    """Minutes booked before."""
    teardown: int = 0

    def moved(self, start: datetime, zone: ZoneInfo) -> "Span":
        """The same at another local start: it lasts as long by the church's clock."""
        wall = local(self.ends, zone) - local(self.starts, zone)
        return replace(self, starts=at(start, zone), ends=at(start + wall, zone))


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One wanted instance of an event."""

    slot: str
    """Which occurrence of the series it is, whenever it takes place."""
    span: Span
    shared: Mapping[str, Any]
    """Further attributes of the row."""
    id: int | None = None
    """The instance that it is, where that is known whatever its slot."""


def _span(change: Change, attributes: Mapping[str, Any], before: Span | None) -> Span:
    zone = _zone(change)
    given = attributes.get("all_day_event", before is not None and before.all_day)
    all_day = _flag(given)
    start, end = attributes.get("starts_at"), attributes.get("ends_at")
    if before is None and start is None:
        raise invalid("EventInstance", "starts_at", "can't be blank")
    starts = before.starts if start is None and before is not None else _instant(start, "starts_at", zone)
    if end is not None:
        ends = _instant(end, "ends_at", zone, last=True)
    elif before is not None:
        ends = before.moved(local(starts, zone), zone).ends
    else:
        ends = starts + (timedelta() if all_day else _HOUR)
    if ends < starts:
        raise invalid("EventInstance", "ends_at", "must be after starts_at")
    if all_day:
        first = local(starts, zone).date()
        last = max(local(ends - timedelta(seconds=1), zone).date(), first)
        starts, ends = day_span(first, last, zone)
    minutes = {}
    for name, known in (("setup", "setup_minutes"), ("teardown", "teardown_minutes")):
        value = attributes.get(known, 0 if before is None else getattr(before, name))
        if not re.fullmatch(r"[0-9]{1,5}", str(value or 0)):
            raise invalid("EventInstance", known, "is not a number")
        minutes[name] = int(value or 0)
    return Span(starts, ends, bool(all_day), **minutes)


def _instant(value: Any, parameter: str, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """An instant; a date is its first moment, or (`last`) the one after it."""
    day = parse_date(str(value))
    if day is not None:
        first, after = day_span(date.fromisoformat(day), date.fromisoformat(day), zone)
        return after if last else first
    found = parse_time(str(value), zone)
    if found is None:
        raise invalid("EventInstance", parameter, "is not a time")
    return found.replace(microsecond=0)


def span_of(change: Change, row: Row) -> Span:
    """When an instance is, as it was set."""
    attrs = row.attrs
    setup, teardown = attrs.get("setup_minutes", 0), attrs.get("teardown_minutes", 0)
    if attrs.get("all_day_event"):
        first, last = (date.fromisoformat(attrs[name]) for name in ("first_day", "last_day"))
        starts, ends = day_span(first, last, _zone(change))
    else:
        starts = datetime.fromisoformat(attrs["starts_at"]) + timedelta(minutes=setup)
        ends = datetime.fromisoformat(attrs["ends_at"]) - timedelta(minutes=teardown)
    return Span(starts, ends, "all_day_event" in attrs, setup, teardown)


def span_values(span: Span, zone: ZoneInfo, all_day_times: str = "local_midnight") -> dict[str, Any]:
    """The attributes of an instance that say when it is."""
    starts, ends = span.starts, span.ends
    days: dict[str, Any] = {"first_day": None, "last_day": None}
    if span.all_day:
        first, last = local(starts, zone).date(), local(ends - timedelta(seconds=1), zone).date()
        days = {"first_day": first.isoformat(), "last_day": last.isoformat()}
        if all_day_times == "utc_midnight":
            starts = datetime.combine(first, time.min, UTC)
            ends = datetime.combine(last + timedelta(days=1), time.min, UTC)
        elif all_day_times == "last_second":
            ends -= timedelta(seconds=1)
    booked_from, booked_until = starts - timedelta(minutes=span.setup), ends + timedelta(minutes=span.teardown)
    return {
        **days,
        "all_day_event": span.all_day or None,
        "starts_at": stamp(booked_from),
        "ends_at": stamp(booked_until),
        "published_starts_at": stamp(starts),
        "published_ends_at": stamp(ends),
        "seconds": int((booked_until - booked_from).total_seconds()),
        "setup_minutes": span.setup or None,
        "teardown_minutes": span.teardown or None,
    }


def _rule(attributes: Mapping[str, Any]) -> Rule | None:
    if not _text(attributes.get("repeats")) or attributes["repeats"] == "never":
        return None
    count, until = _text(attributes.get("count")), _text(attributes.get("until"))
    try:
        return Rule(
            attributes["repeats"],
            int(attributes.get("interval") or 1),
            None if count is None else int(count),
            None if until is None else date.fromisoformat(until),
        )
    except ValueError as error:
        raise invalid("Event", "repeats", str(error)) from error


def _repeated(span: Span, rule: Rule, zone: ZoneInfo) -> list[Span]:
    return [span.moved(start, zone) for start in rule.starts(local(span.starts, zone))]


def _rule_values(change: Change, rule: Rule | None, span: Span) -> dict[str, Any]:
    if rule is None:
        return dict.fromkeys(("rule", "recurrence", "recurrence_description", "compact_recurrence_description"))
    words = rule.words(local(span.starts, _zone(change)))
    return {
        "rule": {
            "repeats": rule.repeats,
            "interval": rule.interval,
            "count": rule.count,
            "until": None if rule.until is None else rule.until.isoformat(),
        },
        "recurrence": words[0],
        "recurrence_description": words[1],
        "compact_recurrence_description": words[2],
    }


@dataclass(frozen=True, slots=True)
class _Plan:
    occurrences: Sequence[Occurrence]
    of_event: Mapping[str, Any]
    """Attributes of the event that change with them."""


def _planned(change: Change, event: Row, attributes: Mapping[str, Any]) -> _Plan | None:
    """The occurrences after an edit of the whole event; None when it leaves them alone."""
    if not attributes.keys() & (SERIES_FIELDS | TIME_FIELDS | {"location", "reissue"}):
        return None
    rows = change.view.children("EventInstance", "event_id", event.id)
    if not rows and "starts_at" not in attributes:
        return None
    rows.sort(key=lambda row: (row.attrs["slot"], row.id))
    first = span_of(change, rows[0]) if rows else None
    span = _span(change, attributes, first)
    location = {"location": _text(attributes["location"])} if "location" in attributes else {}
    if first is None or attributes.keys() & SERIES_FIELDS:
        return _reshaped(change, event, attributes, rows, span, location)
    return _shifted(change, event, rows, first, span if attributes.keys() & TIME_FIELDS else None, location)


def _reshaped(
    change: Change,
    event: Row,
    attributes: Mapping[str, Any],
    rows: Sequence[Row],
    span: Span,
    location: Mapping[str, Any],
) -> _Plan:
    """By another rule. Occurrences that stay keep what was changed on them alone, unless the times are set anew."""
    known = dict(event.attrs.get("rule") or {})
    if attributes.keys() & {"count", "until"}:
        known.update(count=None, until=None)
    rule = _rule({**known, **{name: attributes[name] for name in attributes.keys() & SERIES_FIELDS}})
    spans = [span] if rule is None else _repeated(span, rule, _zone(change))
    stay = {} if attributes.keys() & TIME_FIELDS else {row.attrs["slot"]: row for row in rows}
    shared = {"location": rows[0].attrs.get("location") if rows else None, **location}
    occurrences = []
    for each in spans:
        slot = stamp(each.starts)
        row = stay.get(slot)
        occurrences.append(
            Occurrence(slot, each, shared) if row is None else Occurrence(slot, span_of(change, row), location, row.id)
        )
    return _Plan(occurrences, _rule_values(change, rule, span))


def _shifted(
    change: Change, event: Row, rows: Sequence[Row], first: Span, span: Span | None, location: Mapping[str, Any]
) -> _Plan:
    """All by as much on the church's clock as the first one moves; without a span only the location changes."""
    zone = _zone(change)
    if span is None:
        return _Plan([Occurrence(r.attrs["slot"], span_of(change, r), location, r.id) for r in rows], {})
    shift = local(span.starts, zone) - local(first.starts, zone)
    lasts = local(span.ends, zone) - local(span.starts, zone)

    def moved(slot: str) -> str:
        return stamp(at(local(datetime.fromisoformat(slot), zone) + shift, zone))

    occurrences = []
    for row in rows:
        start = local(span_of(change, row).starts, zone) + shift
        there = replace(span, starts=at(start, zone), ends=at(start + lasts, zone))
        occurrences.append(Occurrence(moved(row.attrs["slot"]), there, location, row.id))
    excluded = event.attrs.get("excluded")
    return _Plan(occurrences, {"excluded": [moved(slot) for slot in excluded]} if excluded else {})


def arrange(change: Change, event: Row, occurrences: Sequence[Occurrence]) -> None:
    """Make an event's instances these: by id or slot they stay the same rows, others come and go."""
    if len(occurrences) > MOST:
        raise invalid("Event", "count", f"is more than {MOST}")
    excluded = frozenset(event.attrs.get("excluded", ()))
    rows = {row.id: row for row in change.view.children("EventInstance", "event_id", event.id)}
    by_slot = {row.attrs["slot"]: row.id for row in rows.values()}
    for occurrence in occurrences:
        if occurrence.id is None and occurrence.slot in excluded:
            continue
        row = rows.pop(by_slot.get(occurrence.slot, 0) if occurrence.id is None else occurrence.id, None)
        times = span_values(occurrence.span, _zone(change), change.world.all_day_times)
        values = {**times, **occurrence.shared, "slot": occurrence.slot}
        if row is None:
            _create_instance(change, event, values)
        else:
            _change_instance(change, event, row, values)
    for row in rows.values():
        _destroy_instance(change, row)


# -- instances -------------------------------------------------------------------------------------------------


def create_instance(change: Change, event: Row, attributes: Mapping[str, Any]) -> Row:
    """A further occurrence of an event."""
    _known("EventInstance", attributes, INSTANCE_FIELDS)
    span = _span(change, attributes, None)
    values = span_values(span, _zone(change), change.world.all_day_times)
    own = {"name": _text(attributes.get("name")), "location": _text(attributes.get("location"))}
    return _create_instance(change, event, {**values, **own, "slot": stamp(span.starts)})


def update_instance(change: Change, row: Row, attributes: Mapping[str, Any]) -> Row:
    """Edit one occurrence alone; a name of its own overrides the event's, null gives it back."""
    _known("EventInstance", attributes, INSTANCE_FIELDS)
    values: dict[str, Any] = {name: _text(attributes[name]) for name in ("name", "location") if name in attributes}
    if attributes.keys() & TIME_FIELDS:
        span = _span(change, attributes, span_of(change, row))
        values.update(span_values(span, _zone(change), change.world.all_day_times))
    event = change.view.get("Event", row.attrs["event_id"])
    assert event is not None
    return _change_instance(change, event, row, values)


def delete_instance(change: Change, row: Row) -> None:
    """Delete one occurrence; its event stays, even without any (planningcenter/developers#1107)."""
    event = change.view.get("Event", row.attrs["event_id"])
    if event is not None and "rule" in event.attrs:
        excluded = [*event.attrs.get("excluded", ()), row.attrs["slot"]]
        change.update("Event", event, {"excluded": excluded}, quiet=True)
    _destroy_instance(change, row)


def _create_instance(change: Change, event: Row, values: Mapping[str, Any]) -> Row:
    now = _now(change)
    row = change.create("EventInstance", {**values, "event_id": event.id, "created_at": now, "updated_at": now})
    _keep_times(change, event, row)
    return row


def _change_instance(change: Change, event: Row, row: Row, values: Mapping[str, Any]) -> Row:
    values = _moved(row, values)
    if not values:
        return row
    row = change.update("EventInstance", row, {**values, **_touched(change, values)})
    _keep_times(change, event, row)
    return row


def _destroy_instance(change: Change, row: Row) -> None:
    for type_ in ("EventTime", "ResourceBooking"):
        for child in change.view.children(type_, "event_instance_id", row.id):
            change.destroy(type_, child)
    change.destroy("EventInstance", row)


def event_times(instance: Mapping[str, Any], *, single_registration: bool) -> list[dict[str, Any]]:
    """The event times of an instance: setup, the event itself, teardown."""
    setup, teardown = instance.get("setup_minutes"), instance.get("teardown_minutes")
    if single_registration and not setup and not teardown:
        return []
    starts, ends = instance["published_starts_at"], instance["published_ends_at"]
    times: list[dict[str, Any]] = []
    if setup:
        times.append({"name": "Setup", "starts_at": instance["starts_at"], "ends_at": starts})
    visible = {"visible_on_kiosks": True, "visible_on_widget_and_ical": True}
    times.append({"name": None, "starts_at": starts, "ends_at": ends, **visible})
    if teardown:
        times.append({"name": "Teardown", "starts_at": ends, "ends_at": instance["ends_at"]})
    return times


def _keep_times(change: Change, event: Row, row: Row) -> None:
    feed = change.view.get("Feed", event.attrs.get("feed_id"))
    registration = feed is not None and feed.get("feed_type") == "registrations" and "rule" not in event.attrs
    known = {child.attrs.get("name"): child for child in change.view.children("EventTime", "event_instance_id", row.id)}
    for values in event_times(row.attrs, single_registration=registration):
        child = known.pop(values["name"], None)
        if child is None:
            change.create("EventTime", {**values, "event_id": event.id, "event_instance_id": row.id})
        elif moved := _moved(child, values):
            change.update("EventTime", child, moved)
    for child in known.values():
        change.destroy("EventTime", child)
    for booking in change.view.children("ResourceBooking", "event_instance_id", row.id):
        times = _moved(booking, {"starts_at": row.attrs["starts_at"], "ends_at": row.attrs["ends_at"]})
        if times:
            change.update("ResourceBooking", booking, {**times, "updated_at": _now(change)})


# -- by the API ------------------------------------------------------------------------------------------------


def refuse_event(attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> None:
    """Creating an event as the vendor is today: an owner is required and cannot be given
    (planningcenter/developers#1433, #1468). Which refusal comes first for other attributes is unconfirmed."""
    if "owner_id" in attributes or "owner" in relationships:
        raise forbidden_attribute("owner_id")
    raise invalid("Event", "owner_id", "can't be blank")


def assigned_event(attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> dict[str, Any]:
    """A body of `/events` as the rules take it, where events can be written: the owner is the caller."""
    _only((*attributes, *(f"{name}_id" for name in relationships)), EVENT_ASSIGNABLE)
    values = {name: value for name, value in attributes.items() if name != "tags_ids"}
    if "tags_ids" in attributes:
        given = attributes["tags_ids"]
        values["tag_ids"] = given if isinstance(given, list) else [part for part in str(given or "").split(",") if part]
    return values


def assigned_instance(attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> dict[str, Any]:
    """A body of `/event_instances` as the rules take it, where events can be written."""
    _only((*attributes, *(f"{name}_id" for name in relationships)), INSTANCE_ASSIGNABLE)
    return dict(attributes)


def create_connection(change: Change, event: Row, attributes: Mapping[str, Any]) -> Row:
    """Connect an event to a record of another product."""
    return change.create("EventConnection", {**_connection(attributes, None), "event_id": event.id})


def _connection(attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    _only(attributes, CONNECTION_ASSIGNABLE)
    values: dict[str, Any] = {name: _text(value) for name, value in attributes.items() if name != "promoted"}
    if "promoted" in attributes:
        values["promoted"] = _flag(attributes["promoted"])
    merged = {**(before.attrs if before is not None else {}), **values}
    for name in ("connected_to_id", "connected_to_name"):
        if not merged.get(name):
            raise invalid("EventConnection", name, "can't be blank")
    for name, known in (("connected_to_type", CONNECTED_TYPES), ("product_name", CONNECTED_PRODUCTS)):
        if merged.get(name) not in known:
            raise invalid("EventConnection", name, "is not included in the list")
    return values


def create_tag(change: Change, attributes: Mapping[str, Any]) -> Row:
    """A new tag."""
    now = _now(change)
    return change.create("Tag", {**_tag(change, attributes, None), "created_at": now, "updated_at": now})


def tag_row(change: Change, row: Row, type_: str, tag: Row) -> None:
    """Give an event or an instance a tag."""
    tags = [*row.attrs.get("tag_ids", ()), tag.id]
    change.update(type_, row, {"tag_ids": tags, "updated_at": _now(change)})


def _tag(change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    _only(attributes, TAG_ASSIGNABLE)
    values: dict[str, Any] = {name: _text(attributes[name]) for name in ("color", "name") if name in attributes}
    if (before is None or "name" in values) and not values.get("name"):
        raise invalid("Tag", "name", "can't be blank")
    if "church_center_category" in attributes:
        values["church_center_category"] = _flag(attributes["church_center_category"])
    if isinstance(attributes.get("position"), int | float):
        values["position"] = attributes["position"]
    if "tag_group_id" in attributes:
        values["tag_group_id"] = _referred(change, "TagGroup", "tag_group_id", attributes["tag_group_id"])
    return values


def create_tag_group(change: Change, attributes: Mapping[str, Any]) -> Row:
    """A new group of tags."""
    now = _now(change)
    return change.create("TagGroup", {**_tag_group(attributes, None), "created_at": now, "updated_at": now})


def _tag_group(attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    _only(attributes, TAG_GROUP_ASSIGNABLE)
    values: dict[str, Any] = {}
    if "name" in attributes or before is None:
        values["name"] = _text(attributes.get("name"))
        if not values["name"]:
            raise invalid("TagGroup", "name", "can't be blank")
    if "required" in attributes:
        values["required"] = _flag(attributes["required"])
    return values


# -- all kinds -------------------------------------------------------------------------------------------------


def update(change: Change, type_: str, row: Row, attributes: Mapping[str, Any]) -> Row:
    """Edit any writable row."""
    match type_:
        case "Event":
            return update_event(change, row, attributes)
        case "EventInstance":
            return update_instance(change, row, attributes)
        case "EventConnection":
            return change.update(type_, row, _connection(attributes, row))
        case "Tag":
            return change.update(type_, row, {**_tag(change, attributes, row), "updated_at": _now(change)})
        case "TagGroup":
            return change.update(type_, row, {**_tag_group(attributes, row), "updated_at": _now(change)})
    raise forbidden()


def delete(change: Change, type_: str, row: Row) -> None:
    """Delete any writable row."""
    match type_:
        case "Event":
            delete_event(change, row)
        case "EventInstance":
            delete_instance(change, row)
        case "EventConnection":
            change.destroy(type_, row)
        case "Tag":
            _forget_tag(change, row)
        case "TagGroup":
            for tag in change.view.children("Tag", "tag_group_id", row.id):
                _forget_tag(change, tag)
            change.destroy(type_, row)
        case "Feed":
            for event in change.view.children("Event", "feed_id", row.id):
                delete_event(change, event)
            change.destroy(type_, row)
        case _:
            raise forbidden()


def _forget_tag(change: Change, tag: Row) -> None:
    for type_ in ("Event", "EventInstance"):
        for row in list(change.view.all(type_)):
            if tag.id in row.attrs.get("tag_ids", ()):
                left = [id_ for id_ in row.attrs["tag_ids"] if id_ != tag.id]
                change.update(type_, row, {"tag_ids": left or None}, quiet=True)
    change.destroy("Tag", tag)


def set_role(change: Change, person: Row, role: str) -> None:
    """Give a person who can log in a role in Calendar."""
    if role not in CALENDAR_ROLES:
        raise invalid("Person", "calendar_role", f"is none of {', '.join(CALENDAR_ROLES)}")
    known = change.view.get(CALENDAR_ACCESS, person.id)
    if known is None:
        change.insert(CALENDAR_ACCESS, person.id, {"role": role})
    else:
        change.update(CALENDAR_ACCESS, known, {"role": role})


_RAW_TIMES = re.compile(r"[0-9][0-9TZ:-]*")
_RAW_SORTED = frozenset({"created_at", "ends_at", "starts_at", "updated_at"})


def set_raw(change: Change, type_: str, row: Row, attributes: Mapping[str, Any]) -> Row:
    """Store values as given, bypassing every rule above; the simulator checks only what its own indexes need."""
    values: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in _RAW_SORTED and not (value is None or (isinstance(value, str) and _RAW_TIMES.fullmatch(value))):
            raise invalid(type_, name, "must look like a date")
        if name == "id" or name.endswith("_id") or type_ not in KINDS:
            raise invalid(type_, name, "is nothing that can be stored raw")
        values[name] = without_surrogates(value) if isinstance(value, str) else value
    if type_ == "EventInstance" and values.keys() & {"starts_at", "ends_at"}:
        values["seconds"] = _seconds({**row.attrs, **values})
    return change.update(type_, row, values)


def _seconds(attributes: Mapping[str, Any]) -> int | None:
    try:
        ends, starts = (datetime.fromisoformat(attributes[name]) for name in ("ends_at", "starts_at"))
        return int((ends - starts).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None
