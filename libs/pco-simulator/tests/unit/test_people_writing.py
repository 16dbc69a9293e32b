"""Effects and refusals of writes, one edge case each."""

from typing import Any

import pytest

from pco_simulator.direct import Answer, Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.world import Mutation, World

PEOPLE = "/people/v2/people"
HOUSEHOLDS = "/people/v2/households"


def attributes(api: Direct, url: str) -> dict[str, Any]:
    answer = api.get(url)
    assert answer.status == 200
    return dict(answer.data["attributes"])


def refused(answer: Answer, detail: str, parameter: str | None = None) -> None:
    assert answer.status == 422
    assert answer.content_type == "application/json; charset=utf-8"
    assert answer.error["detail"] == detail
    if parameter is not None:
        assert answer.error["title"] == "Validation Error"
        assert answer.error["source"] == {"parameter": parameter}
        assert answer.error["meta"]["resource"]


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{", "invalid_json"),
            (b"{}", "invalid_resource_payload"),
            (b"", "invalid_resource_payload"),
            (b"[]", "invalid_resource_payload"),
        ],
    )
    def test_malformed(self, api: Direct, body: bytes, code: str) -> None:
        answer = api.call("POST", PEOPLE, body)
        assert (answer.status, answer.error["code"], answer.error["title"]) == (400, code, "Bad Request")

    def test_a_list_of_resources_is_too_much_for_the_vendor(self, api: Direct) -> None:
        answer = api.call("POST", PEOPLE, [{"type": "Person", "attributes": {"first_name": "A"}}])
        assert (answer.status, answer.error["title"]) == (500, "Internal Server Error")

    @pytest.mark.parametrize("data", [[], "x", {"attributes": []}, {"relationships": [1]}])
    def test_data_that_is_no_object(self, api: Direct, data: Any) -> None:
        answer = api.call("POST", PEOPLE, {"data": data})
        assert (answer.status, answer.error["code"]) == (422, "invalid_payload")

    @pytest.mark.parametrize("name", ["id", "name", "created_at", "updated_at", "no_such_thing", "relationships"])
    def test_what_cannot_be_assigned(self, api: Direct, person_id: str, name: str) -> None:
        for answer in (
            api.post(PEOPLE, {"first_name": "A", name: "x"}),
            api.patch(f"{PEOPLE}/{person_id}", {name: "x"}),
        ):
            refused(answer, f"{name} cannot be assigned")
            assert answer.error["title"] == "Forbidden Attribute"

    def test_a_collection_that_cannot_create_is_403(self, api: Direct) -> None:
        for path in ("emails", "field_data", "person_mergers", "marital_statuses"):
            assert api.post(f"/people/v2/{path}", {}).status == 403
        assert api.post("/people/v2/household_memberships", {}).status == 404
        assert api.post(f"{PEOPLE}/{api.person_id}/notes", {"note": "x"}).status == 404

    def test_mergers_cannot_be_changed(self, api: Direct) -> None:
        id_ = api.get("/people/v2/person_mergers").ids[0]
        assert api.patch(f"/people/v2/person_mergers/{id_}", {"created_at": "x"}).status == 403
        assert api.delete(f"/people/v2/person_mergers/{id_}").status == 403


