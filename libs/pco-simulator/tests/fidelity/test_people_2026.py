"""Facts that a public mirror of People recorded in 2026 at version 2026-06-04: `meta` and `links` of each answer. The
recordings themselves are not in this repository."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.state import open_world

URL = "https://api.planningcenteronline.com/people/v2"

META: dict[str, dict[str, str]] = {
    "people": {
        "can_order_by": "accounting_administrator anniversary birthdate child given_name grade graduation_year"
        " middle_name nickname people_permissions site_administrator gender inactivated_at created_at updated_at"
        " first_name last_name remote_id membership status",
        "can_query_by": "accounting_administrator anniversary birthdate child given_name grade graduation_year"
        " middle_name nickname people_permissions site_administrator gender inactivated_at medical_notes membership"
        " created_at updated_at search_name search_name_or_email search_name_or_email_or_phone_number"
        " search_phone_number search_phone_number_e164 mfa_configured first_name last_name id primary_campus_id"
        " remote_id status",
        "can_include": "addresses emails field_data households inactive_reason marital_status name_prefix name_suffix"
        " organization person_apps phone_numbers platform_notifications primary_campus school social_profiles",
        "can_filter": "created_since admins organization_admins",
    },
    "emails": {
        "can_order_by": "address location primary created_at updated_at",
        "can_query_by": "address location primary created_at updated_at blocked",
    },
    "phone_numbers": {
        "can_order_by": "number carrier location primary created_at updated_at",
        "can_query_by": "number carrier location primary created_at updated_at",
    },
    "addresses": {
        "can_order_by": "city state zip country_code location primary created_at updated_at street_line_1"
        " street_line_2",
        "can_query_by": "city state zip country_code location primary street_line_1 street_line_2",
    },
    "households": {
        "can_order_by": "name member_count primary_contact_name created_at updated_at",
        "can_query_by": "name member_count primary_contact_name created_at updated_at",
        "can_include": "people",
    },
    "field_data": {
        "can_order_by": "value file file_size file_content_type file_name created_at updated_at",
        "can_query_by": "value file file_size file_content_type file_name created_at updated_at field_definition_id",
        "can_include": "field_definition field_option tab",
    },
    "field_definitions": {
        "can_order_by": "data_type name sequence slug config deleted_at tab_id",
        "can_query_by": "data_type name sequence slug config deleted_at tab_id",
        "can_include": "field_options tab",
        "can_filter": "include_deleted",
    },
    "campuses": {
        "can_order_by": "name created_at updated_at",
        "can_query_by": "created_at updated_at id",
        "can_include": "lists service_times",
    },
    "marital_statuses": {"can_order_by": "value sequence", "can_query_by": "value"},
}

PERSON_ATTRIBUTES = (
    "accounting_administrator anniversary avatar birthdate can_create_forms can_email_lists child created_at"
    " demographic_avatar_url directory_status first_name gender given_name grade graduation_year inactivated_at"
    " last_name login_identifier medical_notes membership middle_name name nickname passed_background_check"
    " people_permissions remote_id resource_permission_flags school_type site_administrator status updated_at"
)
ATTRIBUTES: dict[str, str] = {
    "people": PERSON_ATTRIBUTES,
    "emails": "address blocked created_at location primary updated_at",
    "phone_numbers": "carrier country_code created_at e164 international location national number primary updated_at",
    "addresses": "city country_code country_name created_at location primary state street_line_1 street_line_2"
    " updated_at zip",
    "households": "avatar created_at member_count name primary_contact_id primary_contact_name updated_at",
    "field_data": "created_at file file_content_type file_name file_size updated_at value",
    "field_definitions": "config data_type deleted_at name sequence slug tab_id",
    "marital_statuses": "value",
}
RELATIONSHIPS: dict[str, str] = {
    "people": "primary_campus",
    "emails": "person",
    "phone_numbers": "person",
    "addresses": "person",
    "households": "people primary_contact",
    "field_data": "customizable field_definition",
    "field_definitions": "tab",
    "marital_statuses": "",
}
SINGLE_LINKS: dict[str, str] = {
    "people": "addresses apps background_checks connected_people emails field_data household_memberships households"
    " html inactive_reason marital_status message_groups messages name_prefix name_suffix notes organization"
    " person_apps phone_numbers platform_notifications primary_campus school self social_profiles"
    " workflow_assignee_workflow_summaries workflow_cards workflow_shares",
    "emails": "person self",
    "phone_numbers": "self",
    "addresses": "country self",
    "households": "household_memberships people self",
    "field_data": "field_definition field_option person self tab",
    "marital_statuses": "self",
}


@pytest.fixture(scope="module")
def api() -> Direct:
    world = open_world(None, people=100, seed=3, clock=SetClock(datetime(2026, 6, 4, tzinfo=UTC)))
    return Direct(world, world.logins[0].organization_id, world.logins[0].person_id)


def words(value: Any) -> str:
    return " ".join(value)


@pytest.mark.parametrize("name", META)
def test_meta_of_a_list(api: Direct, name: str) -> None:
    body = api.get(f"/people/v2/{name}?per_page=100000").body
    shown = {key: words(value) for key, value in body["meta"].items() if key.startswith("can_")}
    assert shown == META[name]
    assert body["meta"]["parent"] == {"id": api.organization_id, "type": "Organization"}
    assert body["links"]["self"] == f"{URL}/{name}?per_page=100000"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_row_of_a_list(api: Direct, name: str) -> None:
    row = api.get(f"/people/v2/{name}").data[0]
    assert words(row["attributes"]) == ATTRIBUTES[name]
    assert words(sorted(row.get("relationships", {}))) == RELATIONSHIPS[name]
    assert ("relationships" in row) is bool(RELATIONSHIPS[name])
    assert words(sorted(row["links"])) == ("html self" if name == "people" else "self")
    assert row["links"]["self"] == f"{URL}/{name}/{row['id']}"


@pytest.mark.parametrize("name", SINGLE_LINKS)
def test_a_single_record(api: Direct, name: str) -> None:
    listed = api.get(f"/people/v2/{name}").data[0]
    body = api.get(f"/people/v2/{name}/{listed['id']}").body
    assert words(sorted(body["data"]["links"])) == SINGLE_LINKS[name]
    assert body["data"]["attributes"] == listed["attributes"]
    include = META[name].get("can_include")
    wanted = {"parent": {"id": api.organization_id, "type": "Organization"}}
    assert body["meta"] == ({"can_include": include.split(), **wanted} if include else wanted)
    assert set(body) == {"data", "meta"}


def test_people_of_a_household_have_filters_of_their_own(api: Direct) -> None:
    household = api.get("/people/v2/households").data[0]
    url = f"/people/v2/households/{household['id']}/people"
    meta = api.get(url).body["meta"]
    assert meta["can_filter"] == ["without_deceased", "non_pending"]
    assert meta["parent"] == {"id": household["id"], "type": "Household"}
    ids = [one["id"] for one in household["relationships"]["people"]["data"]]
    assert api.get(url).ids == sorted(ids, key=int)
    (deceased,) = (
        row["id"] for row in api.get("/people/v2/inactive_reasons").data if row["attributes"]["value"] == "Deceased"
    )
    api.patch(f"/people/v2/people/{ids[0]}", {}, inactive_reason=("InactiveReason", deceased))
    assert set(api.get(f"{url}?filter=without_deceased,non_pending").ids) == set(ids[1:])
    api.patch(f"/people/v2/people/{ids[0]}", {}, inactive_reason=None)
