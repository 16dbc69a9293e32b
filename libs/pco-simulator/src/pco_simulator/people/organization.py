"""The church itself: `/people/v2`."""

from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing
from pco_simulator.people.kind import FIRST_SHAPE_ENDS
from pco_simulator.rows import Row

_ORGANIZATION_LINKS = (
    "addresses", "apps", "background_checks", "birthday_people", "campuses", "carriers", "emails",
    "field_data", "field_definitions", "form_categories", "forms", "households", "inactive_reasons",
    "list_categories", "lists", "marital_statuses", "message_groups", "messages", "name_prefixes",
    "name_suffixes", "note_categories", "note_category_subscriptions", "notes", "people", "people_imports",
    "person_mergers", "phone_numbers", "reports", "school_options", "social_profiles",
    "spam_email_addresses", "stats", "tabs", "workflows",
)  # fmt: skip


def _organization_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        "avatar_url": None,
        "church_center_subdomain": get("subdomain"),
        "contact_website": f"https://{get('subdomain')}.example.org",
        "country_code": get("country_code"),
        "created_at": get("created_at"),
        "date_format": get("date_format"),
        "name": get("name"),
        "time_zone": get("time_zone"),
    }
    if context.version < FIRST_SHAPE_ENDS:
        for name in ("avatar_url", "church_center_subdomain", "contact_website", "created_at"):
            del attributes[name]
    return attributes


ORGANIZATION = Kind(
    type="Organization",
    source=Source("Organization", {}),
    attributes=_organization_attributes,
    relationships=nothing,
    self_path=lambda _row: "",
    can_order=fixed(),
    can_query=fixed(),
    links=lambda context, _row: {name: f"{context.root}/{name}" for name in _ORGANIZATION_LINKS},
)
