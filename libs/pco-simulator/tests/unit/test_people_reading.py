"""Answers to reads, one edge case each."""

import re
from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.world import World

PEOPLE = "/people/v2/people"


def everybody(api: Direct, query: str = "") -> list[dict[str, Any]]:
    url: str | None = f"{PEOPLE}?per_page=100{query}"
    rows: list[dict[str, Any]] = []
    while url:
        answer = api.get(url)
        rows += answer.data
        url = answer.body["links"].get("next")
    return rows


def total(api: Direct, query: str, path: str = PEOPLE) -> int:
    return int(api.get(f"{path}?{query}").body["meta"]["total_count"])


@pytest.mark.parametrize(
    "query",
    [
        "where[no_such_field]=x",
        "where[emails][address]=nobody@example.invalid",
        "where[first_name][gt]=A",
        "where[id][gt]=1",
        "where[updated_at][near]=2020-01-01",
        "filter=no_such_filter",
        "order=no_such_key",
        "include=no_such_relationship",
    ],
)
def test_unknown_keys_are_ignored(api: Direct, query: str) -> None:
    answer = api.get(f"{PEOPLE}?{query}")
    assert answer.status == 200
    assert answer.body["meta"]["total_count"] == 400
    assert answer.ids == api.get(PEOPLE).ids


@pytest.mark.parametrize(
    "query",
    [
        "where[grade]=abc",
        "where[child]=maybe",
        "where[birthdate]=2020-02-31",
        "where[updated_at][gte]=yesterday",
        "where[updated_at][gte]=9999-12-31",
        "filter=created_since&time=9999-12-31",
        "where[remote_id]=x1",
        "where[id]=x",
        f"where[id]={'9' * 5000}",
    ],
)
def test_a_value_that_cannot_be_coerced_matches_nothing(api: Direct, query: str) -> None:
    answer = api.get(f"{PEOPLE}?{query}")
    assert (answer.status, answer.ids, answer.body["meta"]["total_count"]) == (200, [], 0)


@pytest.mark.parametrize("name", ["offset", "per_page"])
def test_an_integer_no_database_has_is_refused(api: Direct, name: str) -> None:
    for path in (PEOPLE, "/current/v2/people"):
        answer = api.get(f"{path}?{name}={2**63}")
        assert (answer.status, answer.error["code"]) == (400, "integer_out_of_range")
        assert api.get(f"{path}?{name}={2**63 - 1}").status == 200


def test_per_page_is_clamped_and_the_next_link_keeps_the_asked_value(api: Direct) -> None:
    body = api.get(f"{PEOPLE}?per_page=500").body
    assert body["meta"]["count"] == len(body["data"]) == 100
    assert body["meta"]["next"] == {"offset": 100}
    assert body["links"]["next"].endswith("/people/v2/people?offset=100&per_page=500")


def test_per_page_zero_is_a_trap(api: Direct) -> None:
    body = api.get(f"{PEOPLE}?per_page=0").body
    assert body["data"] == []
    assert body["meta"]["count"] == 0
    assert body["meta"]["next"] == {"offset": 0}
    assert body["links"]["next"].endswith("?offset=0&per_page=0")


def test_an_offset_past_the_end_is_an_empty_page_with_a_prev(api: Direct) -> None:
    body = api.get(f"{PEOPLE}?per_page=25&offset=99999").body
    assert body["data"] == []
    assert body["meta"]["prev"] == {"offset": 99974}
    assert "next" not in body["meta"]
    assert "next" not in body["links"]


def test_the_last_page_has_no_next(api: Direct) -> None:
    body = api.get(f"{PEOPLE}?per_page=100&offset=300").body
    assert body["meta"]["count"] == 100
    assert "next" not in body["links"]
    assert body["meta"]["prev"] == {"offset": 200}


def test_without_per_page_the_links_do_not_name_it(api: Direct) -> None:
    body = api.get(PEOPLE).body
    assert body["meta"]["count"] == 25
    assert body["links"]["self"].endswith("/people/v2/people")
    assert body["links"]["next"].endswith("/people/v2/people?offset=25")


