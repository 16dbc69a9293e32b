"""Journal, truth, mutations and the control API's own description."""

import json

import httpx
import pytest

from pco_simulator.testing import Control, SimulatorError, SimulatorProcess

PEOPLE = "/people/v2/people"


def test_journal_counts_kinds_and_keeps_writes(api: httpx.Client, control: Control, church: str) -> None:
    seq = control.mark()
    made = api.post(PEOPLE, json={"data": {"type": "Person", "attributes": {"first_name": "Jo", "last_name": "L"}}})
    person_id = made.json()["data"]["id"]
    email = {"data": {"type": "Email", "attributes": {"address": "jo@example.org", "location": "Home"}}}
    api.post(f"{PEOPLE}/{person_id}/emails", json=email)
    api.get(f"{PEOPLE}/{person_id}", params={"include": "emails"})
    api.delete(f"{PEOPLE}/{person_id}")
    assert control.kinds() == {
        f"POST {PEOPLE}": 1,
        f"POST {PEOPLE}/{{id}}/emails": 1,
        f"GET {PEOPLE}/{{id}}": 1,
        f"DELETE {PEOPLE}/{{id}}": 1,
    }
    assert control.summary()["statuses"] == {"200": 1, "201": 2, "204": 1}
    create, contact, read, delete = control.journal(after=seq)
    assert create["seq"] < contact["seq"] < read["seq"] < delete["seq"]
    assert create["created_id"] == person_id
    assert (create["organization_id"], create["status"]) == (church, 201)
    assert "jo@example.org" in contact["body"]
    assert (read["query"], read["body"]) == ("include=emails", None)
    assert [entry["method"] for entry in control.journal(after=seq, method="delete")] == ["DELETE"]
    assert [entry["kind"] for entry in control.journal(after=seq, path="emails$")] == [f"POST {PEOPLE}/{{id}}/emails"]


def test_journal_stays_small_and_writes_stay_longer(api: httpx.Client, control: Control) -> None:
    control.change_settings(journal_requests=5, rate_limit=0)
    seq = control.mark()
    made = api.post(PEOPLE, json={"data": {"type": "Person", "attributes": {"first_name": "A", "last_name": "B"}}})
    for _ in range(20):
        api.get(PEOPLE, params={"per_page": "1"})
    api.delete(f"{PEOPLE}/{made.json()['data']['id']}")
    kept = control.journal(after=seq)
    assert [entry["method"] for entry in kept] == ["POST", *["GET"] * 4, "DELETE"]
    assert control.kinds()[f"GET {PEOPLE}"] == 20


def test_people_at_planning_center_change_things(api: httpx.Client, control: Control, church: str) -> None:
    before = control.truth(church)
    keep = control.create_person(church, first_name="Mia", last_name="Merge")
    gone = control.create_person(church, first_name="Max", last_name="Merge")
    email = {"op": "create", "type": "Email", "id": gone, "attributes": {"address": "max@example.org"}}
    email_id = control.mutate(church, email)[0]["id"]
    control.edit_person(church, keep, nickname="Mimi")
    control.merge_people(church, keep, gone)
    assert api.get(f"{PEOPLE}/{gone}").status_code == 404
    kept = api.get(f"{PEOPLE}/{keep}", params={"include": "emails"}).json()
    assert kept["data"]["attributes"]["nickname"] == "Mimi"
    assert [row["id"] for row in kept["included"]] == [email_id]
    after = control.truth(church)
    assert after["people"] == before["people"] + 1
    assert after["person_mergers"] == before["person_mergers"] + 1
    control.delete_person(church, keep)
    assert control.truth(church)["people"] == before["people"]


def test_random_people_never_include_those_who_can_log_in(control: Control) -> None:
    church = control.organizations()[1]
    logins = {login["person_id"] for login in church["logins"]}
    edit = {"op": "edit", "id": "random", "attributes": {"membership": "Drawn"}}
    drawn = {done["id"] for done in control.mutate(church["id"], *[edit] * 200)}
    assert drawn
    assert not drawn & logins


def test_dump_agrees_with_truth(control: Control, church: str) -> None:
    rows = control.dump(church)
    truth = control.truth(church)
    assert sum(row["type"] == "Person" for row in rows) == truth["people"]
    assert sum(row["type"] == "Email" for row in rows) == truth["emails"]


