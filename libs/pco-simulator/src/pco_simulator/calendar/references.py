"""Resources that events refer to: calendars, feeds, tags, connections, requests, rooms and their bookings."""

from collections.abc import Callable
from typing import Any

from pco_simulator.calendar.event import APPROVED, STATUS_FILTERS, calendar_id
from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing, ref, stored
from pco_simulator.rows import Row, View

CALENDAR = Kind(
    type="Calendar",
    source=Source("Calendar", {"name": "string"}),
    attributes=lambda _context, row: {
        "access": row.attrs.get("access", "full"),
        "access_restricted": row.attrs.get("access_restricted", False),
        "color": row.attrs.get("color", "blue"),
        "created_at": row.attrs.get("created_at"),
        "default": row.id == 0,
        "description": row.attrs.get("description"),
        "name": row.attrs.get("name"),
        "updated_at": row.attrs.get("updated_at"),
    },
    relationships=nothing,
    self_path=lambda row: f"/calendars/{calendar_id(row.id)}",
    can_order=fixed("name"),
    can_query=fixed(),
    links=lambda context, row: {"events": f"{context.root}/calendars/{calendar_id(row.id)}/events"},
    shown_id=lambda row: calendar_id(row.id),
)
"""The default calendar has the id `default` (recorded); its row is number 0."""


def _feed_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        "can_delete": get("can_delete", True),
        "default_church_center_visibility": get("default_church_center_visibility", "hidden"),
        "deleting": False,
        "feed_type": get("feed_type"),
        "imported_at": get("imported_at"),
        "name": get("name"),
        "source_id": get("source_id"),
    }
    wanted = context.fields.get("Feed", frozenset())
    if "prefix_event_names" in wanted:
        attributes["prefix_event_names"] = get("prefix_event_names", False)
    if "sync_campus_tags" in wanted:
        attributes["sync_campus_tags"] = get("sync_campus_tags", False)
    return attributes


FEED = Kind(
    type="Feed",
    source=Source("Feed", {"feed_type": "string", "name": "string", "source_id": "string"}),
    attributes=_feed_attributes,
    relationships=lambda _context, row: {
        "event_owner": ref("Person", row.attrs.get("event_owner_id")),
        "default_calendar": {"data": {"type": "Calendar", "id": calendar_id(row.attrs.get("default_calendar_id", 0))}},
    },
    self_path=lambda row: f"/feeds/{row.id}",
    can_order=fixed("name"),
    can_query=fixed("feed_type", "source_id"),
    only_with_fields=frozenset({"prefix_event_names", "sync_campus_tags"}),
)

TAG = Kind(
    type="Tag",
    source=Source(
        "Tag",
        {
            "church_center_category": "boolean",
            "color": "string",
            "created_at": "date_time",
            "id": "primary_key",
            "name": "string",
            "position": "integer",
            "tag_group_id": "primary_key",
            "updated_at": "date_time",
        },
        derived={"church_center_category": lambda _view, row: row.attrs.get("church_center_category", False)},
    ),
    attributes=lambda _context, row: {
        "church_center_category": row.attrs.get("church_center_category", False),
        "color": row.attrs.get("color"),
        "created_at": row.attrs.get("created_at"),
        "name": row.attrs.get("name"),
        "position": row.attrs.get("position"),
        "updated_at": row.attrs.get("updated_at"),
    },
    relationships=nothing,
    self_path=lambda row: f"/tags/{row.id}",
    can_order=fixed("name", "position"),
    can_query=fixed(
        "church_center_category", "color", "created_at", "name", "position", "updated_at", "id", "tag_group_id"
    ),
    links=lambda context, row: {
        "event_instances": f"{context.root}/tags/{row.id}/event_instances",
        "events": f"{context.root}/tags/{row.id}/events",
        "tag_group": f"{context.root}/tags/{row.id}/tag_group" if "tag_group_id" in row.attrs else None,
    },
    can_include=("tag_group",),
    can_filter=("individual",),
    parents=("tag_group_id",),
)