class TestPeople:
    def test_create(self, api: Direct) -> None:
        answer = api.post(PEOPLE, {"first_name": "Ada", "last_name": "Byron", "child": True, "birthdate": "2015-12-10"})
        assert answer.status == 201
        assert answer.data["attributes"]["name"] == "Ada Byron"
        assert answer.data["attributes"]["created_at"] == answer.data["attributes"]["updated_at"]
        assert answer.data["attributes"]["created_at"] == "2026-03-01T12:00:00Z"
        assert api.get(f"{PEOPLE}/{answer.data['id']}").data == answer.data
        assert api.get(f"{PEOPLE}?order=-created_at&per_page=1").ids == [answer.data["id"]]

    def test_a_repeated_post_makes_a_duplicate(self, api: Direct) -> None:
        ids = {api.post(PEOPLE, {"first_name": "Twice"}).data["id"] for _ in range(2)}
        assert len(ids) == 2

    def test_a_first_name_is_needed(self, api: Direct, person_id: str) -> None:
        refused(api.post(PEOPLE, {"last_name": "Only"}), "can't be blank", "first_name")
        refused(api.patch(f"{PEOPLE}/{person_id}", {"first_name": None}), "can't be blank", "first_name")

    def test_null_clears_and_an_absent_key_is_left_alone(self, api: Direct, person_id: str) -> None:
        api.patch(f"{PEOPLE}/{person_id}", {"nickname": "Addie", "membership": "Member"})
        api.patch(f"{PEOPLE}/{person_id}", {"nickname": None})
        shown = attributes(api, f"{PEOPLE}/{person_id}")
        assert (shown["nickname"], shown["membership"]) == (None, "Member")

    @pytest.mark.parametrize("name", ["birthdate", "anniversary"])
    def test_an_invalid_date_is_stored_as_null_with_200(self, api: Direct, person_id: str, name: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        assert api.patch(url, {name: "2001-02-03"}).data["attributes"][name] == "2001-02-03"
        for value in ("2001-02-31", "soon", 7):
            answer = api.patch(url, {name: value})
            assert (answer.status, answer.data["attributes"][name]) == (200, None)

    def test_grade(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        for value in (-2, 13, "99"):
            refused(api.patch(url, {"grade": value}), "must be between -1 and 12", "grade")
        for value, stored in ((-1, -1), (12, 12), ("3", 3), ("third", None), ("9" * 5000, None)):
            answer = api.patch(url, {"grade": value})
            assert (answer.status, answer.data["attributes"]["grade"]) == (200, stored)

    def test_remote_id_is_an_integer(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        assert api.patch(url, {"remote_id": 2_000_000_011}).data["attributes"]["remote_id"] == 2_000_000_011
        assert api.get(f"{PEOPLE}?where[remote_id]=2000000011").ids == [person_id]
        answer = api.patch(url, {"remote_id": 2**31})
        assert (answer.status, answer.error["code"]) == (400, "integer_out_of_range")
        answer = api.patch(url, {"remote_id": "member-7"})
        assert (answer.status, answer.data["attributes"]["remote_id"]) == (200, None)
        assert api.get(f"{PEOPLE}?where[remote_id]=2000000011").ids == []

    def test_status(self, api: Direct, person_id: str, clock: SetClock) -> None:
        url = f"{PEOPLE}/{person_id}"
        clock.advance(60)
        shown = api.patch(url, {"status": "inactive"}).data["attributes"]
        assert (shown["status"], shown["inactivated_at"]) == ("inactive", "2026-03-01T12:01:00Z")
        clock.advance(60)
        assert api.patch(url, {"status": "inactive"}).data["attributes"]["inactivated_at"] == shown["inactivated_at"]
        shown = api.patch(url, {"status": "anything"}).data["attributes"]
        assert (shown["status"], shown["inactivated_at"]) == ("active", None)
        shown = api.patch(url, {"inactivated_at": "2020-01-01T00:00:00Z"}).data["attributes"]
        assert (shown["status"], shown["inactivated_at"]) == ("inactive", "2020-01-01T00:00:00Z")
        assert api.patch(url, {"inactivated_at": None}).data["attributes"]["status"] == "active"

    def test_gender(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        assert api.patch(url, {"gender": "Female"}).data["attributes"]["gender"] == "Female"
        refused(api.patch(url, {"gender": "F"}), "is not included in the list", "gender")
        api.version = "2022-01-28"
        assert api.patch(url, {"gender": "M"}).data["attributes"]["gender"] == "M"

    def test_references(self, api: Direct, person_id: str) -> None:
        suffixes = {row["attributes"]["value"]: row["id"] for row in api.get("/people/v2/name_suffixes").data}
        url = f"{PEOPLE}/{person_id}"
        shown = api.patch(url, {}, name_suffix=("NameSuffix", suffixes["Jr."])).data
        assert shown["attributes"]["name"] == "Ada Lovelace Jr."
        assert shown["links"]["name_suffix"].endswith(f"/people/v2/name_suffixes/{suffixes['Jr.']}")
        assert api.get(f"{url}/name_suffix").data["attributes"] == {"value": "Jr."}
        assert api.get(f"{url}?include=name_suffix").body["included"][0]["attributes"] == {"value": "Jr."}
        answer = api.patch(url, {}, marital_status=("MaritalStatus", "99"))
        assert (answer.status, answer.error["code"]) == (422, "attribute_resource_not_found")
        refused(api.patch(url, {}, emails=[("Email", "1")]), "emails_ids cannot be assigned")
        refused(api.patch(url, {}, emails=("Email", "1")), "emails_ids cannot be assigned")
        refused(api.patch(url, {}, created_by=("Person", "1")), "created_by_id cannot be assigned")

    def test_updated_at_moves_with_a_value_and_not_without(self, api: Direct, person_id: str, clock: SetClock) -> None:
        url = f"{PEOPLE}/{person_id}"
        before = attributes(api, url)["updated_at"]
        clock.advance(10)
        api.patch(url, {"last_name": "Lovelace"})
        assert attributes(api, url)["updated_at"] == before, "nothing changed"
        api.patch(url, {"medical_notes": "Nuts"})
        assert attributes(api, url)["medical_notes"] == "Nuts"
        assert attributes(api, url)["updated_at"] == before, "medical notes are stored apart"
        api.patch(url, {"last_name": "King", "medical_notes": None})
        assert attributes(api, url)["updated_at"] == "2026-03-01T12:00:10Z"

    @pytest.mark.parametrize("touches", [False, True])
    def test_contacts_move_updated_at_only_where_the_setting_says_so(
        self, api: Direct, world: World, person_id: str, clock: SetClock, touches: bool
    ) -> None:
        world.contacts_touch_person = touches
        url = f"{PEOPLE}/{person_id}"
        before = attributes(api, url)["updated_at"]
        for change in ("create", "update", "delete"):
            clock.advance(10)
            if change == "create":
                email = api.post(f"{url}/emails", {"address": "ada@example.org"}).data["id"]
            elif change == "update":
                api.patch(f"/people/v2/emails/{email}", {"address": "countess@example.org"})
            else:
                api.delete(f"/people/v2/emails/{email}")
            after = attributes(api, url)["updated_at"]
            assert (after != before) is touches
            before = after

    def test_delete_takes_contacts_and_memberships_along(self, api: Direct, world: World, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        email = api.post(f"{url}/emails", {"address": "ada@example.org"}).data["id"]
        api.post(f"{url}/phone_numbers", {"number": "212-555-0100", "location": "Mobile"})
        household = api.post(
            HOUSEHOLDS, {"name": "L"}, people=[("Person", person_id)], primary_contact=("Person", person_id)
        ).data["id"]
        heard: list[Mutation] = []
        world.mutations.append(heard.append)
        answer = api.delete(url)
        assert (answer.status, answer.text) == (204, b"")
        assert {(one.type, one.kind) for one in heard} == {
            ("Person", "destroyed"),
            ("Email", "destroyed"),
            ("PhoneNumber", "destroyed"),
            ("HouseholdMembership", "destroyed"),
        }
        assert api.get(url).status == 404
        assert api.get(f"/people/v2/emails/{email}").status == 404
        assert api.delete(url).status == 404
        left = api.get(f"{HOUSEHOLDS}/{household}").data
        assert (left["attributes"]["member_count"], left["attributes"]["primary_contact_id"]) == (0, None)

    def test_an_id_is_never_given_twice(self, api: Direct) -> None:
        first = api.post(PEOPLE, {"first_name": "A"}).data["id"]
        api.delete(f"{PEOPLE}/{first}")
        assert int(api.post(PEOPLE, {"first_name": "B"}).data["id"]) > int(first)

    def test_avatar_is_written_as_an_upload_and_read_as_a_url(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        shown = api.patch(url, {"avatar": "us3-0000"}).data["attributes"]["avatar"]
        assert shown.startswith(f"https://avatars.planningcenteronline.com/uploads/person/{person_id}-")
        refused(api.patch(url, {"avatar": "me.png"}), "is invalid", "avatar")


class TestContacts:
    def primaries(self, api: Direct, person_id: str, edge: str = "emails") -> list[bool]:
        return [row["attributes"]["primary"] for row in api.get(f"{PEOPLE}/{person_id}/{edge}").data]

    def test_the_first_becomes_primary_after_the_answer(self, api: Direct, person_id: str) -> None:
        answer = api.post(f"{PEOPLE}/{person_id}/emails", {"address": "ada@example.org", "location": "Home"})
        assert (answer.status, answer.data["attributes"]["primary"]) == (201, False)
        assert attributes(api, f"/people/v2/emails/{answer.data['id']}")["primary"] is True

    def test_a_second_does_not(self, api: Direct, person_id: str) -> None:
        for number in range(2):
            api.post(f"{PEOPLE}/{person_id}/emails", {"address": f"ada{number}@example.org"})
        assert self.primaries(api, person_id) == [True, False]

    def test_a_new_primary_silently_demotes_the_old_one(
        self, api: Direct, world: World, person_id: str, clock: SetClock
    ) -> None:
        url = f"{PEOPLE}/{person_id}/emails"
        first = api.post(url, {"address": "a@example.org", "primary": True}).data["id"]
        before = attributes(api, f"/people/v2/emails/{first}")["updated_at"]
        clock.advance(30)
        heard: list[Mutation] = []
        world.mutations.append(heard.append)
        second = api.post(url, {"address": "b@example.org", "primary": True}).data["id"]
        assert self.primaries(api, person_id) == [False, True]
        assert attributes(api, f"/people/v2/emails/{first}")["updated_at"] == before
        assert [(one.id, one.kind) for one in heard] == [(second, "created")]
        clock.advance(30)
        api.patch(f"/people/v2/emails/{first}", {"primary": True})
        assert self.primaries(api, person_id) == [True, False]
        assert attributes(api, f"/people/v2/emails/{second}")["updated_at"] == "2026-03-01T12:00:30Z"

    def test_deleting_the_primary_promotes_nobody(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}/emails"
        first = api.post(url, {"address": "a@example.org", "primary": True}).data["id"]
        api.post(url, {"address": "b@example.org"})
        assert api.delete(f"/people/v2/emails/{first}").status == 204
        assert self.primaries(api, person_id) == [False]

    def test_an_address_of_mail_is_not_unique(self, api: Direct, person_id: str) -> None:
        other = api.post(PEOPLE, {"first_name": "Annabella"}).data["id"]
        for id_ in (person_id, other, person_id):
            assert api.post(f"{PEOPLE}/{id_}/emails", {"address": "Family@Example.org"}).status == 201
        found = api.get("/people/v2/emails?where[address]=family@example.org").data
        people = [row["relationships"]["person"]["data"]["id"] for row in found]
        assert people == [person_id, other, person_id]
        api.patch(f"/people/v2/emails/{found[0]['id']}", {"address": "moved@example.org"})
        assert len(api.get("/people/v2/emails?where[address]=FAMILY@example.org").data) == 2

    def test_emails_need_an_address(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}/emails"
        refused(api.post(url, {"location": "Home"}), "can't be blank", "address")
        refused(api.post(url, {"address": "nonsense"}), "is invalid", "address")
        refused(api.post(url, {"address": "a@b.org", "blocked": True}), "blocked cannot be assigned")

    def test_phones_need_a_location(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}/phone_numbers"
        refused(api.post(url, {"number": "212-555-0100"}), "can't be blank", "location")
        refused(api.post(url, {"number": "212-555-0100", "location": "Moon"}), "is not included in the list")
        refused(api.post(url, {"location": "Home"}), "can't be blank", "number")

    @pytest.mark.parametrize(
        ("number", "e164", "national"),
        [
            ("212.555.0143", "+12125550143", "(212) 555-0143"),
            ("+44 20 7946 0018", "+442079460018", "020 7946 0018"),
            ("ask at the office", None, None),
            ("12", None, None),
        ],
    )
    def test_forms_of_a_number(
        self, api: Direct, person_id: str, number: str, e164: str | None, national: str | None
    ) -> None:
        url = f"{PEOPLE}/{person_id}/phone_numbers"
        shown = api.post(url, {"number": number, "location": "Mobile"}).data["attributes"]
        assert (shown["number"], shown["e164"], shown["national"]) == (number, e164, national)

    def test_address(self, api: Direct, person_id: str) -> None:
        url = f"{PEOPLE}/{person_id}/addresses"
        shown = api.post(url, {"street_line_1": "1 Elm St", "city": "Ashford", "state": "CT", "zip": "06278"}).data
        assert shown["attributes"]["country_name"] == "United States"
        refused(api.post(url, {"country_code": "QQ"}), "is not included in the list", "country_code")
        refused(api.post(url, {"country_name": "Elbonia"}), "country_name cannot be assigned")

    def test_a_persons_id_is_not_a_contacts_id(self, api: Direct, person_id: str) -> None:
        for edge in ("emails", "phone_numbers", "addresses"):
            answer = api.patch(f"/people/v2/{edge}/{person_id}", {"location": "Home"})
            assert (answer.status, answer.error["title"]) == (404, "Not Found")

    def test_through_the_person(self, api: Direct, person_id: str) -> None:
        email = api.post(f"{PEOPLE}/{person_id}/emails", {"address": "a@example.org"}).data["id"]
        nested = f"{PEOPLE}/{person_id}/emails/{email}"
        assert api.patch(nested, {"location": "Work"}).data["attributes"]["location"] == "Work"
        assert api.patch(f"{PEOPLE}/{api.person_id}/emails/{email}", {"location": "Home"}).status == 404
        assert api.delete(nested).status == 204
        assert api.get(nested).status == 404


class TestHouseholds:
    @pytest.fixture
    def people(self, api: Direct) -> list[str]:
        return [str(api.post(PEOPLE, {"first_name": name, "last_name": "Moss"}).data["id"]) for name in "ABC"]

    @pytest.fixture
    def household(self, api: Direct, people: list[str]) -> str:
        answer = api.post(
            HOUSEHOLDS,
            {"name": "Moss"},
            people=[("Person", id_) for id_ in (people[1], people[0])],
            primary_contact=("Person", people[0]),
        )
        assert answer.status == 201
        return str(answer.data["id"])

    def members(self, api: Direct, household: str) -> list[str]:
        data = api.get(f"{HOUSEHOLDS}/{household}").data["relationships"]["people"]["data"]
        return [one["id"] for one in data]

    def test_create(self, api: Direct, people: list[str], household: str) -> None:
        shown = api.get(f"{HOUSEHOLDS}/{household}").data
        assert shown["attributes"]["member_count"] == 2
        assert shown["attributes"]["primary_contact_name"] == "A Moss"
        assert shown["relationships"]["primary_contact"]["data"]["id"] == people[0]
        assert self.members(api, household) == [people[1], people[0]]
        pending = [row["attributes"] for row in api.get(f"{HOUSEHOLDS}/{household}/household_memberships").data]
        assert pending == [
            {"pending": False, "person_name": "B Moss"},
            {"pending": False, "person_name": "A Moss"},
        ]

    def test_both_relationships_are_needed_beside_the_attributes(self, api: Direct, people: list[str]) -> None:
        person = ("Person", people[0])
        refused(api.post(HOUSEHOLDS, {"name": "M"}, people=[person]), "can't be blank", "primary_contact")
        refused(api.post(HOUSEHOLDS, {"name": "M"}, primary_contact=person), "can't be blank", "people")
        inside = {"name": "M", "relationships": {"people": {"data": []}}}
        refused(api.post(HOUSEHOLDS, inside), "relationships cannot be assigned")
        gone = ("Person", "999999999")
        answer = api.post(HOUSEHOLDS, {"name": "M"}, people=[gone], primary_contact=gone)
        assert (answer.status, answer.error["code"]) == (422, "attribute_resource_not_found")

    def test_joining_and_leaving_move_nothing(
        self, api: Direct, people: list[str], household: str, clock: SetClock
    ) -> None:
        before = [attributes(api, url)["updated_at"] for url in (f"{HOUSEHOLDS}/{household}", f"{PEOPLE}/{people[2]}")]
        clock.advance(100)
        url = f"{HOUSEHOLDS}/{household}/household_memberships"
        joined = api.post(url, {"pending": False}, person=("Person", people[2]))
        assert joined.status == 201
        assert joined.data["links"]["self"].endswith(f"{url}/{joined.data['id']}")
        assert joined.data["relationships"] == {"person": {"data": {"type": "Person", "id": people[2]}}}
        assert self.members(api, household) == [people[1], people[0], people[2]]
        assert api.get(f"{PEOPLE}/{people[2]}/household_memberships").ids == [joined.data["id"]]
        assert api.delete(f"{url}/{joined.data['id']}").status == 204
        assert self.members(api, household) == [people[1], people[0]]
        after = [attributes(api, url)["updated_at"] for url in (f"{HOUSEHOLDS}/{household}", f"{PEOPLE}/{people[2]}")]
        assert after == before

    def test_refused_memberships(self, api: Direct, people: list[str], household: str) -> None:
        url = f"{HOUSEHOLDS}/{household}/household_memberships"
        plural = api.post(url, {"pending": False}, people=[("Person", people[2])])
        refused(plural, "people_ids cannot be assigned")
        refused(api.post(url, {"pending": False}), "can't be blank", "person")
        refused(api.post(url, {"person_id": people[0]}), "has already been taken", "person_id")
        refused(api.post(url, {"household_role": "adult"}), "household_role cannot be assigned")

    def test_pending_unless_said_otherwise(self, api: Direct, people: list[str], household: str) -> None:
        url = f"{HOUSEHOLDS}/{household}/household_memberships"
        joined = api.post(url, {"person_id": people[2]}).data
        assert joined["attributes"]["pending"] is True
        assert people[2] not in api.get(f"{HOUSEHOLDS}/{household}/people?filter=non_pending").ids
        assert api.patch(f"{url}/{joined['id']}", {"pending": False}).data["attributes"]["pending"] is False
        assert people[2] in api.get(f"{HOUSEHOLDS}/{household}/people?filter=non_pending").ids

    def test_roles_with_the_feature(self, api: Direct, world: World, people: list[str], household: str) -> None:
        world.household_roles = True
        url = f"{HOUSEHOLDS}/{household}/household_memberships"
        given = {"person_id": people[2], "household_role": "parent_guardian"}
        assert api.post(url, given).data["attributes"]["household_role"] == "parent_guardian"

    def test_a_person_may_be_in_several(self, api: Direct, people: list[str], household: str) -> None:
        second = api.post(
            HOUSEHOLDS, {"name": "N"}, people=[("Person", people[0])], primary_contact=("Person", people[0])
        ).data["id"]
        assert api.get(f"{PEOPLE}/{people[0]}/households").ids == [household, second]

    def test_names_follow_the_person_at_once(self, api: Direct, people: list[str], household: str) -> None:
        api.get(f"{HOUSEHOLDS}?per_page=100&order=-created_at")
        api.patch(f"{PEOPLE}/{people[0]}", {"last_name": "Fern"})
        listed = api.get(f"{HOUSEHOLDS}?order=-created_at&per_page=1").data[0]
        assert (listed["id"], listed["attributes"]["primary_contact_name"]) == (household, "A Fern")
        assert api.get(f"{HOUSEHOLDS}?where[primary_contact_name]=a fern").ids == [household]
        joined = api.get(f"{HOUSEHOLDS}/{household}/household_memberships?order=person_name").data
        assert [row["attributes"]["person_name"] for row in joined] == ["A Fern", "B Moss"]

    def test_patch(self, api: Direct, people: list[str], household: str, clock: SetClock) -> None:
        clock.advance(5)
        url = f"{HOUSEHOLDS}/{household}"
        shown = api.patch(url, {"primary_contact_id": people[1]}).data
        assert shown["relationships"]["primary_contact"]["data"]["id"] == people[1]
        assert shown["attributes"]["updated_at"] == "2026-03-01T12:00:05Z"
        refused(api.patch(url, {"primary_contact_id": people[2]}), "must be a member of the household")
        members = [("Person", people[2]), ("Person", people[1])]
        api.patch(url, {}, people=members)
        assert self.members(api, household) == [people[1], people[2]]

    def test_without_its_primary_contact(self, api: Direct, people: list[str], household: str) -> None:
        api.delete(f"{PEOPLE}/{people[0]}")
        shown = api.get(f"{HOUSEHOLDS}/{household}").data
        assert shown["relationships"]["primary_contact"] == {"data": None}
        assert (shown["attributes"]["primary_contact_name"], shown["attributes"]["member_count"]) == ("A Moss", 1)

    def test_delete_leaves_the_people(self, api: Direct, people: list[str], household: str) -> None:
        assert api.delete(f"{HOUSEHOLDS}/{household}").status == 204
        assert api.get(f"{HOUSEHOLDS}/{household}").status == 404
        assert api.get(f"{PEOPLE}/{people[0]}/households").ids == []


class TestMerges:
    def test_children_move_with_their_ids(self, api: Direct, world: World, human: Human) -> None:
        keep, remove = (str(api.post(PEOPLE, {"first_name": name}).data["id"]) for name in ("Keep", "Remove"))
        emails = [
            api.post(f"{PEOPLE}/{id_}/emails", {"address": f"{id_}@example.org"}).data["id"] for id_ in (keep, remove)
        ]
        household = api.post(
            HOUSEHOLDS, {"name": "R"}, people=[("Person", remove)], primary_contact=("Person", remove)
        ).data["id"]
        heard: list[Mutation] = []
        world.mutations.append(heard.append)

        merger = human.merge_people(api.organization_id, keep, remove)

        assert api.get(f"{PEOPLE}/{remove}").status == 404
        assert api.get(f"{PEOPLE}/{keep}/emails").ids == emails
        shown = api.get(f"{HOUSEHOLDS}/{household}").data
        assert shown["relationships"]["primary_contact"]["data"]["id"] == keep
        assert [one["id"] for one in shown["relationships"]["people"]["data"]] == [keep]
        logged = api.get(f"/people/v2/person_mergers/{merger}").data
        assert logged["attributes"] == {
            "created_at": "2026-03-01T12:00:00Z",
            "person_to_keep_id": keep,
            "person_to_remove_id": remove,
        }
        url = "/people/v2/person_mergers?where[created_at][gte]=2026-03-01T12:00:00Z&order=created_at"
        assert api.get(url).ids == [merger]
        assert api.get(f"/people/v2/person_mergers?where[person_to_remove_id]={remove}").ids == [merger]
        assert ("Person", remove, "destroyed") in [(one.type, one.id, one.kind) for one in heard]
        assert {one.by for one in heard} == {"merge"}

    def test_in_one_household_there_is_one_membership_left(self, api: Direct, human: Human) -> None:
        keep, remove = (str(api.post(PEOPLE, {"first_name": name}).data["id"]) for name in ("Keep", "Remove"))
        both = [("Person", keep), ("Person", remove)]
        household = api.post(HOUSEHOLDS, {"name": "R"}, people=both, primary_contact=both[1]).data["id"]
        human.merge_people(api.organization_id, keep, remove)
        assert api.get(f"{HOUSEHOLDS}/{household}").data["attributes"]["member_count"] == 1

    def test_unknown_people(self, api: Direct, human: Human, person_id: str) -> None:
        with pytest.raises(KeyError):
            human.merge_people(api.organization_id, person_id, "1")
        with pytest.raises(ValueError, match="another person"):
            human.merge_people(api.organization_id, person_id, person_id)


def test_a_human_has_the_rules_of_the_api(api: Direct, world: World, human: Human) -> None:
    heard: list[Mutation] = []
    world.mutations.append(heard.append)
    household = api.get(f"{HOUSEHOLDS}?per_page=1").ids[0]
    id_ = human.create_person(
        api.organization_id,
        {"first_name": "Human", "last_name": "Made"},
        emails=[{"address": "human@example.org"}],
        phone_numbers=[{"number": "212-555-0100", "location": "Mobile"}],
        addresses=[{"city": "Ashford"}],
        household_id=household,
    )
    answer = api.get(f"{PEOPLE}/{id_}?include=emails,phone_numbers,addresses,households")
    assert sorted(row["type"] for row in answer.body["included"]) == ["Address", "Email", "Household", "PhoneNumber"]
    human.edit_person(api.organization_id, id_, {"last_name": "Remade"})
    assert attributes(api, f"{PEOPLE}/{id_}")["name"] == "Human Remade"
    assert {one.by for one in heard} == {"person"}
    with pytest.raises(ValueError, match="between -1 and 12"):
        human.edit_person(api.organization_id, id_, {"grade": 40})
    with pytest.raises(KeyError):
        human.edit_person(api.organization_id, "1", {"grade": 4})
    before = world.truth(api.organization_id)
    with pytest.raises(ValueError, match="can't be blank"):
        human.create_person(api.organization_id, {"first_name": "Half"}, emails=[{"address": ""}])
    assert world.truth(api.organization_id) == before, "a person with a refused contact is not created"
    phone = human.create(api.organization_id, "PhoneNumber", {"number": "1", "location": "Home"}, person_id=id_)
    assert world.truth(api.organization_id)["phone_numbers"] == before["phone_numbers"] + 1
    human.delete(api.organization_id, "PhoneNumber", phone)
    assert world.truth(api.organization_id) == before


class TestAdministrators:
    """planningcenter/developers#1139."""

    @pytest.fixture
    def editor(self, world: World, api: Direct) -> Direct:
        login = world.logins[1]
        assert (login.people_permissions, login.organization_administrator) == ("Editor", False)
        return Direct(world, login.organization_id, login.person_id)

    def statuses(self, editor: Direct, person_id: str) -> dict[str, int]:
        """The status of every kind of write to the person."""
        email = editor.get(f"{PEOPLE}/{person_id}/emails").ids[0]
        field = editor.get("/people/v2/field_definitions?where[data_type]=string").ids[0]
        return {
            "person": editor.patch(f"{PEOPLE}/{person_id}", {"first_name": "X", "last_name": "Y"}).status,
            "added": editor.post(f"{PEOPLE}/{person_id}/phone_numbers", {"number": "1", "location": "Home"}).status,
            "changed": editor.patch(f"/people/v2/emails/{email}", {"location": "Work"}).status,
            "nested": editor.patch(f"{PEOPLE}/{person_id}/emails/{email}", {"location": "Home"}).status,
            "field": editor.post(
                f"{PEOPLE}/{person_id}/field_data", {"field_definition_id": field, "value": "x"}
            ).status,
            "contact gone": editor.delete(f"/people/v2/emails/{email}").status,
            "gone": editor.delete(f"{PEOPLE}/{person_id}").status,
        }

    def test_only_an_organization_administrator_edits_one(self, api: Direct, editor: Direct, person_id: str) -> None:
        assert set(self.statuses(editor, api.person_id).values()) == {422, 403}
        answer = editor.patch(f"{PEOPLE}/{api.person_id}", {"first_name": "X", "last_name": "Y"})
        assert answer.body == {
            "errors": [
                {
                    "status": "422",
                    "title": "Forbidden Attribute",
                    "detail": "You cannot assign first_name and last_name to this Person",
                }
            ]
        }
        api.post(f"{PEOPLE}/{person_id}/emails", {"address": "a@example.org"})
        api.patch(f"{PEOPLE}/{person_id}", {"accounting_administrator": True})
        assert editor.patch(f"{PEOPLE}/{person_id}", {"first_name": "X"}).status == 422
        assert api.patch(f"{PEOPLE}/{person_id}", {"accounting_administrator": False}).status == 200
        assert set(self.statuses(editor, person_id).values()) == {200, 201, 204}
        assert api.patch(f"{PEOPLE}/{api.person_id}", {"first_name": "X"}).status == 200

    @pytest.mark.parametrize(("style", "expected"), [("403", {403}), ("422", {422}), ("off", {200, 201, 204})])
    def test_a_setting_chooses_the_refusal(
        self, world: World, api: Direct, editor: Direct, style: str, expected: set[int]
    ) -> None:
        world.administrator_refusal = style
        found = self.statuses(editor, api.person_id)
        assert set(found.values()) == expected

    def test_a_role_that_is_taken_away_refuses_every_write(self, human: Human, editor: Direct, person_id: str) -> None:
        human.edit_person(editor.organization_id, editor.person_id, {"people_permissions": "Viewer"})
        assert editor.get("/people/v2/me").data["attributes"]["people_permissions"] == "Viewer"
        assert editor.patch(f"{PEOPLE}/{person_id}", {"first_name": "X"}).status == 403
        assert editor.post(PEOPLE, {"first_name": "X"}).status == 403
        assert editor.get(f"{PEOPLE}/{person_id}").status == 200
        human.edit_person(editor.organization_id, editor.person_id, {"people_permissions": None})
        assert editor.get("/people/v2/me").status == 403


class TestBirthdates:
    """planningcenter/developers#454."""

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("1885-01-01", "1885-01-01"),
            ("1885-02-28", "1885-02-28"),
            ("1885-02-29", None),
            ("1900-05-04", "1900-05-04"),
        ],
    )
    def test_the_year_1885_is_stored_and_no_date_is_null(
        self, api: Direct, person_id: str, given: str, stored: str | None
    ) -> None:
        url = f"{PEOPLE}/{person_id}"
        api.patch(url, {"birthdate": "1990-01-02"})
        answer = api.patch(url, {"birthdate": given})
        assert (answer.status, answer.data["attributes"]["birthdate"]) == (200, stored)
        assert api.post(PEOPLE, {"first_name": "A", "birthdate": given}).data["attributes"]["birthdate"] == stored
        assert api.patch(url, {"anniversary": "1884-12-31"}).data["attributes"]["anniversary"] == "1884-12-31"

    @pytest.mark.parametrize("given", ["1884-12-31", "0001-01-01"])
    def test_birthdates_before_1885_are_refused(self, api: Direct, world: World, person_id: str, given: str) -> None:
        url = f"{PEOPLE}/{person_id}"
        api.patch(url, {"birthdate": "1990-01-02"})
        for answer in (api.patch(url, {"birthdate": given}), api.post(PEOPLE, {"first_name": "A", "birthdate": given})):
            assert (answer.status, answer.error["code"]) == (400, "invalid_data")
        assert api.get(url).data["attributes"]["birthdate"] == "1990-01-02"
        world.early_birthdates = "null"
        assert api.patch(url, {"birthdate": given}).data["attributes"]["birthdate"] is None
