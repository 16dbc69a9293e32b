"""Each kind of fault, and the selection of requests."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from pco_simulator.testing import USER_AGENT, Control, SimulatorError, SimulatorProcess

PEOPLE = "/people/v2/people"
PERSON = {"data": {"type": "Person", "attributes": {"first_name": "Ada", "last_name": "Fault"}}}


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def statuses(api: httpx.Client, count: int) -> list[int]:
    return [api.get(PEOPLE, params={"per_page": "1"}).status_code for _ in range(count)]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"nth": 2}, [200, 500, 200, 200, 200, 200]),
        ({"every": 2}, [200, 500, 200, 500, 200, 500]),
        ({"every": 2, "skip": 1}, [200, 200, 500, 200, 500, 200]),
        ({"times": 2}, [500, 500, 200, 200, 200, 200]),
        ({"method": "POST"}, [200] * 6),
        ({"method": "GET|POST", "path": "^/people/v2/people$", "query": "per_page=1$"}, [500] * 6),
        ({"query": "offset="}, [200] * 6),
        ({"probability": 0.0}, [200] * 6),
        ({"organization_id": "1"}, [200] * 6),
    ],
)
def test_which_requests_are_hit(
    api: httpx.Client, control: Control, match: dict[str, object], expected: list[int]
) -> None:
    fault = control.add_fault({"kind": "respond", "status": 500}, **match)
    assert statuses(api, 6) == expected
    assert control.fault(fault)["acted"] == expected.count(500)


def test_chance_is_repeatable_by_seed(api: httpx.Client, control: Control) -> None:
    def run() -> list[int]:
        fault = control.add_fault({"kind": "respond", "status": 503}, probability=0.5, seed=3)
        seen = statuses(api, 20)
        control.remove_fault(fault)
        return seen

    first = run()
    assert set(first) == {200, 503}
    assert run() == first


def test_latency(api: httpx.Client, control: Control) -> None:
    control.add_fault({"kind": "latency", "ms": 150}, nth=1)
    began = time.monotonic()
    statuses(api, 1)
    assert time.monotonic() - began >= 0.15
    control.change_settings(latency_ms=120)
    began = time.monotonic()
    statuses(api, 1)
    assert time.monotonic() - began >= 0.12


def test_answers_in_each_form(api: httpx.Client, control: Control) -> None:
    control.add_fault({"kind": "respond", "status": 503, "retry_after": 7}, nth=1)
    control.add_fault({"kind": "respond", "status": 502, "body": "html"}, nth=2)
    control.add_fault({"kind": "respond", "status": 500, "body": "empty"}, nth=3)
    control.add_fault({"kind": "too_many_requests", "retry_after": 5}, nth=4)
    control.add_fault({"kind": "respond", "status": 409}, nth=5)
    first, second, third, fourth, fifth = (api.get(PEOPLE) for _ in range(5))
    assert first.json()["errors"][0]["status"] == "503"
    assert first.headers["retry-after"] == "7"
    assert second.headers["content-type"].startswith("text/html")
    assert "<html>" in second.text
    assert (third.status_code, third.content) == (500, b"")
    assert (fourth.status_code, fourth.headers["retry-after"]) == (429, "5")
    assert fourth.json()["errors"][0]["detail"] == "Rate limit exceeded: 1 of 100 requests per 20 seconds"
    assert fifth.json()["errors"] == [
        {
            "status": "409",
            "title": "Duplicate Record",
            "detail": "The record you are trying to create/update already exists",
        }
    ]


def test_truncated_body(api: httpx.Client, control: Control) -> None:
    control.add_fault({"kind": "truncate"}, nth=1)
    control.add_fault({"kind": "truncate", "mode": "length"}, nth=2)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        api.get(PEOPLE)
    answer = api.get(PEOPLE)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert api.get(PEOPLE).json()["data"]


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_reset_before_and_after_the_write(
    api: httpx.Client, control: Control, church: str, when: str, created: int
) -> None:
    people = control.truth(church)["people"]
    control.add_fault({"kind": "reset", "when": when}, method="POST", nth=1)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        api.post(PEOPLE, json=PERSON)
    assert control.truth(church)["people"] == people + created
    entry = control.journal(method="POST")[-1]
    assert entry["faults"] == [f"reset:{when}"]
    assert (entry["created_id"] is not None) == bool(created)
    assert api.get(PEOPLE).status_code == 200


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_hold_until_the_client_is_gone(
    simulator: SimulatorProcess, control: Control, church: str, when: str, created: int
) -> None:
    people = control.truth(church)["people"]
    fault = control.add_fault({"kind": "hold", "when": when}, method="POST", nth=1)
    with simulator.api() as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post(PEOPLE, json=PERSON, timeout=0.3)
    eventually(lambda: control.fault(fault)["holding"] == 0)
    eventually(lambda: bool(control.journal(method="POST")))
    assert control.truth(church)["people"] == people + created


def left_hanging(simulator: SimulatorProcess, fault: str) -> None:
    """A client process that is killed while the script holds its POST."""
    token = simulator.personal_access_token
    program = (
        "import httpx; httpx.post("
        f"{simulator.base_url + PEOPLE!r}, json={PERSON!r}, auth={(token.id, token.secret)!r},"
        f" headers={{'User-Agent': {USER_AGENT!r}}}, timeout=60)"
    )
    client = subprocess.Popen([sys.executable, "-c", program])
    eventually(lambda: simulator.control.fault(fault)["holding"] == 1, seconds=30)
    client.kill()
    client.wait()


@pytest.mark.parametrize(
    ("if_gone", "let_go", "created"),
    [
        ("lost", lambda control, fault: control.remove_fault(fault), 0),
        ("lost", lambda control, fault: control.release(fault), 0),
        ("carried_out", lambda control, fault: control.remove_fault(fault), 1),
        ("carried_out", lambda control, fault: control.release(fault), 1),
        ("carried_out", lambda control, fault: control.release(fault, carry_out=True), 1),
        ("carried_out", lambda control, fault: control.release(fault, carry_out=False), 0),
    ],
)
def test_a_request_whose_client_died_is_carried_out_or_not_as_asked(
    simulator: SimulatorProcess,
    control: Control,
    church: str,
    if_gone: str,
    let_go: Callable[[Control, str], object],
    created: int,
) -> None:
    before = control.mark()
    people = control.truth(church)["people"]
    fault = control.add_fault({"kind": "hold", "if_gone": if_gone}, method="POST", nth=1)
    left_hanging(simulator, fault)
    let_go(control, fault)
    eventually(lambda: bool(control.journal(method="POST", after=before)))
    assert control.truth(church)["people"] == people + created
    (entry,) = control.journal(method="POST", after=before)
    assert entry["status"] == (201 if created else 0)


def test_a_held_request_may_be_dropped_while_its_client_lives(
    simulator: SimulatorProcess, control: Control, church: str
) -> None:
    people = control.truth(church)["people"]
    fault = control.add_fault({"kind": "hold"}, method="POST", nth=1)
    with ThreadPoolExecutor(1) as pool, simulator.api() as api:
        asked = pool.submit(api.post, PEOPLE, json=PERSON)
        eventually(lambda: control.fault(fault)["holding"] == 1)
        assert control.release(fault, carry_out=False) == 1
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            asked.result(timeout=10)
    assert control.truth(church)["people"] == people


def test_hold_until_released(api: httpx.Client, control: Control) -> None:
    fault = control.add_fault({"kind": "hold"}, path="people$", nth=1)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.extend(statuses(api, 1)))
    waiting.start()
    eventually(lambda: control.fault(fault)["holding"] == 1)
    assert answers == []
    assert control.release(fault) == 1
    waiting.join(timeout=10)
    assert answers == [200]


def test_limit_falls_on_the_third_request(api: httpx.Client, control: Control) -> None:
    control.add_fault({"kind": "settings", "values": {"rate_limit": 2}}, nth=3)
    assert statuses(api, 3) == [200, 200, 429]


def test_a_record_vanishes_and_one_appears_while_paging(api: httpx.Client, control: Control, church: str) -> None:
    before = control.truth(church)["people"]
    ids = [row["id"] for row in api.get(PEOPLE, params={"per_page": "10"}).json()["data"]]
    victim = next(id_ for id_ in ids if id_ not in {x["person_id"] for x in control.organizations()[0]["logins"]})
    control.add_fault({"kind": "mutate", "mutations": [{"op": "delete", "id": victim}]}, query="offset=10", nth=1)
    control.add_fault(
        {
            "kind": "mutate",
            "when": "after",
            "mutations": [
                {"op": "create", "attributes": {"first_name": "New", "last_name": "Comer"}},
                {"op": "create", "type": "Email", "id": "last", "attributes": {"address": "n@example.org"}},
            ],
        },
        query="offset=20",
        nth=1,
    )
    pages = [api.get(PEOPLE, params={"per_page": "10", "offset": str(offset)}).json() for offset in range(0, 40, 10)]
    totals = [page["meta"]["total_count"] for page in pages]
    assert totals == [before, before - 1, before - 1, before]
    seen = [row["id"] for page in pages for row in page["data"]]
    assert len(seen) == len(set(seen)) == 40
    assert control.journal(path="people$")[-1]["faults"] == []


def test_staff_edit_the_person_being_written(api: httpx.Client, control: Control) -> None:
    person_id = api.get(PEOPLE, params={"per_page": "1", "offset": "50"}).json()["data"][0]["id"]
    edit = {"op": "edit", "id": "$1", "attributes": {"nickname": "Overtaken"}}
    control.add_fault({"kind": "mutate", "mutations": [edit]}, method="PATCH", path=r"/people/(\d+)$", nth=1)
    change = {"data": {"type": "Person", "id": person_id, "attributes": {"middle_name": "Ours"}}}
    answer = api.patch(f"{PEOPLE}/{person_id}", json=change)
    assert answer.json()["data"]["attributes"]["middle_name"] == "Ours"
    assert answer.json()["data"]["attributes"]["nickname"] == "Overtaken"


def test_a_failed_mutation_is_in_the_journal(api: httpx.Client, control: Control) -> None:
    control.add_fault({"kind": "mutate", "mutations": [{"op": "delete", "id": "999999999"}]}, nth=1)
    assert statuses(api, 1) == [200]
    assert "mutation failed" in control.journal(path="people$")[-1]["faults"][1]


def test_background_editor_never_rests(control: Control, church: str) -> None:
    control.change_settings(background_edits_per_second=100, background_edit_attribute="nickname")

    def edited() -> int:
        rows = [row for row in control.dump(church) if row["type"] == "Person"]
        return sum(str(row["attributes"].get("nickname", "")).startswith("Edit ") for row in rows)

    eventually(lambda: edited() > 5)
    control.change_settings(background_edits_per_second=0)


def test_bad_scripts_are_refused_with_a_reason(control: Control) -> None:
    for action, match in (
        ({"kind": "explode"}, {}),
        ({"kind": "settings", "values": {"rate_limit": -1}}, {}),
        ({"kind": "reset"}, {"path": "("}),
        ({"kind": "omit", "type": "Household"}, {}),
        ({"kind": "refuse", "attribute": "x", "value": "("}, {}),
        ({"kind": "omit", "attribute": "name", "included": "Email"}, {}),
        ({"kind": "reset"}, {"colour": "red"}),
    ):
        with pytest.raises(SimulatorError, match="422"):
            control.add_fault(action, **match)
    with pytest.raises(SimulatorError, match=r"422.*rate_limit"):
        control.change_settings(rate_limit=-1)
    with pytest.raises(SimulatorError, match=r"422.*no_such_setting"):
        control.change_settings(no_such_setting=1)


@pytest.fixture
def household(api: httpx.Client) -> dict[str, str]:
    """A household of several people, the first of whom has an email."""
    rows = api.get("/people/v2/households", params={"per_page": "100"}).json()["data"]
    for row in rows:
        people = [each["id"] for each in row["relationships"]["people"]["data"]]
        emails = api.get(f"{PEOPLE}/{people[0]}/emails").json()["data"]
        if len(people) > 1 and emails:
            return {"id": row["id"], "person": people[0], "email": emails[0]["id"]}
    raise AssertionError("no such household was seeded")


def resources(document: dict[str, Any], type_: str, id_: str) -> list[dict[str, Any]]:
    data = document["data"] if isinstance(document["data"], list) else [document["data"]]
    return [row for row in (*data, *document.get("included", [])) if (row["type"], row["id"]) == (type_, id_)]


def test_a_relationship_is_omitted_from_the_next_answers_that_carry_it(
    api: httpx.Client, control: Control, household: dict[str, str]
) -> None:
    fault = control.omit(relationship="people", type="Household", id=household["id"], times=2)
    single, of_person = f"/people/v2/households/{household['id']}", f"{PEOPLE}/{household['person']}?include=households"
    assert api.get(f"{PEOPLE}/{household['person']}").status_code == 200
    assert control.fault(fault)["matched"] == 0
    seen = []
    for url in (single, of_person, single):
        (row,) = resources(api.get(url).json(), "Household", household["id"])
        seen.append("people" in row["relationships"])
        assert "primary_contact" in row["relationships"]
    assert seen == [False, False, True]
    assert control.fault(fault)["acted"] == 2
    assert control.journal(path="households/")[-2]["faults"] == ["omit"]


def test_data_attribute_and_included_can_be_missing(
    api: httpx.Client, control: Control, household: dict[str, str]
) -> None:
    url = f"{PEOPLE}/{household['person']}?include=emails,households"

    def person(document: dict[str, Any]) -> dict[str, Any]:
        (row,) = resources(document, "Person", household["person"])
        return row

    whole = api.get(url)
    control.omit(data_of="emails", type="Person", nth=1)
    lacking = api.get(url)
    assert person(lacking.json())["relationships"]["emails"].keys() == {"links"}
    assert lacking.headers["etag"] != whole.headers["etag"]
    control.omit(attribute="last_name", type="Person", id=household["person"], nth=1)
    assert "last_name" not in person(api.get(url).json())["attributes"]
    control.omit(included="Email", times=1)
    lacks = api.get(url).json()
    assert {row["type"] for row in lacks["included"]} == {"Household"}
    assert person(lacks)["relationships"]["emails"]["data"]
    control.omit(included="Email", id=household["email"], times=1)
    assert not resources(api.get(url).json(), "Email", household["email"])
    control.omit(included="*", times=1)
    assert "included" not in api.get(url).json()
    again = api.get(url)
    assert (again.json(), again.headers["etag"]) == (whole.json(), whole.headers["etag"])


def test_writes_that_name_an_attribute_are_refused(api: httpx.Client, control: Control, church: str) -> None:
    def post(**attributes: str) -> tuple[int, str, str]:
        answer = api.post(PEOPLE, json={"data": {"type": "Person", "attributes": attributes}})
        error = answer.json().get("errors", [{"title": "", "detail": ""}])[0]
        return answer.status_code, error["title"], error["detail"]

    people = control.truth(church)["people"]
    first = control.refuse("nickname", times=1)
    control.refuse("middle_name", "duplicate", value="^Twin", path="people$")
    control.refuse("grade", "validation", method="POST")
    assert post(first_name="Ada") == (201, "", "")
    assert control.fault(first)["matched"] == 0
    assert post(first_name="Ada", nickname="A") == (422, "Forbidden Attribute", "nickname cannot be assigned")
    assert post(first_name="Ada", nickname="A") == (201, "", "")
    assert post(first_name="Ada", middle_name="Single") == (201, "", "")
    assert post(first_name="Ada", middle_name="Twin")[:2] == (409, "Duplicate Record")
    assert post(first_name="Ada", grade="3") == (422, "Validation Error", "is invalid")
    assert control.truth(church)["people"] == people + 3
    assert control.journal(method="POST")[-1]["faults"] == ["refuse"]
    control.clear_faults()
    control.refuse("primary_campus", method="PATCH")
    url = f"{PEOPLE}/{control.create_person(church, first_name='By', last_name='Relation')}"
    change = {"data": {"type": "Person", "relationships": {"primary_campus": {"data": None}}}}
    assert api.patch(url, json=change).status_code == 422
    assert api.patch(url, content=b"{").status_code == 400


def test_oauth_can_fail_too(simulator: SimulatorProcess, control: Control) -> None:
    control.add_fault({"kind": "reset", "when": "after"}, path="^/oauth/token$", nth=1)
    used = simulator.oauth_client
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": used.id, "client_secret": used.secret}
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.post(f"{simulator.base_url}/oauth/token", data=form)
    assert httpx.post(f"{simulator.base_url}/oauth/token", data=form).status_code == 400
    assert all(entry["body"] is None for entry in control.journal(path="/oauth/token"))


def test_many_at_once_are_served_while_some_hang(simulator: SimulatorProcess, control: Control) -> None:
    control.change_settings(rate_limit=0)
    fault = control.add_fault({"kind": "hold"}, query="hang", times=3)
    token = simulator.personal_access_token

    def get(query: str) -> int:
        url = f"{simulator.base_url}{PEOPLE}?per_page=1&{query}"
        return httpx.get(url, auth=(token.id, token.secret), headers={"User-Agent": USER_AGENT}, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        hanging = [pool.submit(get, "hang=1") for _ in range(3)]
        eventually(lambda: control.fault(fault)["holding"] == 3)
        assert set(pool.map(get, ["go=1"] * 30)) == {200}
        control.release(fault)
        assert [each.result(timeout=10) for each in hanging] == [200] * 3
