"""The pages that stand for Planning Center's own screens."""

import re

import httpx
import pytest

from pco_simulator.testing import Control, SimulatorProcess


@pytest.fixture
def browser(simulator: SimulatorProcess) -> httpx.Client:
    return httpx.Client(base_url=simulator.base_url, follow_redirects=True)


def test_a_human_finds_creates_edits_and_deletes(browser: httpx.Client, control: Control, church: str) -> None:
    front = browser.get("/")
    assert "This is a simulator" in front.text
    assert f'href="/churches/{church}"' in front.text
    form = {"first_name": "Paula", "last_name": "Zzpage", "email": "paula@zz.example"}
    page = browser.post(f"/churches/{church}/people", data=form)
    assert "The person was created." in page.text
    here = page.url.path
    person_id = here.rsplit("/", 1)[1]

    found = browser.get(f"/churches/{church}", params={"q": "zzpage"})
    assert re.findall(r'href="(/churches/[^"]+/people/\d+)"', found.text) == [here]

    saved = browser.post(here, data={"first_name": "Paula", "last_name": "Zzpage", "nickname": "Pau", "child": "on"})
    assert "The person was saved." in saved.text
    email_id = re.search(r"/contacts/Email/(\d+)", saved.text)
    assert email_id is not None
    email = f"{here}/contacts/Email/{email_id[1]}"
    browser.post(email, data={"address": "new@zz.example", "location": "Work", "primary": "on", "do": "save"})
    browser.post(f"{here}/contacts", data={"type": "PhoneNumber", "number": "555 123 4567", "location": "Mobile"})
    browser.post(f"{here}/contacts", data={"type": "Address", "city": "Springfield", "location": "Home"})
    browser.post(f"{here}/households", data={"do": "create", "name": "Zzpage household"})
    page = browser.get(here)
    assert "Zzpage household" in page.text
    rows = control.dump(church)
    mine = [row for row in rows if row["attributes"].get("person_id") == int(person_id)]
    household_id = next(row["id"] for row in rows if row["attributes"].get("name") == "Zzpage household")
    # The paths of Planning Center's own pages.
    for address in (f"/people/AC{person_id}", f"/households/{household_id}"):
        assert browser.get(address).url.path == here
    assert browser.get("/people/AC1").status_code == 404
    assert {row["type"] for row in mine} == {"Email", "PhoneNumber", "Address", "HouseholdMembership"}
    assert [row["attributes"]["address"] for row in mine if row["type"] == "Email"] == ["new@zz.example"]

    refused = browser.post(here, data={"first_name": "Paula", "last_name": "Zzpage", "grade": "77"})
    assert 'role="alert"' in refused.text

    assert "Person grade must be" in refused.text
    refused = browser.post(email, data={"address": "nonsense", "location": "Work", "do": "save"})
    assert "Email address is invalid" in refused.text
    refused = browser.post(f"{here}/households", data={"do": "create", "name": ""})
    assert "Household name" in refused.text

    browser.post(f"{here}/delete")
    gone = browser.get(here)
    assert gone.status_code == 404
    assert "Nobody here" in gone.text


def test_a_human_merges_and_moves_between_households(browser: httpx.Client, control: Control, church: str) -> None:
    keep = control.create_person(church, first_name="Keep", last_name="Me")
    gone = control.create_person(church, first_name="Drop", last_name="Me")
    here = f"/churches/{church}/people/{keep}"
    page = browser.post(f"{here}/merge", data={"remove_id": gone})
    assert "The people were merged." in page.text
    household = next(row["id"] for row in control.dump(church) if row["type"] == "Household")
    page = browser.post(f"{here}/households", data={"do": "join", "household_id": household})
    assert "joined" in page.text
    membership = re.search(r'name="membership_id" value="(\d+)"', page.text)
    assert membership is not None
    page = browser.post(
        f"{here}/households", data={"do": "leave", "household_id": household, "membership_id": membership[1]}
    )
    assert "left the household" in page.text
    control.delete_person(church, keep)


def test_unknown_church_and_person(browser: httpx.Client, church: str) -> None:
    assert browser.get("/churches/1").status_code == 404
    assert browser.get(f"/churches/{church}/people/999999999").status_code == 404
    assert browser.get(f"/churches/{church}?offset={'9' * 30}").status_code == 200
    broken = browser.post(f"/churches/{church}/people", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert 'role="alert"' in broken.text


def test_a_street_of_two_lines_is_delivered_with_the_newline_in_it(
    browser: httpx.Client, api: httpx.Client, control: Control, church: str
) -> None:
    person_id = control.create_person(church, first_name="Two", last_name="Lines")
    here = f"/churches/{church}/people/{person_id}"
    form = {"type": "Address", "street_line_1": "12 Elm St\r\nApt 4", "city": "Ashford", "location": "Home"}
    page = browser.post(f"{here}/contacts", data=form)
    assert re.search(r'<textarea name="street_line_1" rows="2">\n12 Elm St\nApt 4</textarea>', page.text)
    url = f"/people/v2/people/{person_id}/addresses"

    def street() -> tuple[str, str | None]:
        (row,) = api.get(url).json()["data"]
        return row["attributes"]["street_line_1"], row["attributes"]["street_line_2"]

    assert street() == ("12 Elm St\nApt 4", None)
    old = api.get(url, headers={"X-PCO-API-Version": "2023-02-15"}).json()["data"][0]
    assert old["attributes"]["street"] == "12 Elm St\nApt 4"
    change = {"data": {"type": "Address", "attributes": {"city": "Milltown"}}}
    assert api.patch(f"/people/v2/addresses/{old['id']}", json=change).status_code == 200
    assert street() == ("12 Elm St\nApt 4", None)
    address = {"op": "edit", "type": "Address", "id": old["id"], "attributes": {"street_line_1": "1 Oak St\nUnit 2"}}
    control.mutate(church, address)
    assert street() == ("1 Oak St\nUnit 2", None)
    control.delete_person(church, person_id)
