"""Events: containers without dates, whose occurrences are event instances."""

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from pco_simulator.calendar.kind import HTML, SUMMARY
from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, ref
from pco_simulator.rows import Row, View, type_of_value

_IMAGES = "https://images.planningcenterusercontent.com/v1/transform"
_IMAGE_HOURS = 24 * 7

APPROVED, PENDING, REJECTED = "A", "P", "R"

_STATUSES = {"approved": APPROVED, "pending": PENDING, "rejected": REJECTED}
STATUS_FILTERS = {
    "_".join(words): "".join(_STATUSES[word] for word in words)
    for words in (
        ("approved",),
        ("pending",),
        ("rejected",),
        ("approved", "pending"),
        ("approved", "rejected"),
        ("pending", "rejected"),
        ("approved", "pending", "rejected"),
    )
}
"""Filters by approval, with the letters they admit."""


def percentages(row: Row) -> tuple[int, int]:
    """`percent_approved` and `percent_rejected`: of bookings in the future; here all of an event's have its status."""
    status = row.attrs.get("approval_status", APPROVED)
    return (100 if status == APPROVED else 0), (100 if status == REJECTED else 0)


def image_url(context: Context, row: Row) -> str | None:
    """A signed address that expires: it differs from hour to hour for the same picture."""
    image = row.attrs.get("image")
    if image is None:
        return None
    expires = (context.hour + _IMAGE_HOURS) * 3600
    key = quote(f"uploads/{context.organization_id}/{image}", safe="")
    signature = hashlib.sha1(f"{key}:{expires}".encode(), usedforsecurity=False).hexdigest()
    return (
        f"{_IMAGES}?bucket=resources-production&disposition=inline&expires_at={expires}&key={key}"
        f"&thumb=960x540%23&signature={signature}"
    )


def _attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    approved, rejected = percentages(row)
    attributes: dict[str, Any] = {
        "approval_status": get("approval_status", APPROVED),
        "created_at": get("created_at"),
        "description": get("description"),
        "featured": get("featured", False),
        "image_url": image_url(context, row),
        "link_only": get("link_only", False),
        "name": get("name"),
        "percent_approved": approved,
        "percent_rejected": rejected,
        "registration_url": get("registration_url"),
        "summary": get("summary"),
        "updated_at": get("updated_at"),
        "visible_in_church_center": get("visible_in_church_center", False),
    }
    if context.version < SUMMARY:
        attributes["details"] = attributes.pop("summary")
        attributes["archived_at"] = None
    return attributes


_EDGES = (
    "attachments", "calendar", "conflicts", "event_connections", "event_instances", "event_resource_requests",
    "owner", "resource_bookings", "tags",
)  # fmt: skip


def _links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/events/{row.id}"
    links: dict[str, Any] = {name: f"{url}/{name}" for name in _EDGES}
    links["feed"] = f"{url}/feed" if "feed_id" in row.attrs else None
    return {"html_url": f"{HTML}/events/{row.id}", **dict(sorted(links.items()))}


def _future(view: View, now: str) -> Callable[[Row], bool]:
    def test(row: Row) -> bool:
        instances = view.children("EventInstance", "event_id", row.id)
        return any((each.attrs.get("ends_at") or "") >= now for each in instances)

    return test


_KINDS: dict[str, type_of_value] = {
    "approval_status": "string",
    "created_at": "date_time",
    "featured": "boolean",
    "feed_id": "primary_key",
    "link_only": "boolean",
    "name": "string",
    "percent_approved": "integer",
    "percent_rejected": "integer",
    "updated_at": "date_time",
    "visible_in_church_center": "boolean",
}

EVENT = Kind(
    type="Event",
    source=Source(
        "Event",
        _KINDS,
        derived={
            "approval_status": lambda _view, row: row.attrs.get("approval_status", APPROVED),
            "featured": lambda _view, row: row.attrs.get("featured", False),
            "link_only": lambda _view, row: row.attrs.get("link_only", False),
            "percent_approved": lambda _view, row: percentages(row)[0],
            "percent_rejected": lambda _view, row: percentages(row)[1],
            "visible_in_church_center": lambda _view, row: row.attrs.get("visible_in_church_center", False),
        },
        searches={"future": _future},
    ),
    attributes=_attributes,
    relationships=lambda _context, row: {
        "calendar": {"data": {"type": "Calendar", "id": calendar_id(row.attrs.get("calendar_id", 0))}},
        "owner": ref("Person", row.attrs.get("owner_id")),
    },
    self_path=lambda row: f"/events/{row.id}",
    can_order=fixed(),
    can_query=fixed(
        "approval_status", "created_at", "featured", "link_only", "name", "feed_id", "percent_approved",
        "percent_rejected", "updated_at", "visible_in_church_center",
    ),
    links=_links,
    listed_links=lambda _context, row: {"html_url": f"{HTML}/events/{row.id}"},
    can_include=("attachments", "calendar", "feed", "owner", "tags"),
    can_filter=("future",),
    extended=frozenset({"calendar", "owner"}),
    parents=("feed_id",),
)  # fmt: skip
"""An event may be without any instance (planningcenter/developers#1107)."""


def calendar_id(id_: int) -> str:
    """`default` for the calendar that every church has (recorded), else the number."""
    return str(id_) if id_ else "default"