def test_links_sort_keys_escape_values_and_leave_brackets(api: Direct) -> None:
    query = "where%5Bsearch_name_or_email%5D=%40x.org&include=emails,households&fields[Person]=first_name,emails"
    assert api.get(f"{PEOPLE}?{query}").body["links"]["self"] == (
        "https://api.planningcenteronline.com/people/v2/people?fields[Person]=first_name%2Cemails"
        "&include=emails%2Chouseholds&where[search_name_or_email]=%40x.org"
    )


def test_default_order_is_the_numeric_id(api: Direct) -> None:
    emails = api.get("/people/v2/emails?per_page=100").ids
    assert emails == sorted(emails, key=int)
    assert {len(id_) for id_ in emails} == {8, 9}, "ids of both lengths, so that sorting them as text shows"


def test_nulls_come_first_and_last_when_descending(api: Direct) -> None:
    grades = [row["attributes"]["grade"] for row in everybody(api, "&order=grade")]
    known = [grade for grade in grades if grade is not None]
    assert grades == [None] * (len(grades) - len(known)) + sorted(known)
    downwards = [row["attributes"]["grade"] for row in everybody(api, "&order=-grade")]
    assert downwards == sorted(known, reverse=True) + [None] * (len(grades) - len(known))


def test_text_order_folds_case_and_accents_and_ties_break_on_the_id(api: Direct) -> None:
    for first, last in (("Zed", "Ångström"), ("Abe", "angstrom"), ("Bea", "Angstrom"), ("Cyd", "Angus")):
        api.post(PEOPLE, {"first_name": first, "last_name": last})
    found = [row for row in everybody(api, "&order=last_name") if row["attributes"]["last_name"][:2] != "A"]
    names = [
        row["attributes"]["first_name"]
        for row in found
        if row["attributes"]["last_name"] in ("Ångström", "angstrom", "Angstrom", "Angus")
    ]
    assert names == ["Zed", "Abe", "Bea", "Cyd"]
    down = everybody(api, "&order=-last_name")
    equal = [row["attributes"]["first_name"] for row in down if row["attributes"]["last_name"].lower()[1:5] == "ngst"]
    assert equal == ["Zed", "Abe", "Bea"], "ascending id also in descending order"


def test_several_orders(api: Direct) -> None:
    rows = everybody(api, "&order=child,-created_at")
    keys = [(row["attributes"]["child"], row["attributes"]["created_at"]) for row in rows]
    assert [child for child, _ in keys] == sorted(child for child, _ in keys)
    adults = [at for child, at in keys if not child]
    assert adults == sorted(adults, reverse=True)


def test_equality_ignores_case_and_percent_is_a_wildcard_at_either_end(api: Direct) -> None:
    for name in ("Xanthippe", "Xanthia", "Roxanthe"):
        api.post(PEOPLE, {"first_name": name})
    assert total(api, "where[first_name]=xANTHIPPE") == 1
    assert total(api, "where[first_name]=xanth%25") == 2
    assert total(api, "where[first_name]=%25ANTHE") == 1
    assert total(api, "where[first_name]=%25xanth%25") == 3
    assert total(api, "where[first_name]=xan%25the") == 0


def test_ranges_combine(api: Direct) -> None:
    stamps = sorted(row["attributes"]["updated_at"] for row in everybody(api))
    low, high = stamps[100], stamps[250]
    for order in ("", "&order=updated_at", "&order=-updated_at", "&order=last_name"):
        rows = everybody(api, f"&where[updated_at][gt]={low}&where[updated_at][lte]={high}{order}")
        assert sorted(row["attributes"]["updated_at"] for row in rows) == [at for at in stamps if low < at <= high]
    rows = everybody(api, f"&where[updated_at][gte]={low}&where[updated_at][lt]={high}")
    assert len(rows) == len([at for at in stamps if low <= at < high])
    assert total(api, f"where[updated_at]={low}") == stamps.count(low)


