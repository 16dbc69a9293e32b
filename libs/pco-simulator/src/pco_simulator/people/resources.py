"""What the resources of People look like: attributes, relationships, links and query lists, per version.

Shapes follow three recordings: 2018-08-01 (recorded in 2019), the vendor's documentation of mid-2025, and
2026-06-04 (recorded in 2026). Where they differ, the version decides; which of the versions between brought a
change is unconfirmed unless the vendor's change notes name it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.people import searches
from pco_simulator.rows import Row, Table, View, type_of_value

VERSIONS = (
    "2018-08-01",
    "2019-01-14",
    "2019-10-10",
    "2020-04-06",
    "2020-07-22",
    "2021-08-17",
    "2022-01-05",
    "2022-01-28",
    "2022-07-14",
    "2023-02-15",
    "2023-03-21",
    "2024-09-12",
    "2025-03-20",
    "2025-07-02",
    "2025-07-17",
    "2025-11-10",
    "2026-06-04",
)

ROOT = "/people/v2"
_HTML = "https://people.planningcenteronline.com/people/AC"
_PHOTOS = "https://people.planningcenteronline.com/static/no_photo_thumbnail_"

_FIRST_SHAPE_ENDS = "2020-07-22"
_GENDER_WORDS = "2022-07-14"
_STREET_LINES = "2023-03-21"
_GENDER_RELATIONSHIP = ("2025-03-20", "2025-11-10")
_INCLUDED_WHEN_FILLED = "2026-06-04"
_STAMPED_FIELD_DATA = "2026-06-04"

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


@dataclass(frozen=True, slots=True)
class Context:
    """What rendering depends on besides the row."""

    view: View
    version: str
    root: str
    """Where links start: `https://host/people/v2`."""
    fields: Mapping[str, frozenset[str]]
    organization_id: int
    behind: View | None = None
    """What `included` shows, where that lags behind the rest."""
    relationships_behind: bool = False
    """Whether the relationships that lead there lag with it."""

    @property
    def always_included(self) -> bool:
        """Whether `included` is there when it is empty: recorded as `[]` in 2019 and absent in 2026."""
        return self.version < _INCLUDED_WHEN_FILLED


Render = Callable[[Context, Row], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type."""

    type: str
    source: Source
    attributes: Render
    relationships: Render
    """Those that are there without `include`."""
    self_path: Callable[[Row], str]
    can_order: Callable[[str], tuple[str, ...]]
    """By version."""
    can_query: Callable[[str], tuple[str, ...]]
    links: Render = field(default=lambda _context, _row: {})
    """Of a single document, besides `self`."""
    listed_links: Render = field(default=lambda _context, _row: {})
    """Of a row in a collection or in `included`, besides `self`."""
    can_include: tuple[str, ...] = ()
    can_filter: tuple[str, ...] = ()
    only_with_fields: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    depends_on_others: bool = False
    """Whether what is rendered shows values of other rows (then a lagging view renders afresh)."""


def _ref(type_: str, id_: int | None) -> dict[str, Any]:
    return {"data": None if id_ is None else {"type": type_, "id": str(id_)}}


