"""People: `/people/v2/people`."""

from datetime import datetime
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, ref
from pco_simulator.people import searches
from pco_simulator.people.kind import FIRST_SHAPE_ENDS
from pco_simulator.rows import Row, View, type_of_value

_HTML = "https://people.planningcenteronline.com/people/AC"
_PHOTOS = "https://people.planningcenteronline.com/static/no_photo_thumbnail_"
_GENDER_WORDS = "2022-07-14"
_GENDER_RELATIONSHIP = ("2025-03-20", "2025-11-10")


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
    """The gender as `Male`/`Female`, before 2022-07-14 as `M`/`F`."""
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
    if context.version < FIRST_SHAPE_ENDS:
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
    found = {"primary_campus": ref("PrimaryCampus", row.attrs.get("primary_campus_id"))}
    if _GENDER_RELATIONSHIP[0] <= context.version < _GENDER_RELATIONSHIP[1]:
        found["gender"] = ref("Gender", GENDER_IDS.get(row.attrs.get("gender") or ""))
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
    first = context.version < FIRST_SHAPE_ENDS
    links: dict[str, Any] = {"": f"{url}/"} if first else {"html": f"{_HTML}{row.id}"}
    links.update({name: f"{url}/{name}" for name in (_PERSON_LINKS_2018 if first else _PERSON_LINKS)})
    for name, (_, collection) in TO_ONE.items():
        id_ = row.attrs.get(f"{name}_id")
        links[name] = None if id_ is None else f"{context.root}/{collection}/{id_}"
    return dict(sorted(links.items()))


def _person_listed_links(context: Context, row: Row) -> dict[str, Any]:
    return {} if context.version < FIRST_SHAPE_ENDS else {"html": f"{_HTML}{row.id}"}


PERSON = Kind(
    type="Person",
    source=Source("Person", _PERSON_KINDS, searches=searches.SEARCHES),
    attributes=_person_attributes,
    relationships=_person_relationships,
    self_path=lambda row: f"/people/{row.id}",
    can_order=lambda version: _PERSON_ORDER_2018 if version < FIRST_SHAPE_ENDS else _PERSON_ORDER,
    can_query=lambda version: _PERSON_QUERY_2018 if version < FIRST_SHAPE_ENDS else _PERSON_QUERY,
    links=_person_links,
    listed_links=_person_listed_links,
    can_include=PERSON_INCLUDES,
    can_filter=("created_since", "admins", "organization_admins"),
    only_with_fields=frozenset({"directory_shared_info", "mfa_configured", "stripe_customer_identifier"}),
    extended=frozenset({"primary_campus"}),
    exact=("remote_id",),
)
