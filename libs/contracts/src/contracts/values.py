"""Named values. Plain strings in messages, since growing an enum breaks old readers."""

from collections.abc import Mapping
from typing import Any, Final

PEOPLE: Final = "people"
CALENDAR: Final = "calendar"
PRODUCTS: Final = (PEOPLE, CALENDAR)

PEOPLE_WRITERS: Final = frozenset({"Editor", "Manager"})
"""`people_permissions` in Planning Center with which a sync can do its work."""


def writes_people(person: Mapping[str, Any]) -> bool:
    """Whether a sync can do its work in the name of a person. person: the attributes that `/people/v2/me` gives.

    An organization administrator needs no role: of the vendor's answers recorded in 2019, those that read and write
    people are of an organization in which everybody's `people_permissions` is null.
    """
    return person.get("people_permissions") in PEOPLE_WRITERS or person.get("site_administrator") is True


MEMBER: Final = "member"
FAMILY: Final = "family"
EVENT: Final = "event"

AUTH_SERVICE: Final = "auth-service"
PEOPLE_SYNC: Final = "people-sync"
CALENDAR_SYNC: Final = "calendar-sync"
CONFLICT_SERVICE: Final = "conflict-service"
WEBHOOK_GATEWAY: Final = "webhook-gateway"
SERVICES: Final = (AUTH_SERVICE, PEOPLE_SYNC, CALENDAR_SYNC, CONFLICT_SERVICE, WEBHOOK_GATEWAY)

PLATFORM: Final = "platform"
"""The platform's other services: consumers that this repository does not wire."""
