"""Emails, phone numbers and addresses."""

from collections.abc import Callable
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, ref
from pco_simulator.people.kind import FIRST_SHAPE_ENDS
from pco_simulator.rows import Row

_STREET_LINES = "2023-03-21"

COUNTRIES = {
    "AU": "Australia",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "DE": "Germany",
    "ES": "Spain",
    "FR": "France",
    "GB": "United Kingdom",
    "GH": "Ghana",
    "IE": "Ireland",
    "IN": "India",
    "KE": "Kenya",
    "KR": "South Korea",
    "MX": "Mexico",
    "NG": "Nigeria",
    "NL": "Netherlands",
    "NZ": "New Zealand",
    "PH": "Philippines",
    "PR": "Puerto Rico",
    "SE": "Sweden",
    "SG": "Singapore",
    "US": "United States",
    "ZA": "South Africa",
}


def person_ref(_context: Context, row: Row) -> dict[str, Any]:
    """The person a contact or membership belongs to."""
    return {"person": ref("Person", row.attrs["person_id"])}


def _email_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        "address": get("address"),
        "blocked": get("blocked", False),
        "created_at": get("created_at"),
        "location": get("location"),
        "primary": get("primary", False),
        "updated_at": get("updated_at"),
    }
    if context.version < FIRST_SHAPE_ENDS:
        del attributes["blocked"]
    return attributes


_EMAIL_QUERY = ("address", "location", "primary", "created_at", "updated_at", "blocked")

EMAIL = Kind(
    type="Email",
    source=Source(
        "Email",
        {
            "address": "string",
            "blocked": "boolean",
            "created_at": "date_time",
            "location": "string",
            "primary": "boolean",
            "updated_at": "date_time",
        },
    ),
    attributes=_email_attributes,
    relationships=person_ref,
    self_path=lambda row: f"/emails/{row.id}",
    can_order=fixed("address", "location", "primary", "created_at", "updated_at"),
    # The first version has no `blocked`; its two timestamps are unconfirmed.
    can_query=lambda version: _EMAIL_QUERY[:-1] if version < FIRST_SHAPE_ENDS else _EMAIL_QUERY,
    links=lambda context, row: {"person": f"{context.root}/people/{row.attrs['person_id']}"},
    parents=("person_id",),
    exact=("address",),
)


def _phone_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        "carrier": get("carrier"),
        "country_code": get("country_code"),
        "created_at": get("created_at"),
        "e164": get("e164"),
        "international": get("international"),
        "location": get("location"),
        "national": get("national"),
        "number": get("number"),
        "primary": get("primary", False),
        "updated_at": get("updated_at"),
    }
    if "formatted_number" in context.fields.get("PhoneNumber", ()):
        attributes["formatted_number"] = get("national") or get("number")
    if context.version < FIRST_SHAPE_ENDS:
        for name in ("country_code", "e164", "international", "national"):
            del attributes[name]
    return attributes


PHONE_NUMBER = Kind(
    type="PhoneNumber",
    source=Source(
        "PhoneNumber",
        {
            "carrier": "string",
            "created_at": "date_time",
            "location": "string",
            "number": "string",
            "primary": "boolean",
            "updated_at": "date_time",
        },
    ),
    attributes=_phone_attributes,
    relationships=person_ref,
    self_path=lambda row: f"/phone_numbers/{row.id}",
    can_order=fixed("number", "carrier", "location", "primary", "created_at", "updated_at"),
    can_query=fixed("number", "carrier", "location", "primary", "created_at", "updated_at"),
    only_with_fields=frozenset({"formatted_number"}),
    parents=("person_id",),
)


def street(row: Row) -> str | None:
    """The one street field of versions before 2023-03-21."""
    lines = [line for line in (row.attrs.get("street_line_1"), row.attrs.get("street_line_2")) if line]
    return "\n".join(lines) or None


def _address_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        "city": get("city"),
        "country_code": get("country_code"),
        "country_name": COUNTRIES.get(get("country_code", "")),
        "created_at": get("created_at"),
        "location": get("location"),
        "primary": get("primary", False),
        "state": get("state"),
        "street_line_1": get("street_line_1"),
        "street_line_2": get("street_line_2"),
        "updated_at": get("updated_at"),
        "zip": get("zip"),
    }
    if context.version < _STREET_LINES:
        del attributes["street_line_1"], attributes["street_line_2"]
        attributes["street"] = street(row)
    if context.version < FIRST_SHAPE_ENDS:
        del attributes["country_code"], attributes["country_name"]
    return attributes


def _address_fields(*names: str) -> Callable[[str], tuple[str, ...]]:
    """`names` begin with city, state, zip and country; the first version is as recorded in 2018."""
    lines, one = (*names, "street_line_1", "street_line_2"), (*names, "street")
    first = (*names[:3], "street", *names[4:])
    return lambda version: lines if version >= _STREET_LINES else one if version >= FIRST_SHAPE_ENDS else first


def has_street_lines(version: str) -> bool:
    """Whether addresses have `street_line_1` and `street_line_2` rather than `street`."""
    return version >= _STREET_LINES


ADDRESS = Kind(
    type="Address",
    source=Source(
        "Address",
        {
            "city": "string",
            "country_code": "string",
            "created_at": "date_time",
            "location": "string",
            "primary": "boolean",
            "state": "string",
            "street": "string",
            "street_line_1": "string",
            "street_line_2": "string",
            "updated_at": "date_time",
            "zip": "string",
        },
        derived={"street": lambda _view, row: street(row)},
    ),
    attributes=_address_attributes,
    relationships=person_ref,
    self_path=lambda row: f"/addresses/{row.id}",
    can_order=_address_fields(
        "city", "state", "zip", "country_code", "location", "primary", "created_at", "updated_at"
    ),
    # No created_at and updated_at: the vendor ignores such filters on addresses.
    can_query=_address_fields("city", "state", "zip", "country_code", "location", "primary"),
    links=lambda context, row: (
        {} if context.version < FIRST_SHAPE_ENDS else {"country": f"{context.root}/addresses/{row.id}/country"}
    ),
    parents=("person_id",),
)
