"""Provokes every recorded refusal of People, Calendar and OAuth and compares status and body
(`shared/pco-data/errors`; the statuses of two OAuth errors are assumed there)."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pco_simulator.app import Edge
from pco_simulator.simulator import Simulator
from pco_simulator.tokens import Client

ERRORS = Path(__file__).parents[5] / "shared" / "pco-data" / "errors"
PEOPLE = "/people/v2/people"
REDIRECT = "https://platform.example/callback"
OF_OTHER_PRODUCTS = {"422-webhook-scope"}

pytestmark = pytest.mark.skipif(
    not ERRORS.is_dir(), reason="THE VENDOR'S RECORDED ERRORS ARE ABSENT: nothing is compared"
)


def recorded(name: str) -> dict[str, Any]:
    response: dict[str, Any] = json.loads((ERRORS / f"{name}.json").read_text())["response"]
    return response


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    opened = Simulator.open(None, people=20, seed=1, churches=1, settings={}, public_url=None)
    opened.store.register_client(Client("app", "secret", [REDIRECT], "Platform"))
    yield opened
    opened.close()


def call(
    simulator: Simulator, method: str, url: str, *, login: int = 0, times: int = 1, **options: Any
) -> httpx.Response:
    """The last answer to a call with the personal access token of the n-th login."""
    person = simulator.world.logins[login]
    token = next(one for one in simulator.store.personal_access_tokens.values() if one.person_id == person.person_id)
    edge: Any = Edge(simulator)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(edge),
            base_url="https://api.planningcenteronline.com",
            headers={"User-Agent": "Platform (it@example.org)"},
        ) as client:
            auth = None if url.startswith("/oauth/") else (token.id, token.secret)
            for _ in range(times):
                answer = await client.request(method, url, auth=auth, **options)
            return answer

    return asyncio.run(send())


def agrees(answer: httpx.Response, name: str) -> None:
    theirs = recorded(name)
    assert answer.status_code == theirs["status"]
    assert answer.json() == theirs["body"]
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


def test_all_recorded_errors_are_compared() -> None:
    known = {path.stem for path in ERRORS.glob("*.json")} - OF_OTHER_PRODUCTS
    assert known == {
        "403-people",
        "404-people-patch-wrong-id",
        "422-calendar-event-create-owner-blank",
        "422-calendar-event-create-owner-forbidden",
        "422-household-relationships-inside-attributes",
        "422-household_membership-people-plural",
        "429-2022",
        "429-2026-deep-offset",
        "429-docs",
        "oauth-invalid_client",
        "oauth-invalid_grant",
        "oauth-invalid_request-refresh",
    }


def test_a_person_without_access(simulator: Simulator) -> None:
    agrees(call(simulator, "GET", PEOPLE, login=3), "403-people")


def test_the_id_of_the_person_in_place_of_the_childs(simulator: Simulator) -> None:
    id_ = simulator.world.logins[0].person_id
    body = {"data": {"type": "Address", "attributes": {"city": "Ashford"}}}
    agrees(call(simulator, "PATCH", f"/people/v2/addresses/{id_}", json=body), "404-people-patch-wrong-id")


def test_relationships_inside_the_attributes(simulator: Simulator) -> None:
    person = {"type": "Person", "id": simulator.world.logins[0].person_id}
    relationships = {"people": {"data": [person]}, "primary_contact": {"data": person}}
    body = {"data": {"type": "Household", "attributes": {"name": "Testing", "relationships": relationships}}}
    answer = call(simulator, "POST", "/people/v2/households", json=body)
    agrees(answer, "422-household-relationships-inside-attributes")


def test_people_in_place_of_person(simulator: Simulator) -> None:
    person = {"type": "Person", "id": simulator.world.logins[0].person_id}
    household = call(simulator, "GET", "/people/v2/households").json()["data"][0]["id"]
    url = f"/people/v2/households/{household}/household_memberships"
    for data in (person, [person]):
        body = {"data": {"attributes": {}, "relationships": {"people": {"data": data}}}}
        agrees(call(simulator, "POST", url, json=body), "422-household_membership-people-plural")


def test_too_many_requests(simulator: Simulator) -> None:
    """The current body as documented by the vendor (without the title), and the body of 2022 (with its typo)."""
    answer = call(simulator, "GET", "/people/v2/me", times=101)
    (error,) = answer.json()["errors"]
    (older,) = recorded("429-2022")["body"]["errors"]
    assert error == older | {"title": "Too Many Requests"}
    answer = call(simulator, "GET", "/people/v2/me", times=17)
    theirs = recorded("429-docs")
    (documented,) = theirs["body"]["errors"]
    assert answer.status_code == theirs["status"]
    assert {name: answer.json()["errors"][0][name] for name in documented} == documented
    for name, value in theirs["headers"].items():
        if name == "retry-after":
            assert 1 <= int(answer.headers[name]) <= 20
        else:
            assert answer.headers[name].partition(";")[0] == value


def test_too_many_requests_at_deep_offsets(simulator: Simulator) -> None:
    simulator.change_settings({"deep_offset_limit": 10})
    request = json.loads((ERRORS / "429-2026-deep-offset.json").read_text())["request"]
    url = request.removeprefix("GET https://api.planningcenteronline.com")
    agrees(call(simulator, "GET", url, times=23), "429-2026-deep-offset")


@pytest.mark.parametrize(("name", "attributes"), [("blank", {"name": "New"}), ("forbidden", {"owner_id": "1"})])
def test_an_event_is_created(simulator: Simulator, name: str, attributes: dict[str, str]) -> None:
    body = {"data": {"type": "Event", "attributes": attributes}}
    agrees(call(simulator, "POST", "/calendar/v2/events", json=body), f"422-calendar-event-create-owner-{name}")


def test_a_secret_under_another_name(simulator: Simulator) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "app", "secret": "secret"}
    agrees(call(simulator, "POST", "/oauth/token", data=form), "oauth-invalid_client")


@pytest.mark.parametrize(("name", "expires"), [("oauth-invalid_grant", False), ("oauth-invalid_request-refresh", True)])
def test_dead_refresh_tokens(simulator: Simulator, name: str, expires: bool) -> None:
    store = simulator.store
    code = store.consent(
        store.clients["app"],
        simulator.world.logins[0],
        ["people"],
        redirect_uri=REDIRECT,
        lifetime=60,
        code_challenge=None,
        nonce=None,
        ends_earlier=False,
    )
    _, token = store.issue(store.grants[code.grant_id], access_seconds=60, refresh_seconds=60)
    if expires:
        store.expire([token])
    else:
        store.revoke([token])
    form = {"grant_type": "refresh_token", "client_id": "app", "client_secret": "secret", "refresh_token": token.id}
    agrees(call(simulator, "POST", "/oauth/token", data=form), name)
