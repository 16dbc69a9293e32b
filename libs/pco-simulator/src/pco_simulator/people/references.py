"""The log of mergers, the lists that people refer to, and the collections that are always empty here."""

from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing, ref
from pco_simulator.people.custom_fields import FIELD_DATUM, FIELD_DEFINITION, TAB
from pco_simulator.rows import Row, type_of_value


def _merger_attributes(_context: Context, row: Row) -> dict[str, Any]:
    return {
        "created_at": row.attrs["created_at"],
        "person_to_keep_id": str(row.attrs["person_to_keep_id"]),
        "person_to_remove_id": str(row.attrs["person_to_remove_id"]),
    }


def _merger_relationships(_context: Context, row: Row) -> dict[str, Any]:
    return {
        "person_to_keep": ref("Person", row.attrs["person_to_keep_id"]),
        "person_to_remove": ref("Person", row.attrs["person_to_remove_id"]),
    }


PERSON_MERGER = Kind(
    type="PersonMerger",
    source=Source(
        "PersonMerger",
        {
            "created_at": "date_time",
            "person_to_keep_id": "primary_key",
            "person_to_remove_id": "primary_key",
        },
    ),
    attributes=_merger_attributes,
    relationships=_merger_relationships,
    self_path=lambda row: f"/person_mergers/{row.id}",
    can_order=fixed("created_at"),
    can_query=fixed("created_at", "person_to_keep_id", "person_to_remove_id"),
    exact=("person_to_keep_id", "person_to_remove_id"),
)


def _plain(
    type_: str,
    collection: str,
    kinds: dict[str, type_of_value],
    *,
    order: tuple[str, ...] = (),
    query: tuple[str, ...] = (),
    include: tuple[str, ...] = (),
    filters: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
    hidden: tuple[str, ...] = (),
) -> Kind:
    """A kind whose attributes are its stored fields."""
    names = [name for name in kinds if name not in hidden]
    return Kind(
        type=type_,
        source=Source(type_, kinds),
        attributes=lambda _context, row: {name: row.attrs.get(name) for name in names},
        relationships=nothing,
        self_path=lambda row: f"/{collection}/{row.id}",
        can_order=fixed(*order),
        can_query=fixed(*query),
        can_include=include,
        can_filter=filters,
        parents=parents,
    )


def _value_kind(type_: str, collection: str, *more_order: str) -> Kind:
    return _plain(
        type_,
        collection,
        {"value": "string", "sequence": "integer"},
        order=("value", *more_order),
        query=("value",),
        hidden=("sequence",),
    )


_CAMPUS_KINDS: dict[str, type_of_value] = {
    "avatar_url": "string",
    "church_center_enabled": "boolean",
    "city": "string",
    "contact_email_address": "string",
    "country": "string",
    "created_at": "date_time",
    "date_format": "integer",
    "description": "string",
    "geolocation_set_manually": "boolean",
    "latitude": "integer",
    "longitude": "integer",
    "name": "string",
    "phone_number": "string",
    "state": "string",
    "street": "string",
    "time_zone": "string",
    "twenty_four_hour_time": "boolean",
    "updated_at": "date_time",
    "website": "string",
    "zip": "string",
    "id": "primary_key",
}

REFERENCES = {
    "campuses": _plain(
        "Campus",
        "campuses",
        _CAMPUS_KINDS,
        order=("name", "created_at", "updated_at"),
        query=("created_at", "updated_at", "id"),
        include=("lists", "service_times"),
        hidden=("id",),
    ),
    "field_data": FIELD_DATUM,
    "field_definitions": FIELD_DEFINITION,
    "inactive_reasons": _value_kind("InactiveReason", "inactive_reasons"),
    "marital_statuses": _value_kind("MaritalStatus", "marital_statuses", "sequence"),
    "name_prefixes": _value_kind("NamePrefix", "name_prefixes"),
    "name_suffixes": _value_kind("NameSuffix", "name_suffixes"),
    "school_options": _plain(
        "SchoolOption",
        "school_options",
        {
            "beginning_grade": "string",
            "ending_grade": "string",
            "school_types": "string",
            "sequence": "integer",
            "value": "string",
        },
        order=("value", "sequence", "beginning_grade", "ending_grade"),
        query=("value", "sequence", "beginning_grade", "ending_grade", "school_types"),
    ),
    "tabs": TAB,
}
"""Read-only collections, apart from `field_data`; `school_options` is always empty."""

EMPTY_OF_PERSON = (
    "apps", "background_checks", "connected_people", "message_groups", "messages", "notes", "person_apps",
    "platform_notifications", "social_profiles", "workflow_assignee_workflow_summaries", "workflow_cards",
    "workflow_shares",
)  # fmt: skip
EMPTY_OF_ORGANIZATION = (
    "apps", "background_checks", "birthday_people", "carriers", "form_categories", "forms",
    "list_categories", "lists", "message_groups", "messages", "note_categories",
    "note_category_subscriptions", "notes", "people_imports", "reports", "social_profiles",
    "spam_email_addresses", "stats", "workflows",
)  # fmt: skip
