"""The relationships of Calendar's resources: what `include` adds, and what stands below a record's address."""

from collections.abc import Sequence

from pco_simulator.calendar.event import EVENT, STATUS_FILTERS
from pco_simulator.calendar.instance import EVENT_INSTANCE, EVENT_TIME, tags_of
from pco_simulator.calendar.organization import ORGANIZATION
from pco_simulator.calendar.person import PERSON
from pco_simulator.calendar.references import (
    CALENDAR,
    EVENT_CONNECTION,
    EVENT_RESOURCE_REQUEST,
    FEED,
    RESOURCE,
    RESOURCE_BOOKING,
    TAG,
    TAG_GROUP,
    request_of,
)
from pco_simulator.kind import NOTHING, Context, Include, Includes, children, no_rows, one, organization_row
from pco_simulator.rows import Row


def _calendar(context: Context, row: Row) -> Sequence[Row]:
    found = context.view.get("Calendar", row.attrs.get("calendar_id", 0))
    return () if found is None else (found,)


def _tags(context: Context, row: Row) -> Sequence[Row]:
    view = context.view
    return [tag for id_ in tags_of(view, row) if (tag := view.get("Tag", id_)) is not None]


def _tagged(type_: str, context: Context, tags: set[int]) -> Sequence[Row]:
    view = context.view
    return [row for row in view.all(type_) if not tags.isdisjoint(tags_of(view, row))]


def _events_of_group(context: Context, row: Row) -> Sequence[Row]:
    tags = {tag.id for tag in context.view.children("Tag", "tag_group_id", row.id)}
    return _tagged("Event", context, tags)


def _request_of_booking(context: Context, row: Row) -> Sequence[Row]:
    found = request_of(context.view, row)
    return () if found is None else (found,)


def _bookings_of_request(context: Context, row: Row) -> Sequence[Row]:
    bookings = context.view.children("ResourceBooking", "event_id", row.attrs["event_id"])
    return [each for each in bookings if each.attrs["resource_id"] == row.attrs["resource_id"]]


def _events_of_calendar(context: Context, row: Row) -> Sequence[Row]:
    return [each for each in context.view.all("Event") if each.attrs.get("calendar_id", 0) == row.id]


_NONE = Include(NOTHING, True, no_rows)

INCLUDES: Includes = {
    "Event": {
        "attachments": _NONE,
        "calendar": Include(CALENDAR, False, _calendar),
        "feed": Include(FEED, False, one("Feed", "feed")),
        "owner": Include(PERSON, False, one("Person", "owner")),
        "tags": Include(TAG, True, _tags),
    },
    "EventInstance": {
        "event": Include(EVENT, False, one("Event", "event")),
        "event_times": Include(EVENT_TIME, True, children("EventTime", "event_instance_id")),
        "resource_bookings": Include(RESOURCE_BOOKING, True, children("ResourceBooking", "event_instance_id")),
        "tags": Include(TAG, True, _tags),
    },
    "EventTime": {"event": Include(EVENT, False, one("Event", "event"))},
    "Tag": {"tag_group": Include(TAG_GROUP, False, one("TagGroup", "tag_group"))},
    "TagGroup": {
        "events": Include(EVENT, True, _events_of_group),
        "tags": Include(TAG, True, children("Tag", "tag_group_id")),
    },
    "ResourceBooking": {
        "event_resource_request": Include(EVENT_RESOURCE_REQUEST, False, _request_of_booking),
        "resource": Include(RESOURCE, False, one("Resource", "resource")),
    },
    "EventResourceRequest": {
        "created_by": Include(PERSON, False, one("Person", "created_by")),
        "event": Include(EVENT, False, one("Event", "event")),
        "resource": Include(RESOURCE, False, one("Resource", "resource")),
        "room_setup": Include(NOTHING, False, no_rows),
        "updated_by": Include(PERSON, False, one("Person", "updated_by")),
    },
    "Resource": {
        "resource_approval_groups": _NONE,
        "resource_folder": Include(NOTHING, False, no_rows),
        "resource_questions": _NONE,
        "room_setups": _NONE,
    },
    "Person": {
        "organization": Include(ORGANIZATION, False, lambda context, _row: (organization_row(context),), at_edge=True),
    },
}
"""Keys are those of `can_include`; `owner` of instances is not among them (planningcenter/developers#1356)."""

EDGES: Includes = {
    **INCLUDES,
    "Event": {
        **INCLUDES["Event"],
        "conflicts": _NONE,
        "event_connections": Include(EVENT_CONNECTION, True, children("EventConnection", "event_id")),
        "event_instances": Include(EVENT_INSTANCE, True, children("EventInstance", "event_id")),
        "event_resource_requests": Include(EVENT_RESOURCE_REQUEST, True, children("EventResourceRequest", "event_id")),
        "resource_bookings": Include(RESOURCE_BOOKING, True, children("ResourceBooking", "event_id")),
    },
    "Calendar": {"events": Include(EVENT, True, _events_of_calendar)},
    "Tag": {
        **INCLUDES["Tag"],
        "event_instances": Include(
            EVENT_INSTANCE, True, lambda context, row: _tagged("EventInstance", context, {row.id})
        ),
        "events": Include(EVENT, True, lambda context, row: _tagged("Event", context, {row.id})),
    },
    "EventResourceRequest": {
        **INCLUDES["EventResourceRequest"],
        "answers": _NONE,
        "resource_bookings": Include(RESOURCE_BOOKING, True, _bookings_of_request),
    },
    "Resource": {
        **INCLUDES["Resource"],
        "conflicts": _NONE,
        "event_resource_requests": Include(
            EVENT_RESOURCE_REQUEST, True, children("EventResourceRequest", "resource_id")
        ),
        "required_approvals": _NONE,
        "resource_bookings": Include(RESOURCE_BOOKING, True, children("ResourceBooking", "resource_id")),
    },
    "Person": {
        **INCLUDES["Person"],
        "event_resource_requests": _NONE,
    },
}
"""Paths below a record: `/events/{id}/event_instances`. The single event time has none (vendor OpenAPI)."""

EDGE_FILTERS = {
    ("Event", "event_instances"): ("future",),
    ("Event", "resource_bookings"): ("future",),
    ("EventInstance", "resource_bookings"): ("future", "rooms", "resources"),
    ("EventResourceRequest", "resource_bookings"): ("future", *STATUS_FILTERS),
    ("Resource", "resource_bookings"): ("future", *STATUS_FILTERS),
    ("Calendar", "events"): (),
    ("Tag", "event_instances"): (),
    ("Tag", "events"): (),
    ("TagGroup", "events"): (),
    ("Event", "tags"): (),
    ("EventInstance", "tags"): (),
    ("TagGroup", "tags"): (),
}
"""Filters at an edge, where they differ from those of the collection."""