def _fixed(*names: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _version: names


# -- Person ----------------------------------------------------------------------------------------------------

_PERSON_KINDS: dict[str, type_of_value] = {
    "accounting_administrator": "boolean",
    "anniversary": "date",
    "birthdate": "date",
    "child": "boolean",
    "created_at": "date_time",
    "first_name": "string",
    "gender": "string",
    "given_name": "string",
    "grade": "integer",
    "graduation_year": "integer",
    "id": "primary_key",
    "inactivated_at": "date_time",
    "last_name": "string",
    "medical_notes": "string",
    "membership": "string",
    "mfa_configured": "boolean",
    "middle_name": "string",
    "nickname": "string",
    "people_permissions": "string",
    "primary_campus_id": "integer",
    "remote_id": "integer",
    "school_type": "string",
    "site_administrator": "boolean",
    "status": "string",
    "updated_at": "date_time",
}

_PERSON_ORDER = (
    "accounting_administrator", "anniversary", "birthdate", "child", "given_name", "grade",
    "graduation_year", "middle_name", "nickname", "people_permissions", "site_administrator", "gender",
    "inactivated_at", "created_at", "updated_at", "first_name", "last_name", "remote_id", "membership",
    "status",
)  # fmt: skip
_PERSON_QUERY = (
    "accounting_administrator", "anniversary", "birthdate", "child", "given_name", "grade",
    "graduation_year", "middle_name", "nickname", "people_permissions", "site_administrator", "gender",
    "inactivated_at", "medical_notes", "membership", "created_at", "updated_at", "search_name",
    "search_name_or_email", "search_name_or_email_or_phone_number", "search_phone_number",
    "search_phone_number_e164", "mfa_configured", "first_name", "last_name", "id", "primary_campus_id",
    "remote_id", "status",
)  # fmt: skip
_PERSON_ORDER_2018 = (
    "given_name", "first_name", "nickname", "middle_name", "last_name", "birthdate", "anniversary", "gender",
    "grade", "child", "school_type", "graduation_year", "site_administrator", "accounting_administrator",
    "people_permissions", "membership", "inactivated_at", "status", "created_at", "updated_at", "remote_id",
)  # fmt: skip
_PERSON_QUERY_2018 = (
    "given_name", "first_name", "nickname", "middle_name", "last_name", "birthdate", "anniversary", "gender",
    "grade", "child", "school_type", "graduation_year", "site_administrator", "accounting_administrator",
    "people_permissions", "membership", "inactivated_at", "status", "medical_notes", "created_at",
    "updated_at", "search_name", "search_name_or_email", "search_name_or_email_or_phone_number", "remote_id",
    "id",
)  # fmt: skip

PERSON_INCLUDES = (
    "addresses", "emails", "field_data", "households", "inactive_reason", "marital_status", "name_prefix",
    "name_suffix", "organization", "person_apps", "phone_numbers", "platform_notifications",
    "primary_campus", "school", "social_profiles",
)  # fmt: skip


def person_name(view: View, row: Row) -> str:
    """The display name: first and last name and the suffix (recorded "... Jr."); a prefix is not part of it
    (recorded in 2018)."""
    suffix = view.get("NameSuffix", row.attrs.get("name_suffix_id"))
    parts = (row.attrs.get("first_name"), row.attrs.get("last_name"), suffix and suffix.get("value"))
    return " ".join(part for part in parts if part)


def gender_for(version: str, gender: str | None) -> str | None:
    """`Male`/`Female`, before 2022-07-14 `M`/`F`."""
    return gender[0] if gender and version < _GENDER_WORDS else gender


def _avatar_url(row: Row) -> str | None:
    """The URL of an uploaded picture: its path has the person's id and the second they were created."""
    avatar: str | None = row.attrs.get("avatar")
    if avatar is None or not avatar.startswith("us3-"):
        return avatar
    created = int(datetime.fromisoformat(row.attrs["created_at"]).timestamp())
    return f"https://avatars.planningcenteronline.com/uploads/person/{row.id}-{created}/avatar.4.jpg"


_SHADOWS = {(False, "Male"): "man", (False, "Female"): "woman", (True, "Male"): "boy", (True, "Female"): "girl"}


def _person_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    avatar = _avatar_url(row)
    shadow = _SHADOWS.get((get("child", False), get("gender") or ""))
    attributes = {
        "accounting_administrator": get("accounting_administrator", False),
        "anniversary": get("anniversary"),
        "avatar": avatar or f"{_PHOTOS}gray.png",
        "birthdate": get("birthdate"),
        "child": get("child", False),
        "created_at": get("created_at"),
        "demographic_avatar_url": avatar or f"{_PHOTOS}{shadow + '_' if shadow else ''}gray.png",
        "first_name": get("first_name"),
        "gender": gender_for(context.version, get("gender")),
        "given_name": get("given_name"),
        "grade": get("grade"),
        "graduation_year": get("graduation_year"),
        "inactivated_at": get("inactivated_at"),
        "last_name": get("last_name"),
        "medical_notes": get("medical_notes"),
        "membership": get("membership"),
        "middle_name": get("middle_name"),
        "name": person_name(context.view, row),
        "nickname": get("nickname"),
        "passed_background_check": False,
        "people_permissions": get("people_permissions"),
        "remote_id": get("remote_id"),
        "school_type": get("school_type"),
        "site_administrator": get("site_administrator", False),
        "status": get("status", "active"),
        "updated_at": get("updated_at"),
    }
    if context.version < _FIRST_SHAPE_ENDS:
        return attributes
    staff = get("people_permissions") in ("Editor", "Manager")
    attributes["can_create_forms"] = staff
    attributes["can_email_lists"] = staff
    attributes["directory_status"] = "no_access"
    attributes["login_identifier"] = get("login_identifier")
    attributes["resource_permission_flags"] = {"can_access_workflows": staff}
    wanted = context.fields.get("Person")
    if wanted is not None:
        if "directory_shared_info" in wanted:
            attributes["directory_shared_info"] = {}
        if "mfa_configured" in wanted:
            attributes["mfa_configured"] = get("mfa_configured", False)
        if "stripe_customer_identifier" in wanted:
            attributes["stripe_customer_identifier"] = get("stripe_customer_identifier")
    return attributes


GENDER_IDS = {"Male": 1, "Female": 2}


def _person_relationships(context: Context, row: Row) -> dict[str, Any]:
    # The linkage says PrimaryCampus while the resource itself is a Campus (vendor documentation graph).
    found = {"primary_campus": _ref("PrimaryCampus", row.attrs.get("primary_campus_id"))}
    if _GENDER_RELATIONSHIP[0] <= context.version < _GENDER_RELATIONSHIP[1]:
        found["gender"] = _ref("Gender", GENDER_IDS.get(row.attrs.get("gender") or ""))
    return found


TO_ONE = {
    "inactive_reason": ("InactiveReason", "inactive_reasons"),
    "marital_status": ("MaritalStatus", "marital_statuses"),
    "name_prefix": ("NamePrefix", "name_prefixes"),
    "name_suffix": ("NameSuffix", "name_suffixes"),
    "primary_campus": ("Campus", "campuses"),
    "school": ("SchoolOption", "school_options"),
}
"""Relationships of a person to one reference record: type and collection. Stored as `<name>_id`."""

TO_MANY = frozenset(
    {
        "addresses", "emails", "field_data", "household_memberships", "households", "people", "person_apps",
        "phone_numbers", "platform_notifications", "social_profiles",
    }
)  # fmt: skip
"""Relationships to several records."""

_PERSON_LINKS_2018 = (
    "addresses", "apps", "connected_people", "emails", "field_data", "household_memberships", "households",
    "message_groups", "messages", "notes", "organization", "person_apps", "phone_numbers",
    "platform_notifications", "social_profiles", "workflow_cards",
)  # fmt: skip
_PERSON_LINKS = (
    *_PERSON_LINKS_2018, "background_checks", "workflow_assignee_workflow_summaries", "workflow_shares",
)  # fmt: skip


def _person_links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/people/{row.id}"
    first = context.version < _FIRST_SHAPE_ENDS
    links: dict[str, Any] = {"": f"{url}/"} if first else {"html": f"{_HTML}{row.id}"}
    links.update({name: f"{url}/{name}" for name in (_PERSON_LINKS_2018 if first else _PERSON_LINKS)})
    for name, (_, collection) in TO_ONE.items():
        id_ = row.attrs.get(f"{name}_id")
        links[name] = None if id_ is None else f"{context.root}/{collection}/{id_}"
    return dict(sorted(links.items()))


def _person_listed_links(context: Context, row: Row) -> dict[str, Any]:
    return {} if context.version < _FIRST_SHAPE_ENDS else {"html": f"{_HTML}{row.id}"}


PERSON = Kind(
    type="Person",
    source=Source("Person", _PERSON_KINDS, searches=searches.SEARCHES),
    attributes=_person_attributes,
    relationships=_person_relationships,
    self_path=lambda row: f"/people/{row.id}",
    can_order=lambda version: _PERSON_ORDER_2018 if version < _FIRST_SHAPE_ENDS else _PERSON_ORDER,
    can_query=lambda version: _PERSON_QUERY_2018 if version < _FIRST_SHAPE_ENDS else _PERSON_QUERY,
    links=_person_links,
    listed_links=_person_listed_links,
    can_include=PERSON_INCLUDES,
    can_filter=("created_since", "admins", "organization_admins"),
    only_with_fields=frozenset({"directory_shared_info", "mfa_configured", "stripe_customer_identifier"}),
    exact=("remote_id",),
)

# -- contacts --------------------------------------------------------------------------------------------------


def person_ref(_context: Context, row: Row) -> dict[str, Any]:
    """The person a contact or membership belongs to."""
    return {"person": _ref("Person", row.attrs["person_id"])}


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
    if context.version < _FIRST_SHAPE_ENDS:
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
    can_order=_fixed("address", "location", "primary", "created_at", "updated_at"),
    # Whether the first version has the two times is unconfirmed; it has no `blocked`.
    can_query=lambda version: _EMAIL_QUERY[:-1] if version < _FIRST_SHAPE_ENDS else _EMAIL_QUERY,
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
    if context.version < _FIRST_SHAPE_ENDS:
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
    can_order=_fixed("number", "carrier", "location", "primary", "created_at", "updated_at"),
    can_query=_fixed("number", "carrier", "location", "primary", "created_at", "updated_at"),
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
    if context.version < _FIRST_SHAPE_ENDS:
        del attributes["country_code"], attributes["country_name"]
    return attributes


def _address_fields(*names: str) -> Callable[[str], tuple[str, ...]]:
    """`names` begin with city, state, zip and country; the first version is as recorded in 2018."""
    lines, one = (*names, "street_line_1", "street_line_2"), (*names, "street")
    first = (*names[:3], "street", *names[4:])
    return lambda version: lines if version >= _STREET_LINES else one if version >= _FIRST_SHAPE_ENDS else first


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
        {} if context.version < _FIRST_SHAPE_ENDS else {"country": f"{context.root}/addresses/{row.id}/country"}
    ),
    parents=("person_id",),
)