def test_date_ranges_skip_nulls(api: Direct) -> None:
    born = [row["attributes"]["birthdate"] for row in everybody(api)]
    known = sorted(day for day in born if day)
    assert total(api, f"where[birthdate][lte]={known[50]}&order=birthdate") == len(
        [day for day in known if day <= known[50]]
    )
    assert total(api, f"where[birthdate]={known[50]}") == known.count(known[50])


def test_a_bare_date_is_the_local_day_of_the_church(api: Direct, clock: SetClock) -> None:
    """New York: the day 2026-03-02 is 05:00 UTC to 05:00 UTC."""
    times = ("2026-03-02T04:59:59Z", "2026-03-02T05:00:00Z", "2026-03-03T04:59:59Z", "2026-03-03T05:00:00Z")
    for at in times:
        clock.at = clock.at.fromisoformat(at)
        api.post(PEOPLE, {"first_name": "Dated"})
    day = "where[first_name]=Dated&where[created_at]"
    assert total(api, f"{day}=2026-03-02") == 2
    assert total(api, f"{day}[gt]=2026-03-02") == 1
    assert total(api, f"{day}[gte]=2026-03-02") == 3
    assert total(api, f"{day}[lt]=2026-03-02") == 1
    assert total(api, f"{day}[lte]=2026-03-02") == 3
    assert total(api, f"{day}[gt]=2026-03-02T05:00:00Z") == 2
    assert total(api, f"{day}[gte]=2026-03-02T00:00:00-05:00") == 3
    assert total(api, f"{day}[gte]=2026-03-02T04:59:59.5Z") == 3


def test_addresses_ignore_filters_on_their_timestamps(api: Direct) -> None:
    everything = total(api, "", "/people/v2/addresses")
    assert total(api, "where[updated_at][gte]=2099-01-01T00:00:00Z", "/people/v2/addresses") == everything
    assert total(api, "where[updated_at][gte]=2099-01-01T00:00:00Z", "/people/v2/emails") == 0
    stamps = [row["attributes"]["updated_at"] for row in api.get("/people/v2/addresses?order=-updated_at").data]
    assert stamps == sorted(stamps, reverse=True)


def test_people_of_every_status_are_listed(api: Direct) -> None:
    inactive = total(api, "where[status]=inactive")
    assert inactive > 0
    assert inactive + total(api, "where[status]=active") == 400


def test_sparse_fields_limit_attributes_and_relationships_of_their_type(api: Direct, person_id: str) -> None:
    api.post(f"{PEOPLE}/{person_id}/emails", {"address": "ada@example.org"})
    url = f"{PEOPLE}?where[id]={person_id}&include=emails"
    answer = api.get(f"{url}&fields[Person]=first_name,emails,no_such_thing&fields[Email]=address")
    (row,) = answer.data
    assert row["attributes"] == {"first_name": "Ada"}
    assert list(row["relationships"]) == ["emails"]
    (email,) = answer.body["included"]
    assert email["attributes"] == {"address": "ada@example.org"}
    assert "relationships" not in email
    assert email["id"] == row["relationships"]["emails"]["data"][0]["id"]
    assert api.get(f"{url}&fields[Person]=no_such_thing").data[0]["attributes"] == {}


def test_some_attributes_come_only_when_named(api: Direct, person_id: str) -> None:
    assert "mfa_configured" not in api.get(f"{PEOPLE}/{person_id}").data["attributes"]
    answer = api.get(f"{PEOPLE}/{person_id}?fields[Person]=mfa_configured,directory_shared_info")
    assert answer.data["attributes"] == {"mfa_configured": False, "directory_shared_info": {}}
    phone = api.post(f"{PEOPLE}/{person_id}/phone_numbers", {"number": "212 555 0143", "location": "Home"}).data
    assert "formatted_number" not in phone["attributes"]
    shown = api.get(f"/people/v2/phone_numbers/{phone['id']}?fields[PhoneNumber]=formatted_number").data
    assert shown["attributes"] == {"formatted_number": "(212) 555-0143"}


