"""People as Calendar shows them, and who may open Calendar. Ids are those of People."""

from typing import Any

from pco_simulator.calendar.kind import HTML
from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing
from pco_simulator.people.person import gender_for, person_name
from pco_simulator.rows import Row
from pco_simulator.world import CALENDAR_ACCESS, CALENDAR_ROLES

_PERMISSIONS = {role: number for number, role in enumerate(CALENDAR_ROLES)}
_FIRST_LETTERS = "2018-08-01"
"""A People version whose genders are `M` and `F`, as Calendar documents them."""


def _contacts(context: Context, row: Row) -> dict[str, Any]:
    view = context.view
    emails = view.children("Email", "person_id", row.id)
    phones = view.children("PhoneNumber", "person_id", row.id)
    return {
        "email_addresses": [
            {"address": email.get("address"), "location": email.get("location"), "primary": email.get("primary")}
            for email in emails
        ],
        "phone_numbers": [
            {"number": phone.get("number"), "location": phone.get("location"), "primary": phone.get("primary")}
            for phone in phones
        ],
        "addresses": [],
    }


def _attributes(context: Context, row: Row) -> dict[str, Any]:
    get, view = row.attrs.get, context.view
    access = view.get(CALENDAR_ACCESS, row.id)
    role = access.attrs["role"] if access is not None else CALENDAR_ROLES[0]
    edits = role in CALENDAR_ROLES[2:]
    prefix = view.get("NamePrefix", get("name_prefix_id"))
    suffix = view.get("NameSuffix", get("name_suffix_id"))
    attributes: dict[str, Any] = {
        "avatar_url": get("avatar"),
        "can_edit_people": False,
        "can_edit_resources": edits,
        "can_edit_rooms": edits,
        "child": get("child", False),
        "contact_data": _contacts(context, row),
        "created_at": get("created_at"),
        "event_permissions_type": role,
        "first_name": get("first_name"),
        "gender": gender_for(_FIRST_LETTERS, get("gender")),
        "has_access": role != CALENDAR_ROLES[0],
        "last_name": get("last_name"),
        "middle_name": get("middle_name"),
        "name": person_name(view, row),
        "name_prefix": prefix and prefix.get("value"),
        "name_suffix": suffix and suffix.get("value"),
        "pending_request_count": 0,
        "people_permissions_type": get("people_permissions"),
        "permissions": _PERMISSIONS.get(role, 0),
        "resolves_conflicts": role == CALENDAR_ROLES[-1],
        "resources_permissions_type": role,
        "room_permissions_type": role,
        "site_administrator": get("site_administrator", False),
        "status": get("status", "active"),
        "updated_at": get("updated_at"),
    }
    wanted = context.fields.get("Person", frozenset())
    if "has_full_access_to_any_calendar" in wanted:
        attributes["has_full_access_to_any_calendar"] = edits
    if "member_of_approval_groups" in wanted:
        attributes["member_of_approval_groups"] = False
    return attributes


def _links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/people/{row.id}"
    return {
        "html_url": f"{HTML}/people/{row.id}",
        "event_resource_requests": f"{url}/event_resource_requests",
        "organization": f"{url}/organization",
    }


PERSON = Kind(
    type="Person",
    source=Source(
        "Person",
        {
            "created_at": "date_time",
            "first_name": "string",
            "last_name": "string",
            "middle_name": "string",
            "resolves_conflicts": "boolean",
            "updated_at": "date_time",
        },
    ),
    attributes=_attributes,
    relationships=nothing,
    self_path=lambda row: f"/people/{row.id}",
    can_order=fixed("first_name", "last_name", "created_at", "updated_at", "resolves_conflicts"),
    can_query=fixed("created_at", "first_name", "last_name", "middle_name", "updated_at"),
    links=_links,
    can_include=("organization",),
    can_filter=("event_owners", "active"),
    only_with_fields=frozenset({"has_full_access_to_any_calendar", "member_of_approval_groups"}),
    depends_on_others=True,
)
"""The words of the permissions are unconfirmed; `permissions` counts them."""

ACCESS = Kind(
    type=CALENDAR_ACCESS,
    source=Source(CALENDAR_ACCESS, {}),
    attributes=nothing,
    relationships=nothing,
    self_path=lambda row: f"/people/{row.id}",
    can_order=fixed(),
    can_query=fixed(),
)
"""The table of roles, by the person's id; no resource of the API."""