# -- households ------------------------------------------------------------------------------------------------


def members(view: View, household: Row) -> list[Row]:
    """The people of a household in the order they joined."""
    rows = view.children("HouseholdMembership", "household_id", household.id)
    return [person for row in rows if (person := view.get("Person", row.attrs["person_id"])) is not None]


def households_of(view: View, person: Row) -> list[Row]:
    """The households of a person in the order they were joined."""
    rows = view.children("HouseholdMembership", "person_id", person.id)
    return [found for row in rows if (found := view.get("Household", row.attrs["household_id"])) is not None]


def contact_name(view: View, household: Row) -> str | None:
    """Of the primary contact; of the last one where there is none any more: a household left empty was seen with
    `primary_contact_id` null and still a name (planningcenter/developers#1258)."""
    id_ = household.attrs.get("primary_contact_id")
    person = view.get("Person", id_)
    if person is not None:
        return person_name(view, person)
    return household.attrs.get("last_contact_name") if id_ is None else None


def _household_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    contact = get("primary_contact_id")
    return {
        "avatar": get("avatar"),
        "created_at": get("created_at"),
        "member_count": len(members(context.view, row)),
        "name": get("name"),
        "primary_contact_id": None if contact is None else str(contact),
        "primary_contact_name": contact_name(context.view, row),
        "updated_at": get("updated_at"),
    }