def test_include_two_levels_deep(api: Direct, world: World) -> None:
    household = next(row for row in world.dump(api.organization_id) if row["type"] == "Household")
    people = api.get(f"/people/v2/households/{household['id']}/people").ids
    answer = api.get(f"{PEOPLE}/{people[0]}?include=households.people,emails")
    relationships = answer.data["relationships"]
    assert household["id"] in [one["id"] for one in relationships["households"]["data"]]
    assert relationships["people"]["links"] == {"related": None}
    included = {(row["type"], row["id"]): row for row in answer.body["included"]}
    assert len(included) == len(answer.body["included"]), "each record once"
    assert {("Person", id_) for id_ in people} <= included.keys()
    shown = included["Household", household["id"]]["relationships"]["people"]
    assert [one["id"] for one in shown["data"]] == people
    assert shown["links"]["related"].endswith(f"/people/v2/households/{household['id']}/people")


def test_a_second_level_shows_empty_lists_and_repeats_shared_people(api: Direct, world: World) -> None:
    """Measured in 2026: `[]` for a person without emails, and a person in two households appears twice."""
    first, second = (str(api.post(PEOPLE, {"first_name": name}).data["id"]) for name in ("Ida", "Otto"))
    api.post(f"{PEOPLE}/{second}/emails", {"address": "otto@x.org", "location": "Home"})
    people = {"people": [("Person", first), ("Person", second)], "primary_contact": ("Person", first)}
    made = [str(api.post("/people/v2/households", {"name": name}, **people).data["id"]) for name in ("One", "Two")]
    rows = api.get(f"/people/v2/households/{made[0]}/household_memberships?include=person,person.emails").data
    emails = [[one["type"] for one in row["relationships"]["emails"]["data"]] for row in rows]
    assert emails == [[], ["Email"]]
    answer = api.get(f"{PEOPLE}/{first}?include=households,households.people")
    assert [one["id"] for one in answer.data["relationships"]["households"]["data"]] == made
    assert [one["id"] for one in answer.data["relationships"]["people"]["data"]] == [first, second, first, second]
    included = [(row["type"], row["id"]) for row in answer.body["included"]]
    assert len(set(included)) == len(included), "each record once"


def test_accents_fold_the_same_in_filters_searches_and_orders(api: Direct) -> None:
    ids = [str(api.post(PEOPLE, {"first_name": "A", "last_name": name}).data["id"]) for name in ("Zàstère", "ZASTERE")]
    for needle in ("zastere", "Z\u00c0STE\u0300RE"):
        for query in (
            f"where[last_name]={needle}",
            f"where[search_name]={needle}",
            f"where[last_name]=%25{needle[1:]}",
        ):
            assert api.get(f"{PEOPLE}?{query}&order=last_name").ids == ids, query


def test_every_link_leads_to_a_resource(api: Direct) -> None:
    """Every link of one record of each type, except links to pages for humans."""
    seen: set[str] = set()

    def follow(url: str) -> None:
        answer = api.get(url)
        assert answer.status == 200, url
        data = answer.data[:1] if isinstance(answer.data, list) else [answer.data]
        for row in [*data, *answer.body.get("included", [])[:20]]:
            related = [(one.get("links") or {}).get("related") for one in row.get("relationships", {}).values()]
            named = {name: link for name, link in row["links"].items() if name != "html"}
            for link in (*named.values(), *related):
                kind = re.sub(r"\d{4,}", "N", link or "")
                if kind and kind not in seen:
                    seen.add(kind)
                    follow(link)

    follow("/people/v2")
    everything = ",".join(api.get(PEOPLE).body["meta"]["can_include"])
    follow(f"{PEOPLE}?per_page=100&include={everything}")
    follow("/current/v2/me?include=organization")
    assert len(seen) >= 80


def test_a_household_shows_its_people_without_include(api: Direct) -> None:
    row = api.get("/people/v2/households?per_page=1").data[0]
    assert row["relationships"].keys() == {"primary_contact", "people"}
    assert row["attributes"]["member_count"] == len(row["relationships"]["people"]["data"])
    assert row["attributes"]["primary_contact_id"] == row["relationships"]["primary_contact"]["data"]["id"]
    assert "links" not in row["relationships"]["people"]


