"""The most used public client, unmodified: only its arguments `api_base` and `upload_url` point to the simulator."""

from collections.abc import Iterator
from pathlib import Path

import pypco
import pytest

from pco_simulator.testing import Control, SimulatorProcess


@pytest.fixture
def pco(simulator: SimulatorProcess) -> Iterator[pypco.PCO]:
    token = simulator.personal_access_token
    base = simulator.base_url
    client = pypco.PCO(application_id=token.id, secret=token.secret, api_base=base, upload_url=f"{base}/v2/files")
    yield client
    client.session.close()


def test_get(pco: pypco.PCO, church: str) -> None:
    person_id = pco.get("/people/v2/people", per_page=1)["data"][0]["id"]
    person = pco.get(f"/people/v2/people/{person_id}", include="emails,organization")
    assert person["data"]["id"] == person_id
    assert [row["id"] for row in person["included"] if row["type"] == "Organization"] == [church]
    name = person["data"]["attributes"]["first_name"]
    found = pco.get("/people/v2/people", **{"where[first_name]": name})
    assert person_id in {row["id"] for row in found["data"]}


def test_iterate_injects_includes(pco: pypco.PCO, control: Control, church: str) -> None:
    control.change_settings(rate_limit=0)
    records = list(pco.iterate("/people/v2/people", per_page=25, include="emails,households"))
    truth = control.truth(church)
    assert len(records) == len({record["data"]["id"] for record in records}) == truth["people"]
    emails = [row for record in records for row in record["included"] if row["type"] == "Email"]
    assert len(emails) == truth["emails"]
    assert all(record["meta"]["parent"]["id"] == church for record in records)


def test_post_patch_delete(pco: pypco.PCO) -> None:
    made = pco.post("/people/v2/people", pco.template("Person", {"first_name": "Py", "last_name": "Pco"}))
    path = f"/people/v2/people/{made['data']['id']}"
    email = pco.post(f"{path}/emails", pco.template("Email", {"address": "py@example.org", "location": "Home"}))
    assert email["data"]["attributes"]["address"] == "py@example.org"
    changed = pco.patch(path, pco.template("Person", {"nickname": "Snake"}))
    assert changed["data"]["attributes"]["nickname"] == "Snake"
    assert pco.delete(path).status_code == 204
    with pytest.raises(pypco.PCORequestException) as gone:
        pco.get(path)
    assert gone.value.status_code == 404


def test_upload_and_use_file(pco: pypco.PCO, tmp_path: Path) -> None:
    picture = tmp_path / "me.jpg"
    picture.write_bytes(b"\xff\xd8\xff")
    file_id = pco.upload(str(picture))["data"][0]["id"]
    path = f"/people/v2/people/{pco.get('/people/v2/me')['data']['id']}"
    changed = pco.patch(path, pco.template("Person", {"avatar": file_id}))
    assert changed["data"]["attributes"]["avatar"].startswith("https://avatars.planningcenteronline.com/")
    pco.patch(path, pco.template("Person", {"avatar": None}))


def test_errors(pco: pypco.PCO) -> None:
    with pytest.raises(pypco.PCORequestException) as bad_request:
        pco.post("/people/v2/people", {})
    assert bad_request.value.status_code == 400
    assert "invalid_resource_payload" in bad_request.value.response_body
    with pytest.raises(pypco.PCORequestException) as unknown:
        pco.get("/bogus")
    assert unknown.value.status_code == 404
    with pytest.raises(pypco.PCORequestException) as wrong_method:
        pco.request_json("PUT", "/services/v2/songs/1", pco.template("Song", {"author": "A"}))
    assert wrong_method.value.status_code == 404
    assert "<html>" in wrong_method.value.response_body


def test_wrong_credentials(simulator: SimulatorProcess) -> None:
    client = pypco.PCO(application_id="wrong", secret="wrong", api_base=simulator.base_url)
    with pytest.raises(pypco.PCORequestException) as refused:
        client.get("/people/v2/me")
    assert refused.value.status_code == 401
    client.session.close()


def test_rate_limit_is_waited_out(pco: pypco.PCO, control: Control) -> None:
    control.change_settings(rate_limit=3, rate_period_seconds=1)
    for _ in range(7):
        assert pco.get("/people/v2/people", per_page=1)["data"]
    statuses = control.summary()["statuses"]
    assert statuses["200"] == 7
    assert statuses["429"] >= 1
