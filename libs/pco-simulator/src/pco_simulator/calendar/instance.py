"""Event instances: one row per occurrence, with an id of its own; and their event times."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pco_simulator.calendar.event import APPROVED, STATUS_FILTERS, image_url
from pco_simulator.calendar.kind import COMPACT
from pco_simulator.jsonapi import Condition, Source, stamp
from pco_simulator.kind import Context, Kind, fixed, organization_row, ref
from pco_simulator.rows import Row, View, type_of_value


def event_of(view: View, row: Row) -> Row | None:
    """The event of an instance."""
    return view.get("Event", row.attrs["event_id"])


def instance_name(view: View, row: Row) -> str | None:
    """The instance's own name, else the event's."""
    own: str | None = row.attrs.get("name")
    event = event_of(view, row)
    return own if own is not None or event is None else event.attrs.get("name")


def _kind(view: View, row: Row) -> str:
    event = event_of(view, row)
    return "blockout" if event is not None and "blockout" in event.attrs else "standard"


def tags_of(view: View, row: Row) -> list[int]:
    """Tags of an event, or of an instance and its event."""
    ids: list[int] = list(row.attrs.get("tag_ids", ()))
    if "event_id" in row.attrs and (event := event_of(view, row)) is not None:
        ids += [id_ for id_ in event.attrs.get("tag_ids", ()) if id_ not in ids]
    return ids


def _attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    event = event_of(context.view, row)
    of_event = event.attrs.get if event is not None else row.attrs.get
    public = of_event("visible_in_church_center", False)
    subdomain = organization_row(context).attrs["subdomain"]
    attributes: dict[str, Any] = {
        "all_day_event": get("all_day_event", False),
        "church_center_url": f"https://{subdomain}.churchcenter.com/calendar/event/{row.id}" if public else None,
        "compact_recurrence_description": of_event("compact_recurrence_description"),
        "created_at": get("created_at"),
        "ends_at": get("ends_at"),
        "location": get("location"),
        "name": instance_name(context.view, row),
        "published_ends_at": get("published_ends_at") if public else None,
        "published_starts_at": get("published_starts_at") if public else None,
        "recurrence": of_event("recurrence", "None"),
        "recurrence_description": of_event("recurrence_description"),
        "starts_at": get("starts_at"),
        "updated_at": get("updated_at"),
    }
    if context.version < COMPACT:
        del attributes["compact_recurrence_description"]
    wanted = context.fields.get("EventInstance")
    if wanted is not None:
        if "description" in wanted:
            attributes["description"] = of_event("description")
        if "image_url" in wanted:
            attributes["image_url"] = image_url(context, event) if event is not None else None
        if "kind" in wanted:
            attributes["kind"] = _kind(context.view, row)
    return attributes


def _links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/event_instances/{row.id}"
    return {name: f"{url}/{name}" for name in ("event", "event_times", "resource_bookings", "tags")}


Test = Callable[[Row], bool]


def _tagged(view: View, needle: str) -> Test:
    wanted = {int(word) for word in needle.split(",") if word.strip().isdecimal()}
    return lambda row: not wanted.isdisjoint(tags_of(view, row))


def _of_calendars(view: View, needle: str) -> Test:
    wanted = {0 if word.strip() == "default" else int(word) for word in needle.split(",") if _is_calendar(word)}

    def test(row: Row) -> bool:
        event = event_of(view, row)
        return event is not None and event.attrs.get("calendar_id", 0) in wanted

    return test


def _is_calendar(word: str) -> bool:
    return word.strip() == "default" or word.strip().isdecimal()


def _with_status(view: View, statuses: str) -> Test:
    def test(row: Row) -> bool:
        event = event_of(view, row)
        return event is not None and event.attrs.get("approval_status", APPROVED) in statuses

    return test


def _owned(view: View, person_id: str) -> Test:
    def test(row: Row) -> bool:
        event = event_of(view, row)
        return event is not None and str(event.attrs.get("owner_id")) == person_id

    return test


def _not_requested(view: View, _needle: str) -> Test:
    def test(row: Row) -> bool:
        requests = view.children("EventRequest", "event_id", row.attrs["event_id"])
        return all(each.attrs.get("status") != "pending" for each in requests)

    return test


def _within_reach(view: View, conditions: Sequence[Condition]) -> list[Condition]:
    """An instance that ends after an instant began at most the longest duration before it, so a window of time is a
    stretch of the index by start."""
    ends = [each.value for each in conditions if each.field == "ends_at" and each.op in ("gt", "gte", "eq")]
    if not ends:
        return []
    longest = view.entries("EventInstance", (("seconds", True),))
    seconds = -longest[0][1] if longest and longest[0][0] == 0 else 0
    try:
        since = datetime.fromisoformat(max(ends)) - timedelta(seconds=max(seconds, 0))
    except (OverflowError, ValueError):
        return []
    return [Condition("starts_at", "gte", stamp(since))]


_KINDS: dict[str, type_of_value] = {
    "created_at": "date_time",
    "ends_at": "date_time",
    "event_name": "string",
    "kind": "string",
    "seconds": "integer",
    "starts_at": "date_time",
    "updated_at": "date_time",
}

ROLE_FILTERS = (
    "approver", "approver_subscriber", "manager", "manager_approver", "manager_approver_subscriber",
    "manager_subscriber", "owner", "owner_approver", "owner_approver_subscriber", "owner_manager_approver",
    "owner_manager_subscriber", "owner_manager_approver_subscriber", "owner_manager", "owner_subscriber",
    "subscriber",
)  # fmt: skip
"""Filters by what the caller is to the event; nobody here approves, manages or subscribes."""
CONFLICT_FILTERS = ("unresolved", "lost", "shared", "lost_due_to_blockout")
"""Filters by conflicts of rooms, of which there are none here."""

EVENT_INSTANCE = Kind(
    type="EventInstance",
    source=Source(
        "EventInstance",
        _KINDS,
        derived={
            "event_name": instance_name,
            "kind": _kind,
        },
        searches={
            "calendar_ids": _of_calendars,
            "not_requested": _not_requested,
            "owned": _owned,
            "status": _with_status,
            "tag_ids": _tagged,
        },
        unlisted=frozenset({"calendar_ids"}),
        implied=_within_reach,
    ),
    attributes=_attributes,
    relationships=lambda _context, row: {"event": ref("Event", row.attrs["event_id"])},
    self_path=lambda row: f"/event_instances/{row.id}",
    can_order=fixed("created_at", "updated_at", "starts_at", "ends_at"),
    can_query=fixed("created_at", "ends_at", "event_name", "kind", "starts_at", "tag_ids", "updated_at"),
    links=_links,
    can_include=("event", "event_times", "resource_bookings", "tags"),
    can_filter=(
        "future", "not_pending_event_requests", "all", *ROLE_FILTERS, *CONFLICT_FILTERS, *STATUS_FILTERS,
    ),
    only_with_fields=frozenset({"description", "image_url", "kind"}),
    extended=frozenset({"event"}),
    parents=("event_id",),
    depends_on_others=True,
)  # fmt: skip
"""`starts_at` and `ends_at` span what is booked, setup and teardown included; `published_starts_at` and
`published_ends_at` are the public times and null while the event is hidden (public code of two churches' sites).

What `recurrence` says is from public code: `None` for a single date, `Weekly` also every second week. That the other
two descriptions are then null, and their words, is unconfirmed. `where[calendar_ids]` works without being listed (one
public report).
"""

EVENT_TIME = Kind(
    type="EventTime",
    source=Source(
        "EventTime",
        {
            "ends_at": "date_time",
            "starts_at": "date_time",
            "visible_on_kiosks": "boolean",
            "visible_on_widget_and_ical": "boolean",
        },
        derived={
            "visible_on_kiosks": lambda _view, row: row.attrs.get("visible_on_kiosks", False),
            "visible_on_widget_and_ical": lambda _view, row: row.attrs.get("visible_on_widget_and_ical", False),
        },
    ),
    attributes=lambda _context, row: {
        "ends_at": row.attrs.get("ends_at"),
        "name": row.attrs.get("name"),
        "starts_at": row.attrs.get("starts_at"),
        "visible_on_kiosks": row.attrs.get("visible_on_kiosks", False),
        "visible_on_widget_and_ical": row.attrs.get("visible_on_widget_and_ical", False),
    },
    relationships=lambda _context, row: {"event": ref("Event", row.attrs["event_id"])},
    self_path=lambda row: f"/event_instances/{row.attrs['event_instance_id']}/event_times/{row.id}",
    can_order=fixed("starts_at", "ends_at"),
    can_query=fixed("starts_at", "ends_at", "visible_on_kiosks", "visible_on_widget_and_ical"),
    links=lambda context, row: {
        "event": f"{context.root}/event_instances/{row.attrs['event_instance_id']}/event_times/{row.id}/event"
    },
    can_include=("event",),
    extended=frozenset({"event"}),
    parents=("event_instance_id",),
)
"""Single dates of a registrations feed have none, unless they have setup or teardown
(planningcenter/developers#1330)."""