def test_included_is_absent_when_empty_in_2026_and_an_empty_list_before(api: Direct) -> None:
    assert "included" not in api.get(f"{PEOPLE}?include=school&per_page=1").body
    api.version = "2025-11-10"
    assert api.get(f"{PEOPLE}?per_page=1").body["included"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/people/v2/household_memberships",
        "/people/v2/no_such_collection",
        "/people/v2/people/999999999",
        "/people/v2/people/abc",
        "/people/v2/people/{person}/no_such_relationship",
        "/people/v2/people/{person}/primary_campus",
        "/people/v2/people/{person}/marital_status",
        "/people/v2/emails/{person}",
        "/people/v2/emails/²",
        f"/people/v2/emails/{'9' * 5000}",
    ],
)
def test_json_404(api: Direct, person_id: str, path: str) -> None:
    answer = api.get(path.format(person=person_id))
    assert (answer.status, answer.content_type) == (404, "application/json; charset=utf-8")
    assert answer.body == {
        "errors": [{"status": "404", "title": "Not Found", "detail": "The resource you requested could not be found"}]
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", PEOPLE), ("PUT", f"{PEOPLE}/1"), ("PATCH", PEOPLE), ("DELETE", PEOPLE), ("POST", f"{PEOPLE}/1")],
)
def test_html_404_for_a_method_nobody_routes(api: Direct, method: str, path: str) -> None:
    answer = api.call(method, path, {"data": {}})
    assert (answer.status, answer.content_type) == (404, "text/html; charset=utf-8")
    assert answer.text.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    "edge", ["field_data", "social_profiles", "person_apps", "notes", "emails", "households", "messages"]
)
def test_empty_lists_of_a_person_are_correct_lists(api: Direct, person_id: str, edge: str) -> None:
    body = api.get(f"{PEOPLE}/{person_id}/{edge}").body
    assert (body["data"], body["meta"]["total_count"], body["meta"]["count"]) == ([], 0, 0)
    assert body["meta"]["parent"] == {"id": person_id, "type": "Person"}


def test_nested_reads_have_their_record_as_parent(api: Direct, person_id: str) -> None:
    email = api.post(f"{PEOPLE}/{person_id}/emails", {"address": "ada@example.org"}).data
    listed = api.get(f"{PEOPLE}/{person_id}/emails")
    assert listed.body["meta"]["parent"] == {"id": person_id, "type": "Person"}
    assert listed.data[0]["links"]["self"].endswith(f"/people/v2/emails/{email['id']}")
    assert api.get(f"{PEOPLE}/{person_id}/emails/{email['id']}").status == 200
    single = api.get(f"/people/v2/emails/{email['id']}").body
    assert single["meta"]["parent"] == {"id": api.organization_id, "type": "Organization"}
    assert single["data"]["links"]["person"].endswith(f"/people/v2/people/{person_id}")
    assert api.get(f"/people/v2/emails/{email['id']}/person").data["id"] == person_id


def test_organization_and_me(api: Direct) -> None:
    organization = api.get("/people/v2").data
    assert (organization["type"], organization["id"]) == ("Organization", api.organization_id)
    assert organization["attributes"]["time_zone"] == "America/New_York"
    assert organization["links"]["self"] == "https://api.planningcenteronline.com/people/v2"
    me = api.get("/people/v2/me").data
    assert (me["id"], me["attributes"]["people_permissions"]) == (api.person_id, "Manager")
    assert me["links"]["self"].endswith(f"/people/v2/people/{api.person_id}")


def test_current_needs_no_permission_in_people(world: World) -> None:
    for login in world.logins[:5]:
        api = Direct(world, login.organization_id, login.person_id)
        answer = api.get("/current/v2/me?include=organization")
        assert answer.data["attributes"] == {
            "email": login.email,
            "first_name": login.first_name,
            "last_name": login.last_name,
        }
        (organization,) = answer.body["included"]
        assert organization["attributes"] == {"name": "Riverbend Community Church", "subdomain": "riverbend"}
        assert answer.headers["X-PCO-API-Processed-As-Version"] == "2018-08-01"


