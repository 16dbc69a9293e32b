"""Custom fields: tabs, definitions, options and people's values, in the shapes recorded in 2026."""

from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human

PEOPLE = "/people/v2/people"
URL = "https://api.planningcenteronline.com/people/v2"


@pytest.fixture
def fields(api: Direct) -> dict[str, str]:
    """Ids of the definitions by slug."""
    return {row["attributes"]["slug"]: row["id"] for row in api.get("/people/v2/field_definitions").data}


def give(api: Direct, person_id: str, definition: str, value: Any) -> Any:
    url = f"{PEOPLE}/{person_id}/field_data"
    answer = api.post(url, {"field_definition_id": definition, "value": value})
    assert answer.status == 201
    return answer.data


def test_a_value_is_given_shown_changed_and_taken(
    api: Direct, person_id: str, fields: dict[str, str], clock: SetClock
) -> None:
    definition = fields["emergency_contact"]
    given = give(api, person_id, definition, "Uncle Bob")
    assert given["type"] == "FieldDatum"
    assert given["attributes"] == {
        "created_at": "2026-03-01T12:00:00Z",
        "file": {"url": None},
        "file_content_type": None,
        "file_name": None,
        "file_size": None,
        "updated_at": "2026-03-01T12:00:00Z",
        "value": "Uncle Bob",
    }
    assert given["relationships"] == {
        "customizable": {"data": {"type": "Person", "id": person_id}},
        "field_definition": {"data": {"type": "FieldDefinition", "id": definition}},
    }
    url = f"{URL}/field_data/{given['id']}"
    assert given["links"] == {
        "field_definition": f"{URL}/field_definitions/{definition}",
        "field_option": None,
        "person": f"{URL}/people/{person_id}",
        "self": url,
        "tab": f"{url}/tab",
    }
    clock.advance(60)
    changed = api.patch(url, {"value": "Aunt May"}).data["attributes"]
    assert (changed["value"], changed["updated_at"]) == ("Aunt May", "2026-03-01T12:01:00Z")
    assert api.get(f"{PEOPLE}/{person_id}/field_data").data[0]["attributes"] == changed
    assert api.get(f"{url}/person").data["id"] == person_id
    assert api.get(f"{url}/field_definition").data["id"] == definition
    assert api.get(f"{url}/tab").data["attributes"]["slug"] == "custom_fields"
    assert api.get(f"{url}/field_option").status == 404
    assert api.delete(f"{PEOPLE}/{person_id}/field_data/{given['id']}").status == 204
    assert api.get(url).status == 404


def test_the_same_field_twice_is_two_values(api: Direct, person_id: str, fields: dict[str, str]) -> None:
    for _ in range(2):
        give(api, person_id, fields["emergency_contact"], "Aunt Ruth")
    listed = api.get(f"{PEOPLE}/{person_id}/field_data")
    assert listed.body["meta"] == {
        "total_count": 2,
        "count": 2,
        "can_order_by": [
            "value", "file", "file_size", "file_content_type", "file_name", "created_at", "updated_at",
        ],
        "can_query_by": [
            "value", "file", "file_size", "file_content_type", "file_name", "created_at", "updated_at",
            "field_definition_id",
        ],
        "can_include": ["field_definition", "field_option", "tab"],
        "parent": {"id": person_id, "type": "Person"},
    }  # fmt: skip
    assert "links" not in listed.data[0]["relationships"]["field_definition"]
    api.version = "2025-11-10"
    older = api.get(f"{PEOPLE}/{person_id}/field_data")
    assert "updated_at" not in older.data[0]["attributes"]
    assert "updated_at" not in older.body["meta"]["can_query_by"]