TAG_GROUP = Kind(
    type="TagGroup",
    source=Source(
        "TagGroup",
        {"created_at": "date_time", "name": "string", "required": "boolean", "updated_at": "date_time"},
    ),
    attributes=lambda _context, row: {
        "created_at": row.attrs.get("created_at"),
        "name": row.attrs.get("name"),
        "required": row.attrs.get("required", False),
        "updated_at": row.attrs.get("updated_at"),
    },
    relationships=nothing,
    self_path=lambda row: f"/tag_groups/{row.id}",
    can_order=fixed("name"),
    can_query=fixed("created_at", "name", "updated_at"),
    links=lambda context, row: {
        "events": f"{context.root}/tag_groups/{row.id}/events",
        "tags": f"{context.root}/tag_groups/{row.id}/tags",
    },
    can_include=("events", "tags"),
    can_filter=("required",),
)

_CONNECTED_PAGES = {
    "registrations": "https://registrations.planningcenteronline.com/events",
    "groups": "https://groups.planningcenteronline.com/groups",
    "check-ins": "https://check-ins.planningcenteronline.com/events",
    "services": "https://services.planningcenteronline.com/service_types",
}


def _connection_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    page = _CONNECTED_PAGES.get(get("product_name", ""))
    attributes = {
        "connected_to_id": get("connected_to_id"),
        "connected_to_name": get("connected_to_name"),
        "connected_to_type": get("connected_to_type"),
        "connected_to_url": f"{page}/{get('connected_to_id')}" if page else None,
        "product_name": get("product_name"),
    }
    if "promoted" in context.fields.get("EventConnection", ()):
        attributes["promoted"] = get("promoted", False)
    return attributes


EVENT_CONNECTION = Kind(
    type="EventConnection",
    source=Source("EventConnection", {"connected_to_id": "string", "product_name": "string", "promoted": "boolean"}),
    attributes=_connection_attributes,
    relationships=lambda _context, row: {"event": ref("Event", row.attrs["event_id"])},
    self_path=lambda row: f"/events/{row.attrs['event_id']}/event_connections/{row.id}",
    can_order=fixed(),
    can_query=fixed("product_name", "promoted", "connected_to_id"),
    only_with_fields=frozenset({"promoted"}),
    parents=("event_id",),
)

RESOURCE = Kind(
    type="Resource",
    source=Source(
        "Resource",
        {
            "created_at": "date_time",
            "expires_at": "date_time",
            "id": "primary_key",
            "kind": "string",
            "name": "string",
            "path_name": "string",
            "resource_folder_id": "primary_key",
            "serial_number": "string",
            "updated_at": "date_time",
        },
    ),
    attributes=stored(
        "created_at", "description", "expires_at", "home_location", "image", "kind", "name", "path_name", "quantity",
        "serial_number", "updated_at",
    ),
    relationships=nothing,
    self_path=lambda row: f"/resources/{row.id}",
    can_order=fixed("created_at", "expires_at", "name", "updated_at"),
    can_query=fixed(
        "created_at", "kind", "name", "serial_number", "updated_at", "path_name", "resource_folder_id", "id"
    ),
    links=lambda context, row: {
        name: f"{context.root}/resources/{row.id}/{name}"
        for name in (
            "conflicts", "event_resource_requests", "required_approvals", "resource_approval_groups",
            "resource_bookings", "resource_folder", "resource_questions", "room_setups",
        )
    },
    can_include=("resource_approval_groups", "resource_folder", "resource_questions", "room_setups"),
    can_filter=("rooms", "resources"),
)  # fmt: skip


def _request_links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/event_resource_requests/{row.id}"
    names = ("answers", "created_by", "event", "resource", "resource_bookings", "updated_by")
    return {**{name: f"{url}/{name}" for name in names}, "room_setup": None}