@pytest.mark.parametrize(
    ("mutation", "status"),
    [
        ({"op": "delete", "id": "999999999"}, "404"),
        ({"op": "edit", "id": "nobody", "attributes": {}}, "404"),
        ({"op": "edit", "id": "random", "attributes": {"grade": 40}}, "422"),
        ({"op": "create", "type": "Unicorn"}, "422"),
    ],
)
def test_refused_mutations_say_why(control: Control, church: str, mutation: dict[str, object], status: str) -> None:
    with pytest.raises(SimulatorError, match=status):
        control.mutate(church, mutation)


def test_unknown_church_is_404(control: Control) -> None:
    with pytest.raises(SimulatorError, match="There is no organization 1"):
        control.truth("1")


def test_control_api_describes_itself(simulator: SimulatorProcess, control: Control) -> None:
    document = control.call("GET", "/openapi.json")
    assert {"/_sim/journal", "/_sim/faults", "/_sim/settings", "/_sim/journal/kinds"} <= set(document["paths"])
    assert "latency_ms" in document["components"]["schemas"]["Settings"]["properties"]
    for page in ("/_sim/docs", "/_sim/redoc"):
        assert httpx.get(f"{simulator.base_url}{page}").status_code == 404
    assert 'href="/_sim/openapi.json"' in httpx.get(simulator.base_url).text


def test_lag_and_skew_are_settings(api: httpx.Client, control: Control, church: str) -> None:
    control.change_settings(singles_lag_ms=60_000, clock_offset_seconds=-86_400)
    person_id = control.create_person(church, first_name="Late", last_name="Comer")
    assert api.get(f"{PEOPLE}/{person_id}").status_code == 404
    control.change_settings(singles_lag_ms=0)
    created_at = api.get(f"{PEOPLE}/{person_id}").json()["data"]["attributes"]["created_at"]
    stamps = {entry["at"][:10] for entry in control.journal(limit=1)}
    assert created_at[:10] in stamps
    control.delete_person(church, person_id)


def test_a_role_is_given_and_taken(simulator: SimulatorProcess, control: Control, church: str) -> None:
    login = next(each for each in control.organizations()[0]["logins"] if each["people_permissions"] == "Editor")
    with simulator.api(control.personal_access_token(church, people_permissions="Editor")) as editor:
        person = {"data": {"type": "Person", "attributes": {"first_name": "By", "last_name": "Role"}}}
        statuses = []
        for role, administrator in (
            ("Editor", False),
            ("Viewer", False),
            (None, False),
            (None, True),
            ("Editor", False),
        ):
            control.set_role(church, login["person_id"], role, organization_administrator=administrator)
            me = editor.get("/people/v2/me")
            if me.status_code == 200:
                shown = me.json()["data"]["attributes"]
                assert (shown["people_permissions"], shown["site_administrator"]) == (role, administrator)
            statuses.append((me.status_code, editor.post(PEOPLE, json=person).status_code))
    assert statuses == [(200, 201), (200, 403), (403, 403), (200, 201), (200, 201)]


def test_impossible_values_are_delivered_as_they_are(api: httpx.Client, control: Control, church: str) -> None:
    person_id = control.create_person(church, first_name="Odd", last_name="One")
    long_name = "é" * 100_000

    def seen() -> list[str]:
        urls = (f"{PEOPLE}/{person_id}", f"{PEOPLE}?order=-created_at&per_page=100", f"{PEOPLE}?where[id]={person_id}")
        return [api.get(url).text for url in urls]

    control.set_raw(church, "Person", person_id, first_name="A\0da", birthdate="0000-00-00", middle_name=long_name)
    for text in seen():
        rows = json.loads(text)["data"]
        rows = rows if isinstance(rows, list) else [rows]
        (attributes,) = [row["attributes"] for row in rows if row["id"] == person_id]
        assert (attributes["first_name"], attributes["birthdate"]) == ("A\0da", "0000-00-00")
        assert attributes["name"] == "A\0da One"
        assert attributes["middle_name"] == long_name
        assert '"A\\u0000da"' in text
    control.set_raw(
        church, "Person", person_id, first_name="\ud83d half", last_name="\U0001f600 whole", middle_name=None
    )
    for text in seen():
        assert '"first_name":"\\ud83d half"' in text
        assert "\U0001f600 whole" in text
    control.omit(attribute="last_name", type="Person", id=person_id, times=1)
    assert '"first_name":"\\ud83d half"' in api.get(f"{PEOPLE}/{person_id}").text
    control.delete_person(church, person_id)