def test_permissions_are_those_of_the_person_now(world: World, human: Human) -> None:
    administrator, editor, viewer, outsider, manager = (
        Direct(world, login.organization_id, login.person_id) for login in world.logins[:5]
    )
    name = {"first_name": "Permitted"}
    for api, reads, writes in (
        (administrator, 200, 201),
        (editor, 200, 201),
        (viewer, 200, 403),
        (outsider, 403, 403),
        (manager, 200, 201),
    ):
        assert api.get(PEOPLE).status == reads
        assert api.post(PEOPLE, name).status == writes
    assert outsider.get(PEOPLE).error == {
        "status": "403",
        "title": "Forbidden",
        "detail": "You do not have access to this resource",
    }
    human.edit_person(editor.organization_id, editor.person_id, {"people_permissions": "Viewer"})
    assert editor.post(PEOPLE, name).status == 403
    human.delete(viewer.organization_id, "Person", viewer.person_id)
    assert viewer.get(PEOPLE).error["detail"] == ("This authenticated user does not have a record in this application.")
    assert viewer.get(PEOPLE).status == 401


def test_current_lists_nobody_but_oneself(api: Direct) -> None:
    listed = api.get("/current/v2/people?include=organization")
    me = api.get("/current/v2/me?include=organization")
    assert listed.data == [me.data]
    assert listed.body["included"] == me.body["included"]
    assert listed.body["links"] == {
        "self": "https://api.planningcenteronline.com/current/v2/people?include=organization"
    }
    assert listed.body["meta"] == {"total_count": 1, "count": 1, **me.body["meta"]}
    assert api.get("/current/v2/people?offset=1").data == []


def test_attributes_stand_in_alphabetical_order(api: Direct) -> None:
    query = "include=emails,phone_numbers,addresses,households,organization&per_page=50"
    body = api.get(f"{PEOPLE}?{query}").body
    for row in [*body["data"], *body["included"], api.get(f"{PEOPLE}/{api.person_id}").data]:
        assert list(row["attributes"]) == sorted(row["attributes"])


def test_rows_of_the_second_level_follow_all_of_the_first(api: Direct, person_id: str) -> None:
    """As recorded for field data and their definitions."""
    other = api.post(PEOPLE, {"first_name": "Annabella"}).data["id"]
    for name in ("Lovelace", "Byron"):
        people = [("Person", person_id), ("Person", other)]
        api.post("/people/v2/households", {"name": name}, people=people, primary_contact=("Person", other))
    included = api.get(f"{PEOPLE}/{person_id}?include=households.people").body["included"]
    assert [row["type"] for row in included] == ["Household", "Household", "Person", "Person"]


def test_churches_do_not_see_each_other(world: World) -> None:
    first, second = (
        next(
            Direct(world, login.organization_id, login.person_id)
            for login in world.logins
            if login.organization_id == id_
        )
        for id_ in list(world.organizations)[:2]
    )
    assert not set(first.get(f"{PEOPLE}?per_page=100").ids) & set(second.get(f"{PEOPLE}?per_page=100").ids)
    assert first.get(f"{PEOPLE}/{second.person_id}").status == 404
    assert first.delete(f"{PEOPLE}/{second.person_id}").status == 404
    assert first.get(f"{PEOPLE}?where[id]={second.person_id}").ids == []


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("2026-06-04", "2026-06-04"),
        ("2027-01-01", "2026-06-04"),
        ("2026-06-03", "2025-11-10"),
        ("2022-07-14", "2022-07-14"),
        ("2018-08-01", "2018-08-01"),
        ("LATEST", "2026-06-04"),
        (None, "2025-11-10"),
    ],
)
def test_the_newest_version_not_later_than_the_date(api: Direct, asked: str | None, given: str) -> None:
    api.version = asked
    assert api.get(PEOPLE).headers["X-PCO-API-Processed-As-Version"] == given