def _household_relationships(context: Context, row: Row) -> dict[str, Any]:
    people = [{"type": "Person", "id": str(person.id)} for person in members(context.view, row)]
    return {
        "primary_contact": _ref("Person", row.attrs.get("primary_contact_id")),
        "people": {"data": people},
    }


def _household_links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/households/{row.id}"
    return {"household_memberships": f"{url}/household_memberships", "people": f"{url}/people"}


HOUSEHOLD = Kind(
    type="Household",
    source=Source(
        "Household",
        {
            "created_at": "date_time",
            "member_count": "integer",
            "name": "string",
            "primary_contact_name": "string",
            "updated_at": "date_time",
        },
        derived={
            "member_count": lambda view, row: len(members(view, row)),
            "primary_contact_name": contact_name,
        },
    ),
    attributes=_household_attributes,
    relationships=_household_relationships,
    self_path=lambda row: f"/households/{row.id}",
    can_order=_fixed("name", "member_count", "primary_contact_name", "created_at", "updated_at"),
    can_query=_fixed("name", "member_count", "primary_contact_name", "created_at", "updated_at"),
    links=_household_links,
    can_include=("people",),
    parents=("primary_contact_id",),
    depends_on_others=True,
)


def _member_name(view: View, row: Row) -> str | None:
    person = view.get("Person", row.attrs["person_id"])
    return None if person is None else person_name(view, person)


