"""Every resource of Calendar by its type and by its collection."""

from pco_simulator.calendar.event import EVENT
from pco_simulator.calendar.instance import EVENT_INSTANCE, EVENT_TIME
from pco_simulator.calendar.person import ACCESS, PERSON
from pco_simulator.calendar.references import (
    CALENDAR,
    EVENT_CONNECTION,
    EVENT_REQUEST,
    EVENT_RESOURCE_REQUEST,
    FEED,
    RESOURCE,
    RESOURCE_BOOKING,
    TAG,
    TAG_GROUP,
)
from pco_simulator.kind import NOTHING, Kind

KINDS: dict[str, Kind] = {
    kind.type: kind
    for kind in (
        ACCESS,
        CALENDAR,
        FEED,
        TAG_GROUP,
        TAG,
        EVENT,
        EVENT_INSTANCE,
        EVENT_TIME,
        EVENT_CONNECTION,
        EVENT_REQUEST,
        RESOURCE,
        EVENT_RESOURCE_REQUEST,
        RESOURCE_BOOKING,
    )
}
"""Every kind with a table of Calendar's own; people and the organization are those of People."""

COLLECTIONS: dict[str, Kind] = {
    "calendars": CALENDAR,
    "event_instances": EVENT_INSTANCE,
    "event_resource_requests": EVENT_RESOURCE_REQUEST,
    "events": EVENT,
    "feeds": FEED,
    "people": PERSON,
    "resource_bookings": RESOURCE_BOOKING,
    "resources": RESOURCE,
    "tag_groups": TAG_GROUP,
    "tags": TAG,
    **dict.fromkeys(
        (
            "attachments",
            "conflicts",
            "job_statuses",
            "report_templates",
            "resource_approval_groups",
            "resource_folders",
            "resource_questions",
            "room_setups",
        ),
        NOTHING,
    ),
}
"""Top-level collections. `event_connections` and `event_times` exist below their event and instance alone."""
