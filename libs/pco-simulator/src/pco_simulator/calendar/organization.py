"""The church itself: `/calendar/v2`."""

from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing
from pco_simulator.rows import Row

_LINKS = (
    "attachments", "calendars", "conflicts", "event_instances", "event_resource_requests", "events", "feeds",
    "job_statuses", "people", "report_templates", "resource_approval_groups", "resource_bookings",
    "resource_folders", "resource_questions", "resources", "room_setups", "tag_groups", "tags",
)  # fmt: skip

RAILS_ZONES = {
    "America/Anchorage": "Alaska",
    "America/Chicago": "Central Time (US & Canada)",
    "America/Denver": "Mountain Time (US & Canada)",
    "America/Los_Angeles": "Pacific Time (US & Canada)",
    "America/New_York": "Eastern Time (US & Canada)",
    "America/Phoenix": "Arizona",
    "Pacific/Honolulu": "Hawaii",
}
"""Names that Rails has for zones of the United States; other zones keep their IANA names."""


def _attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    zone = get("time_zone")
    attributes = {
        "calendar_starts_on": "sunday",
        "date_format": get("date_format"),
        "name": get("name"),
        # Both forms stand in the vendor's documentation; Rails' names are those that a client has to translate.
        "time_zone": RAILS_ZONES.get(zone or "", zone),
        "twenty_four_hour_time": False,
    }
    if "onboarding" in context.fields.get("Organization", ()):
        attributes["onboarding"] = False
    return attributes


ORGANIZATION = Kind(
    type="Organization",
    source=Source("Organization", {}),
    attributes=_attributes,
    relationships=nothing,
    self_path=lambda _row: "",
    can_order=fixed(),
    can_query=fixed(),
    links=lambda context, _row: {name: f"{context.root}/{name}" for name in _LINKS},
    only_with_fields=frozenset({"onboarding"}),
)
