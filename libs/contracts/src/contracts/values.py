"""Named values. Plain strings in messages, since growing an enum breaks old readers."""

from typing import Final

PEOPLE: Final = "people"
CALENDAR: Final = "calendar"
PRODUCTS: Final = (PEOPLE, CALENDAR)

PEOPLE_WRITERS: Final = frozenset({"Editor", "Manager"})
"""`people_permissions` in Planning Center with which a sync can do its work."""

MEMBER: Final = "member"
FAMILY: Final = "family"

AUTH_SERVICE: Final = "auth-service"
PEOPLE_SYNC: Final = "people-sync"
CALENDAR_SYNC: Final = "calendar-sync"
CONFLICT_SERVICE: Final = "conflict-service"
WEBHOOK_GATEWAY: Final = "webhook-gateway"
SERVICES: Final = (AUTH_SERVICE, PEOPLE_SYNC, CALENDAR_SYNC, CONFLICT_SERVICE, WEBHOOK_GATEWAY)

PLATFORM: Final = "platform"
"""The platform's other services: consumers that this repository does not wire."""