@pytest.mark.parametrize("asked", ["2018-07-31", "v2", "2026-13-01", "20260604", "2026-W10-1"])
def test_a_version_nobody_supports(api: Direct, asked: str) -> None:
    api.version = asked
    answer = api.get(PEOPLE)
    assert (answer.status, answer.error["code"]) == (400, "unsupported_version_error")


def test_older_versions_have_older_shapes(api: Direct, person_id: str) -> None:
    api.patch(f"{PEOPLE}/{person_id}", {"gender": "Female"})
    address = {"street_line_1": "1 Elm St", "street_line_2": "Apt 2", "city": "Ashford", "location": "Home"}
    address_id = api.post(f"{PEOPLE}/{person_id}/addresses", address).data["id"]
    genders = {"2022-01-28": "F", "2022-07-14": "Female", "2026-06-04": "Female"}
    for api.version, gender in genders.items():
        assert api.get(f"{PEOPLE}/{person_id}").data["attributes"]["gender"] == gender
        assert total(api, f"where[id]={person_id}&where[gender]={gender}") == 1
    for api.version, relationship in {"2025-07-17": True, "2025-11-10": False}.items():
        assert ("gender" in api.get(f"{PEOPLE}/{person_id}").data["relationships"]) is relationship
    api.version = "2023-02-15"
    shown = api.get(f"/people/v2/addresses/{address_id}").data["attributes"]
    assert shown["street"] == "1 Elm St\nApt 2"
    assert "street_line_1" not in shown
    assert total(api, "where[street]=1 elm st%25", "/people/v2/addresses") >= 1
    assert api.patch(f"/people/v2/addresses/{address_id}", {"street_line_1": "x"}).status == 422
    assert api.patch(f"/people/v2/addresses/{address_id}", {"street": "3 Oak Rd"}).status == 200
    api.version = "2018-08-01"
    first = api.get(f"{PEOPLE}/{person_id}/addresses")
    assert first.body["meta"]["can_query_by"] == ["city", "state", "zip", "street", "location", "primary"]
    assert first.body["meta"]["can_order_by"] == [
        *("city", "state", "zip", "street", "location", "primary", "created_at", "updated_at")
    ]
    assert list(api.get(f"/people/v2/addresses/{address_id}").data["links"]) == ["self"]
    assert "blocked" not in api.get("/people/v2/emails").body["meta"]["can_query_by"]
    api.version = "2023-03-21"
    shown = api.get(f"/people/v2/addresses/{address_id}").data["attributes"]
    assert (shown["street_line_1"], shown["street_line_2"]) == ("3 Oak Rd", None)


def test_filters_by_name(api: Direct, clock: SetClock) -> None:
    assert [row["attributes"]["site_administrator"] for row in everybody(api, "&filter=organization_admins")] == [True]
    assert total(api, "filter=admins") == 4
    assert total(api, "filter=created_since") == 0
    since = sorted(row["attributes"]["created_at"] for row in everybody(api))[300]
    expected = sum(row["attributes"]["created_at"] >= since for row in everybody(api))
    assert total(api, f"filter=created_since&time={since}") == expected
    api.post(PEOPLE, {"first_name": "New"})
    assert total(api, "filter=created_since") == 1
    clock.advance(86_401)
    assert total(api, "filter=created_since") == 0