def test_raw_values_are_stored_unchanged(api: httpx.Client, control: Control, church: str) -> None:
    person_id = control.create_person(church, first_name="Raw", last_name="One")
    control.set_raw(church, "Person", person_id, login_identifier="raw@example.org", name_suffix="IV", nickname="R")
    body = api.get(f"{PEOPLE}/{person_id}?include=name_suffix").json()
    assert body["data"]["attributes"]["login_identifier"] == "raw@example.org"
    assert body["data"]["attributes"]["name"] == "Raw One IV"
    assert [row["attributes"]["value"] for row in body["included"]] == ["IV"]
    for bad in ({"no_such": "x"}, {"birthdate": "soon"}, {"birthdate": 3}, {"child": "yes"}, {"id": 3}):
        with pytest.raises(SimulatorError, match=f"422.*Person {next(iter(bad))} "):
            control.set_raw(church, "Person", person_id, **bad)
    with pytest.raises(SimulatorError, match="404"):
        control.set_raw(church, "Person", "1", first_name="Nobody")
    assert api.get(f"{PEOPLE}?order=birthdate&per_page=1").status_code == 200
    control.delete_person(church, person_id)


def test_lag_is_set_at_any_time_also_as_a_range(api: httpx.Client, control: Control, church: str) -> None:
    control.change_settings(lag_past_ms=60_000)
    person_id = control.create_person(church, first_name="Late", last_name="Comer")
    assert api.get(f"{PEOPLE}/{person_id}").status_code == 200
    control.set_lag(singles_ms=50_000)
    assert api.get(f"{PEOPLE}/{person_id}").status_code == 404
    control.set_lag(singles_ms=(0, 50_000), seed=2)
    statuses = {api.get(f"{PEOPLE}/{person_id}").status_code for _ in range(20)}
    assert 404 in statuses
    control.set_lag(mergers_ms=50_000)
    other = control.create_person(church, first_name="Twin", last_name="Comer")
    merger = control.merge_people(church, person_id, other)
    assert api.get(f"{PEOPLE}/{other}").status_code == 404
    assert api.get(f"/people/v2/person_mergers/{merger}").status_code == 404
    control.set_lag()
    assert api.get(f"/people/v2/person_mergers/{merger}").status_code == 200
    with pytest.raises(SimulatorError, match="smallest"):
        control.set_lag(lists_ms=(2, 1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("journal_requests", 2**70),
        ("latency_ms", -1),
        ("clock_offset_seconds", 1e30),
        ("default_version", "newest"),
        ("background_edit_attribute", "grade"),
        ("no_such_setting", 1),
    ],
)
def test_a_setting_that_could_not_work_is_refused_by_name(control: Control, setting: str, value: object) -> None:
    before = control.settings()
    answer = control.client.patch("/settings", json={"lists_lag_ms": 5, setting: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", setting]
    assert control.settings() == before


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[]", b'{"action": {"kind": "explode"}}'])
def test_an_invalid_script_is_refused(control: Control, body: bytes) -> None:
    for headers in ({"Content-Type": "application/json"}, {}):
        answer = control.client.post("/faults", content=body, headers=headers)
        assert answer.status_code == 422
        assert {"type", "loc", "msg"} == set(answer.json()["detail"][0])


def test_settings_are_described(control: Control) -> None:
    described = control.call("GET", "/openapi.json")
    body = described["paths"]["/_sim/settings"]["patch"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Settings"}
    assert set(described["components"]["schemas"]["Settings"]["properties"]) == set(control.settings())


def test_households_are_made_and_moved_between(api: httpx.Client, control: Control, church: str) -> None:
    ada, bob = (control.create_person(church, first_name=name, last_name="Mover") for name in ("Ada", "Bob"))
    old, new = (control.create_household(church, name, person_id) for name, person_id in (("Old", ada), ("New", bob)))

    def people(household_id: str) -> list[str]:
        data = api.get(f"/people/v2/households/{household_id}").json()["data"]
        return [ref["id"] for ref in data["relationships"]["people"]["data"]]

    control.move_person(church, ada, new)
    assert (people(old), people(new)) == ([], [bob, ada])
    control.move_person(church, bob, old, left=old)
    assert (people(old), people(new)) == ([bob], [bob, ada])
    control.move_person(church, bob, None)
    assert (people(old), people(new)) == ([], [ada])
    with pytest.raises(SimulatorError, match="404"):
        control.move_person(church, ada, "1")
    with pytest.raises(SimulatorError, match="422"):
        control.create_household(church, "Nobody's")