def _membership_attributes(context: Context, row: Row) -> dict[str, Any]:
    attributes = {
        "pending": row.attrs.get("pending", False),
        "person_name": _member_name(context.view, row),
    }
    role = row.attrs.get("household_role")
    return attributes if role is None else {"household_role": role, **attributes}


def _membership_path(row: Row) -> str:
    return f"/households/{row.attrs['household_id']}/household_memberships/{row.id}"


def _membership_links(context: Context, row: Row) -> dict[str, Any]:
    return {
        "household": f"{context.root}/households/{row.attrs['household_id']}",
        "person": f"{context.root}/people/{row.attrs['person_id']}",
    }


HOUSEHOLD_MEMBERSHIP = Kind(
    type="HouseholdMembership",
    source=Source(
        "HouseholdMembership",
        {"pending": "boolean", "person_name": "string"},
        derived={"person_name": _member_name},
    ),
    attributes=_membership_attributes,
    relationships=person_ref,
    self_path=_membership_path,
    can_order=_fixed("person_name", "pending"),
    can_query=_fixed("person_name", "pending"),
    links=_membership_links,
    can_include=("household", "person"),
    parents=("household_id", "person_id"),
    depends_on_others=True,
)

# -- custom fields ---------------------------------------------------------------------------------------------

_DATUM_ORDER = ("value", "file", "file_size", "file_content_type", "file_name")


def _datum_names(*more: str) -> Callable[[str], tuple[str, ...]]:
    stamps = ("created_at", "updated_at")
    return lambda version: (*_DATUM_ORDER, *(stamps if version >= _STAMPED_FIELD_DATA else ()), *more)


def _datum_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    attributes = {
        # No file field is simulated; that versions before the recorded 2026-06-04 write the same is unconfirmed.
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
        "field_definition": _ref("FieldDefinition", row.attrs["field_definition_id"]),
        "customizable": _ref("Person", row.attrs["person_id"]),
    },
    self_path=lambda row: f"/field_data/{row.id}",
    can_order=_datum_names(),
    can_query=_datum_names("field_definition_id"),
    links=_datum_links,
    can_include=("field_definition", "field_option", "tab"),
    parents=("person_id",),
)

_DEFINITION_FIELDS = ("data_type", "name", "sequence", "slug", "config", "deleted_at", "tab_id")


def _stored(*names: str) -> Render:
    return lambda _context, row: {name: row.attrs.get(name) for name in names}


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
    attributes=_stored(*_DEFINITION_FIELDS),
    relationships=lambda _context, row: {"tab": _ref("Tab", row.attrs["tab_id"])},
    self_path=lambda row: f"/field_definitions/{row.id}",
    can_order=_fixed(*_DEFINITION_FIELDS),
    can_query=_fixed(*_DEFINITION_FIELDS),
    links=lambda context, row: {
        "field_options": f"{context.root}/field_definitions/{row.id}/field_options",
        "tab": f"{context.root}/field_definitions/{row.id}/tab",
    },
    can_include=("field_options", "tab"),
    can_filter=("include_deleted",),
    parents=("tab_id",),
)

FIELD_OPTION = Kind(
    type="FieldOption",
    source=Source("FieldOption", {"sequence": "integer", "value": "string"}),
    attributes=_stored("sequence", "value"),
    relationships=lambda _context, row: {
        "field_definition": _ref("FieldDefinition", row.attrs["field_definition_id"]),
    },
    self_path=lambda row: f"/field_definitions/{row.attrs['field_definition_id']}/field_options/{row.id}",
    can_order=_fixed("sequence", "value"),
    can_query=_fixed("sequence", "value"),
    parents=("field_definition_id",),
)