class TestSearch:
    @pytest.fixture(autouse=True)
    def somebody(self, api: Direct) -> str:
        name = {
            "first_name": "Zebediah",
            "last_name": "van Quillfeather",
            "nickname": "Zeb",
            "given_name": "Zachariah",
            "middle_name": "Ottokar",
        }
        suffixes = api.get("/people/v2/name_suffixes?per_page=100").data
        junior = next(row["id"] for row in suffixes if row["attributes"]["value"].startswith("Jr"))
        id_ = str(api.post(PEOPLE, name, name_suffix=("NameSuffix", junior)).data["id"])
        api.post(f"{PEOPLE}/{id_}/emails", {"address": "Postbox77@quill.example.org"})
        number = {"number": "+1 (212) 555-0187", "location": "Mobile"}
        api.post(f"{PEOPLE}/{id_}/phone_numbers", number)
        return id_

    @pytest.mark.parametrize(
        ("search", "needle", "found"),
        [
            ("search_name", "zebed", True),
            ("search_name", "Zeb", True),
            ("search_name", "Zacha", True),
            ("search_name", "van quill", True),
            ("search_name", "zebediah van", True),
            ("search_name", "zebe van", True),
            ("search_name", "zebediah van quillfeather jr", True),
            ("search_name", "quill", False),
            ("search_name", "bediah", False),
            ("search_name", "Ottokar", False),
            ("search_name", "zebx van", False),
            ("search_name_or_email", "quill", True),
            ("search_name_or_email", "box77@QUILL", True),
            ("search_name_or_email", "bediah", True),
            ("search_name_or_email", "bediah van", False),
            ("search_name_or_email", "nobody@quill", False),
            ("search_phone_number", "0187", True),
            ("search_phone_number", "555-0187", True),
            ("search_phone_number", "%2B12125550187", True),
            ("search_phone_number", "1 212 555 0187", True),
            ("search_phone_number", "212555", False),
            ("search_phone_number_e164", "%2B1 212 555-0187", True),
            ("search_phone_number_e164", "2125550187", False),
            ("search_name_or_email_or_phone_number", "0187", True),
            ("search_name_or_email_or_phone_number", "quill", True),
        ],
    )
    def test_rules(self, api: Direct, somebody: str, search: str, needle: str, found: bool) -> None:
        ids = [row["id"] for row in everybody(api, f"&where[{search}]={needle}")]
        assert (somebody in ids) is found


class TestNamesAndLogins:
    """Fields that tell apart people of one name, and the login that vendor mail goes to."""

    names = ("name_prefix", "name_suffix", "middle_name", "nickname", "given_name", "login_identifier")

    def test_a_seeded_church_has_some_of_each_field(self, api: Direct) -> None:
        people = everybody(api)
        found = {name: [row for row in people if row["attributes"].get(name)] for name in self.names[2:]}
        for name in self.names[:2]:
            found[name] = [row for row in everybody(api, f"&include={name}") if row["relationships"][name]["data"]]
        counts = {name: len(rows) for name, rows in found.items()}
        assert all(count > 2 for count in counts.values()), counts
        assert len({row["attributes"]["login_identifier"] for row in found["login_identifier"]}) > 5
        assert any((row["attributes"]["birthdate"] or "").startswith("1885-") for row in people)

    def test_fields_select_them(self, api: Direct) -> None:
        fields = ",".join(self.names)
        url = f"{PEOPLE}?include=name_suffix,name_prefix&fields[Person]={fields}&fields[NameSuffix]=value"
        values: dict[str, set[str]] = {"name_prefix": set(), "name_suffix": set()}
        for offset in range(0, 400, 100):
            body = api.get(f"{url}&per_page=100&offset={offset}").body
            known = {(row["type"], row["id"]): row["attributes"]["value"] for row in body["included"]}
            for row in body["data"]:
                assert set(row["attributes"]) == set(self.names[2:])
                assert set(row["relationships"]) == set(self.names[:2])
                for name, relationship in row["relationships"].items():
                    if (ref := relationship["data"]) is not None:
                        values[name].add(known[ref["type"], ref["id"]])
        assert "Jr." in values["name_suffix"]
        assert "Dr." in values["name_prefix"]

    def test_a_login_is_read_only_and_a_suffix_is_not(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        assert api.patch(url, {"login_identifier": "a@example.org"}).error["title"] == "Forbidden Attribute"
        suffix = api.get("/people/v2/name_suffixes?where[value]=Jr.").ids[0]
        assert api.patch(url, {}, name_suffix=("NameSuffix", suffix)).data["attributes"]["name"] == "Ada Lovelace Jr."
        body = api.get(f"{url}?include=name_suffix").body
        assert [row["attributes"]["value"] for row in body["included"]] == ["Jr."]