EVENT_RESOURCE_REQUEST = Kind(
    type="EventResourceRequest",
    source=Source(
        "EventResourceRequest",
        {
            "approval_sent": "boolean",
            "approval_status": "string",
            "created_at": "date_time",
            "updated_at": "date_time",
        },
    ),
    attributes=lambda _context, row: {
        "approval_sent": row.attrs.get("approval_sent", False),
        "approval_status": row.attrs.get("approval_status"),
        "created_at": row.attrs.get("created_at"),
        "notes": row.attrs.get("notes"),
        "quantity": row.attrs.get("quantity"),
        "updated_at": row.attrs.get("updated_at"),
        "visible_on_kiosks": row.attrs.get("visible_on_kiosks", False),
    },
    relationships=lambda _context, row: {
        "event": ref("Event", row.attrs["event_id"]),
        "resource": ref("Resource", row.attrs["resource_id"]),
        "event_resource_request": {"data": None},
        "created_by": ref("Person", row.attrs.get("created_by_id")),
        "updated_by": ref("Person", row.attrs.get("updated_by_id")),
        "room_setup": {"data": None},
    },
    self_path=lambda row: f"/event_resource_requests/{row.id}",
    can_order=fixed(),
    can_query=fixed("approval_sent", "approval_status", "created_at", "updated_at"),
    links=_request_links,
    can_include=("created_by", "event", "resource", "room_setup", "updated_by"),
    extended=frozenset({"created_by", "event", "resource", "room_setup", "updated_by"}),
    parents=("event_id", "resource_id"),
)


def request_of(view: View, booking: Row) -> Row | None:
    """The request that a booking stands for."""
    requests = view.children("EventResourceRequest", "event_id", booking.attrs["event_id"])
    return next((each for each in requests if each.attrs["resource_id"] == booking.attrs["resource_id"]), None)


def _with_status(view: View, statuses: str) -> Callable[[Row], bool]:
    def test(row: Row) -> bool:
        request = request_of(view, row)
        return request is not None and request.attrs.get("approval_status", APPROVED) in statuses

    return test


def _of_resource_kind(view: View, kind: str) -> Callable[[Row], bool]:
    def test(row: Row) -> bool:
        resource = view.get("Resource", row.attrs["resource_id"])
        return resource is not None and resource.attrs.get("kind") == kind

    return test


RESOURCE_BOOKING = Kind(
    type="ResourceBooking",
    source=Source(
        "ResourceBooking",
        {"created_at": "date_time", "ends_at": "date_time", "starts_at": "date_time", "updated_at": "date_time"},
        searches={"resource_kind": _of_resource_kind, "status": _with_status},
    ),
    attributes=stored("created_at", "ends_at", "quantity", "starts_at", "updated_at"),
    relationships=lambda _context, row: {
        "event": ref("Event", row.attrs["event_id"]),
        "event_instance": ref("EventInstance", row.attrs["event_instance_id"]),
        "resource": ref("Resource", row.attrs["resource_id"]),
    },
    self_path=lambda row: f"/resource_bookings/{row.id}",
    can_order=fixed("created_at", "ends_at", "starts_at", "updated_at"),
    can_query=fixed("created_at", "ends_at", "starts_at", "updated_at"),
    links=lambda context, row: {
        "event_resource_request": f"{context.root}/resource_bookings/{row.id}/event_resource_request",
        "resource": f"{context.root}/resource_bookings/{row.id}/resource",
    },
    can_include=("event_resource_request", "resource"),
    can_filter=("future", *STATUS_FILTERS, "rooms", "resources"),
    extended=frozenset({"resource"}),
    parents=("event_id", "event_instance_id", "resource_id"),
)

EVENT_REQUEST = Kind(
    type="EventRequest",
    source=Source("EventRequest", {"last_activity_at": "date_time", "status": "string"}),
    attributes=lambda _context, row: {
        "last_activity_at": row.attrs.get("last_activity_at"),
        "selected_options_by_field": row.attrs.get("selected_options_by_field", {}),
        "status": row.attrs.get("status"),
    },
    relationships=lambda _context, row: {
        "event": ref("Event", row.attrs["event_id"]),
        "form": ref("Form", row.attrs.get("form_id")),
        "person": ref("Person", row.attrs.get("person_id")),
        "form_fields": {"data": []},
    },
    self_path=lambda row: f"/event_requests/{row.id}",
    can_order=fixed(),
    can_query=fixed(),
    parents=("event_id",),
)
"""An event that a form asked for. No path of the API shows it: webhooks do (keys as captured 2026-07-02). The words of
its status, `pending`, `approved` and `rejected`, are unconfirmed."""
