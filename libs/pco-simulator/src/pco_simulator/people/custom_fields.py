"""Custom fields: tabs, definitions, options and people's values."""

from collections.abc import Callable
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, ref, stored
from pco_simulator.rows import Row

_STAMPED_FIELD_DATA = "2026-06-04"


_DATUM_ORDER = ("value", "file", "file_size", "file_content_type", "file_name")


def _datum_names(*more: str) -> Callable[[str], tuple[str, ...]]:
    stamps = ("created_at", "updated_at")
    return lambda version: (*_DATUM_ORDER, *(stamps if version >= _STAMPED_FIELD_DATA else ()), *more)


def _datum_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        # File fields are not simulated. The same shape before the recorded version 2026-06-04 is unconfirmed.
        "file": {"url": None},
        "file_content_type": None,
        "file_name": None,
        "file_size": None,
        "value": get("value"),
    }
    if context.version >= _STAMPED_FIELD_DATA:
        attributes["created_at"] = get("created_at")
        attributes["updated_at"] = get("updated_at")
    return attributes


def _datum_links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/field_data/{row.id}"
    return {
        "field_definition": f"{context.root}/field_definitions/{row.attrs['field_definition_id']}",
        "field_option": f"{url}/field_option" if "field_option_id" in row.attrs else None,
        "person": f"{context.root}/people/{row.attrs['person_id']}",
        "tab": f"{url}/tab",
    }


FIELD_DATUM = Kind(
    type="FieldDatum",
    source=Source(
        "FieldDatum",
        {
            "created_at": "date_time",
            "field_definition_id": "integer",
            "file": "string",
            "file_content_type": "string",
            "file_name": "string",
            "file_size": "integer",
            "updated_at": "date_time",
            "value": "string",
        },
    ),
    attributes=_datum_attributes,
    relationships=lambda _context, row: {
        "field_definition": ref("FieldDefinition", row.attrs["field_definition_id"]),
        "customizable": ref("Person", row.attrs["person_id"]),
    },
    self_path=lambda row: f"/field_data/{row.id}",
    can_order=_datum_names(),
    can_query=_datum_names("field_definition_id"),
    links=_datum_links,
    can_include=("field_definition", "field_option", "tab"),
    extended=frozenset({"field_definition"}),
    parents=("person_id",),
)

_DEFINITION_FIELDS = ("data_type", "name", "sequence", "slug", "config", "deleted_at", "tab_id")


FIELD_DEFINITION = Kind(
    type="FieldDefinition",
    source=Source(
        "FieldDefinition",
        {
            "config": "string",
            "data_type": "string",
            "deleted_at": "date_time",
            "name": "string",
            "sequence": "integer",
            "slug": "string",
            "tab_id": "primary_key",
        },
    ),
    # `tab_id` is a number, as recorded.
    attributes=stored(*_DEFINITION_FIELDS),
    relationships=lambda _context, row: {"tab": ref("Tab", row.attrs["tab_id"])},
    self_path=lambda row: f"/field_definitions/{row.id}",
    can_order=fixed(*_DEFINITION_FIELDS),
    can_query=fixed(*_DEFINITION_FIELDS),
    links=lambda context, row: {
        "field_options": f"{context.root}/field_definitions/{row.id}/field_options",
        "tab": f"{context.root}/field_definitions/{row.id}/tab",
    },
    can_include=("field_options", "tab"),
    extended=frozenset({"tab"}),
    can_filter=("include_deleted",),
    parents=("tab_id",),
)

FIELD_OPTION = Kind(
    type="FieldOption",
    source=Source("FieldOption", {"sequence": "integer", "value": "string"}),
    attributes=stored("sequence", "value"),
    relationships=lambda _context, row: {
        "field_definition": ref("FieldDefinition", row.attrs["field_definition_id"]),
    },
    self_path=lambda row: f"/field_definitions/{row.attrs['field_definition_id']}/field_options/{row.id}",
    can_order=fixed("sequence", "value"),
    can_query=fixed("sequence", "value"),
    parents=("field_definition_id",),
)

TAB = Kind(
    type="Tab",
    source=Source("Tab", {"name": "string", "sequence": "integer", "slug": "string"}),
    attributes=stored("name", "sequence", "slug"),
    relationships=lambda _context, _row: {},
    self_path=lambda row: f"/tabs/{row.id}",
    can_order=fixed("name", "sequence", "slug"),
    can_query=fixed("name", "sequence", "slug"),
    links=lambda context, row: {
        "field_definitions": f"{context.root}/tabs/{row.id}/field_definitions",
        "field_options": f"{context.root}/tabs/{row.id}/field_options",
    },
    can_include=("field_definitions", "field_options"),
)
"""Tab and FieldOption as documented by the vendor in 2025-03-20; never recorded."""