TAB = Kind(
    type="Tab",
    source=Source("Tab", {"name": "string", "sequence": "integer", "slug": "string"}),
    attributes=_stored("name", "sequence", "slug"),
    relationships=lambda _context, _row: {},
    self_path=lambda row: f"/tabs/{row.id}",
    can_order=_fixed("name", "sequence", "slug"),
    can_query=_fixed("name", "sequence", "slug"),
    links=lambda context, row: {
        "field_definitions": f"{context.root}/tabs/{row.id}/field_definitions",
        "field_options": f"{context.root}/tabs/{row.id}/field_options",
    },
    can_include=("field_definitions", "field_options"),
)
"""Tab and FieldOption as the vendor documents them in 2025-03-20; never recorded."""

# -- mergers and reference records -----------------------------------------------------------------------------


def _merger_attributes(_context: Context, row: Row) -> dict[str, Any]:
    return {
        "created_at": row.attrs["created_at"],
        "person_to_keep_id": str(row.attrs["person_to_keep_id"]),
        "person_to_remove_id": str(row.attrs["person_to_remove_id"]),
    }


def _merger_relationships(_context: Context, row: Row) -> dict[str, Any]:
    return {
        "person_to_keep": _ref("Person", row.attrs["person_to_keep_id"]),
        "person_to_remove": _ref("Person", row.attrs["person_to_remove_id"]),
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
    can_order=_fixed("created_at"),
    can_query=_fixed("created_at", "person_to_keep_id", "person_to_remove_id"),
    exact=("person_to_keep_id", "person_to_remove_id"),
)


def _nothing(_context: Context, _row: Row) -> dict[str, Any]:
    return {}


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
        relationships=_nothing,
        self_path=lambda row: f"/{collection}/{row.id}",
        can_order=_fixed(*order),
        can_query=_fixed(*query),
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
"""Collections that are read only here, apart from `field_data`; `school_options` is always empty."""

NOTHING = Kind(
    type="Nothing",
    source=Source("Nothing", {}),
    attributes=_nothing,
    relationships=_nothing,
    self_path=lambda row: f"/{row.id}",
    can_order=_fixed(),
    can_query=_fixed(),
)
"""Of collections whose records are outside this simulator: they exist and are empty."""

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


# -- Organization ----------------------------------------------------------------------------------------------

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
    if context.version < _FIRST_SHAPE_ENDS:
        for name in ("avatar_url", "church_center_subdomain", "contact_website", "created_at"):
            del attributes[name]
    return attributes


ORGANIZATION = Kind(
    type="Organization",
    source=Source("Organization", {}),
    attributes=_organization_attributes,
    relationships=_nothing,
    self_path=lambda _row: "",
    can_order=_fixed(),
    can_query=_fixed(),
    links=lambda context, _row: {name: f"{context.root}/{name}" for name in _ORGANIZATION_LINKS},
)


KINDS: dict[str, Kind] = {
    kind.type: kind
    for kind in (
        PERSON,
        EMAIL,
        PHONE_NUMBER,
        ADDRESS,
        HOUSEHOLD,
        HOUSEHOLD_MEMBERSHIP,
        PERSON_MERGER,
        *REFERENCES.values(),
        FIELD_OPTION,
        NOTHING,
        ORGANIZATION,
    )
}
"""Everything that has a table."""

COLLECTIONS: dict[str, Kind] = {
    "people": PERSON,
    "emails": EMAIL,
    "phone_numbers": PHONE_NUMBER,
    "addresses": ADDRESS,
    "households": HOUSEHOLD,
    "person_mergers": PERSON_MERGER,
    **REFERENCES,
    **dict.fromkeys(EMPTY_OF_ORGANIZATION, NOTHING),
}
"""Top-level collections; `household_memberships` is none (recorded 404)."""

CONTACTS: dict[str, Kind] = {"emails": EMAIL, "phone_numbers": PHONE_NUMBER, "addresses": ADDRESS}


def new_tables() -> dict[str, Table]:
    """Empty tables for a church."""
    return {
        type_: Table(type_, kind.source.kinds, parents=kind.parents, exact=kind.exact) for type_, kind in KINDS.items()
    }