def test_checkboxes_gain_an_option_and_a_select_does_not(api: Direct, person_id: str, fields: dict[str, str]) -> None:
    options = f"/people/v2/field_definitions/{fields['serves_in']}/field_options"
    before = [row["attributes"]["value"] for row in api.get(options).data]
    given = give(api, person_id, fields["serves_in"], "Parking")
    option = api.get(f"/people/v2/field_data/{given['id']}/field_option").data
    assert option["attributes"] == {"sequence": len(before) + 1, "value": "Parking"}
    assert [row["attributes"]["value"] for row in api.get(options).data] == [*before, "Parking"]
    assert api.get(f"{options}/{option['id']}").data == option
    assert (
        api.get(option["links"]["self"]).data["relationships"]["field_definition"]["data"]["id"] == fields["serves_in"]
    )
    select = api.post(f"{PEOPLE}/{person_id}/field_data", {"field_definition_id": fields["congregation"], "value": "X"})
    assert (select.status, select.error["source"]) == (422, {"parameter": "value"})
    assert give(api, person_id, fields["baptized"], True)["attributes"]["value"] == "true"


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        ({"value": "x"}, "can't be blank"),
        ({"value": "x", "field_definition_id": 99}, "field_definition_id 99 could not be found"),
        ({"value": "x", "person_id": 1}, "person_id cannot be assigned"),
    ],
)
def test_invalid_values_are_refused(api: Direct, person_id: str, attributes: dict[str, Any], detail: str) -> None:
    answer = api.post(f"{PEOPLE}/{person_id}/field_data", attributes)
    assert (answer.status, answer.error["detail"]) == (422, detail)


def test_deleted_definitions_are_listed_on_demand(api: Direct, fields: dict[str, str]) -> None:
    assert "envelope_number" not in fields
    listed = api.get("/people/v2/field_definitions?filter=include_deleted&order=-sequence")
    first = listed.data[0]
    tab = first["relationships"]["tab"]["data"]
    assert first["attributes"] == {
        "config": None,
        "data_type": "string",
        "deleted_at": "2024-01-15T16:00:00Z",
        "name": "Envelope number",
        "sequence": 6,
        "slug": "envelope_number",
        "tab_id": int(tab["id"]),
    }
    assert len(listed.data) == len(fields) + 1
    assert api.get(f"/people/v2/field_definitions/{first['id']}").status == 200
    under = f"/people/v2/tabs/{tab['id']}/field_definitions"
    assert set(api.get(under).ids) == set(fields.values())
    assert set(api.get(f"{under}?filter=with_deleted").ids) == {*fields.values(), first["id"]}
    assert len(api.get(f"/people/v2/tabs/{tab['id']}/field_options").data) == 6


def test_values_by_definition(api: Direct, fields: dict[str, str]) -> None:
    found = api.get(f"/people/v2/field_data?where[field_definition_id]={fields['baptized']}&per_page=100").data
    assert 0 < len(found) < len(api.get("/people/v2/field_data?per_page=100").data)
    assert {row["relationships"]["field_definition"]["data"]["id"] for row in found} == {fields["baptized"]}


def test_definitions_are_included_after_the_values(api: Direct, person_id: str, fields: dict[str, str]) -> None:
    wanted = [fields["baptized"], fields["first_visit"]]
    data = [give(api, person_id, definition, "true")["id"] for definition in wanted]
    query = f"where[id]={person_id}&include=field_data.field_definition&fields[FieldDefinition]=name"
    body = api.get(f"{PEOPLE}?{query}").body
    (person,) = body["data"]
    assert person["relationships"]["field_definition"] == {
        "links": {"related": None},
        "data": [{"type": "FieldDefinition", "id": id_} for id_ in wanted],
    }
    assert [(row["type"], row["id"]) for row in body["included"]] == [
        *(("FieldDatum", id_) for id_ in data),
        *(("FieldDefinition", id_) for id_ in wanted),
    ]
    assert body["included"][0]["relationships"]["field_definition"] == {
        "links": {"related": f"{URL}/field_definitions/{wanted[0]}"},
        "data": {"type": "FieldDefinition", "id": wanted[0]},
    }
    assert body["included"][2]["attributes"] == {"name": "Baptized"}
    assert "relationships" not in body["included"][2]


def test_values_go_with_the_person_and_stay_in_a_merge(
    api: Direct, person_id: str, fields: dict[str, str], human: Human
) -> None:
    given = give(api, person_id, fields["baptized"], "true")
    other = api.post(PEOPLE, {"first_name": "Keep"}).data["id"]
    human.merge_people(api.organization_id, other, person_id)
    moved = api.get(f"/people/v2/field_data/{given['id']}").data
    assert moved["relationships"]["customizable"]["data"]["id"] == other
    api.delete(f"{PEOPLE}/{other}")
    assert api.get(f"/people/v2/field_data/{given['id']}").status == 404
