"""Replays recorded requests against a world that holds the recorded rows, and compares the answers.

The recordings are real request/response pairs of 2018 to 2020, processed by the vendor as version 2018-08-01.
They stay outside this package; where they are absent the suite says so and is skipped.
"""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from pco_simulator.app import Edge
from pco_simulator.direct import Answer, Direct, SetClock
from pco_simulator.faults import Faults
from pco_simulator.feeds import Feeds
from pco_simulator.human import Human
from pco_simulator.journal import Journal
from pco_simulator.mutations import Mutator
from pco_simulator.pacing import Pacer
from pco_simulator.people.kind import VERSIONS
from pco_simulator.settings import Settings
from pco_simulator.simulator import Simulator
from pco_simulator.state import install
from pco_simulator.tokens import TokenStore
from pco_simulator.webhooks.sender import Webhooks
from pco_simulator.world import Login, Organization, World

RECORDINGS = Path(__file__).parents[5] / "shared" / "pco-data" / "people-recorded-2019"
FILES = sorted(RECORDINGS.glob("*.json")) if RECORDINGS.is_dir() else []

ORGANIZATION = Organization(
    id="263468",
    name="Pypco Dev",
    subdomain="pypcodev",
    time_zone="America/New_York",
    country_code=None,
    date_format="%m/%d/%Y",
    created_at="2018-08-03T01:13:31Z",
)
ADMINISTRATOR = 40135868
OTHERS_FROM = 900_000_000

pytestmark = pytest.mark.skipif(
    not FILES, reason=f"THE VENDOR'S RECORDINGS ARE ABSENT: nothing is compared ({RECORDINGS.name} not found)"
)


def stored(resource: dict[str, Any]) -> dict[str, Any]:
    """A recorded resource as the world keeps it."""
    attrs = {name: value for name, value in resource["attributes"].items() if value is not None}
    for name in ("name", "avatar", "demographic_avatar_url", "passed_background_check"):
        attrs.pop(name, None)
    if "street" in attrs:
        attrs["street_line_1"] = attrs.pop("street")
    if resource["type"] != "Person":
        attrs["person_id"] = int(resource["relationships"]["person"]["data"]["id"])
    return attrs


def world_of(recording: dict[str, Any]) -> World:
    """A church with the recorded records, and as many more as the recorded count says."""
    body = recording["response"]["body"] or {}
    data = body.get("data", [])
    listed = data if isinstance(data, list) else [data]
    rows: dict[str, dict[int, dict[str, Any]]] = {"Person": {}, "NameSuffix": {}}
    rows["Person"][ADMINISTRATOR] = {
        "first_name": "The",
        "last_name": "Administrator",
        "site_administrator": True,
        "created_at": "2018-08-03T01:13:32Z",
        "updated_at": "2018-08-03T01:13:32Z",
    }
    for resource in [*listed, *body.get("included", [])]:
        if resource["type"] == "Organization":
            continue
        attrs = stored(resource)
        if resource["type"] == "Person":
            plain = " ".join(filter(None, (attrs.get("first_name"), attrs.get("last_name"))))
            suffix = resource["attributes"]["name"].removeprefix(plain).strip()
            if suffix:
                rows["NameSuffix"][1] = {"value": suffix}
                attrs["name_suffix_id"] = 1
        rows.setdefault(resource["type"], {})[int(resource["id"])] = attrs
    for number in range(body.get("meta", {}).get("total_count", 0) - len(listed)):
        at = "2020-02-01T00:00:00Z"
        attrs = {"first_name": "More", "last_name": "People", "created_at": at, "updated_at": at}
        rows["Person"][OTHERS_FROM + number] = attrs
    clock = SetClock(datetime(2020, 3, 1, tzinfo=UTC))
    if recording["request"]["method"] == "PATCH":
        clock.at = datetime.fromisoformat(data["attributes"]["updated_at"])
        for name in recording["request"]["body"]["data"]["attributes"]:
            rows["Person"][int(data["id"])].pop(name, None)
    world = World(clock)
    login = Login(
        organization_id=ORGANIZATION.id,
        person_id=str(ADMINISTRATOR),
        name="The Administrator",
        first_name="The",
        last_name="Administrator",
        email="administrator@example.org",
        people_permissions=None,
        organization_administrator=True,
        products=frozenset({"people"}),
    )
    install(world, ORGANIZATION, {type_: sorted(held.items()) for type_, held in rows.items()}, [login])
    return world


def replay(recording: dict[str, Any]) -> Answer:
    """The recorded request, at the version it was recorded in."""
    request, headers = recording["request"], recording["response"]["headers"]
    version = headers.get("X-PCO-API-Processed-As-Version", VERSIONS[0])
    direct = Direct(world_of(recording), ORGANIZATION.id, str(ADMINISTRATOR), version=version)
    url = request["uri"].replace("/services/v2/songs", "/people/v2/people").replace("/bogus", "/people/v2/bogus")
    return direct.call(request["method"], url, request["body"])


def comparable(body: Any) -> Any:
    """An answer without accepted differences: the order of `included`, and `medical_notes` among the orders, about
    which two recordings of the same version disagree."""
    if "included" in body:
        body["included"] = sorted(body["included"], key=lambda one: (one["type"], one["id"]))
    orders = body.get("meta", {}).get("can_order_by", [])
    if "medical_notes" in orders:
        orders.remove("medical_notes")
    return body


def in_order(body: Any) -> Any:
    """The keys of every object in the order they stand."""
    if isinstance(body, dict):
        return [(name, in_order(value)) for name, value in body.items()]
    return [in_order(one) for one in body] if isinstance(body, list) else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_answers_as_recorded(path: Path) -> None:
    recording = json.loads(path.read_text())
    theirs = recording["response"]

    ours = replay(recording)

    assert ours.status == theirs["status"]
    assert ours.content_type == theirs["headers"]["Content-Type"]
    if theirs["body"] is None:
        assert ours.text.startswith(b"<!DOCTYPE html>")
        return
    assert comparable(ours.body) == comparable(theirs["body"])
    assert in_order(ours.body) == in_order(theirs["body"])
    recorded_as = theirs["headers"].get("X-PCO-API-Processed-As-Version")
    if recorded_as is not None:
        assert ours.headers["X-PCO-API-Processed-As-Version"] == recorded_as


VALUES = {
    "etag": r'W/"[0-9a-f]{32}"',
    "x-pco-api-processor": r"ENG_\d+\.\d+\.\d+",
    "x-pco-api-request-rate-count": r"1",
    "x-request-id": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
"""Headers whose values differ from call to call; all others are compared as they are."""


async def served(recording: dict[str, Any]) -> httpx.Headers:
    """The headers of the answer at the edge, for a caller with a personal access token."""
    world, settings = world_of(recording), Settings()
    store = TokenStore(None, world, 1)
    human = Human(world)
    simulator = Simulator(
        world,
        store,
        settings,
        Faults(),
        Journal(1, 1),
        Pacer(settings),
        human,
        Mutator(world, human, 1),
        Feeds(world),
        Webhooks(world, settings),
        None,
    )
    edge: Any = Edge(simulator)
    (token,) = store.personal_access_tokens.values()
    request = recording["request"]
    version = recording["response"]["headers"].get("X-PCO-API-Processed-As-Version", VERSIONS[0])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge)) as client:
        answer = await client.request(
            request["method"],
            request["uri"],
            json=request["body"],
            auth=(token.id, token.secret),
            headers={"User-Agent": "pypco", "X-PCO-API-Version": version},
        )
    assert answer.status_code == recording["response"]["status"]
    return answer.headers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_headers_as_recorded(path: Path) -> None:
    recording = json.loads(path.read_text())
    theirs = {name.lower(): value for name, value in recording["response"]["headers"].items()}

    ours = asyncio.run(served(recording))

    assert {name for name in ours if name.startswith("x-") or name == "etag"} == {
        name for name in theirs if name.startswith("x-") or name == "etag"
    }
    for name, value in theirs.items():
        assert re.fullmatch(VALUES.get(name, re.escape(value)), ours[name]), name


def test_the_next_link_leads_on() -> None:
    """Follows the links from the recorded page of 50 among 200 to the end."""
    recording = json.loads((RECORDINGS / "test_iterate__09.json").read_text())
    world = world_of(recording)
    direct = Direct(world, ORGANIZATION.id, str(ADMINISTRATOR), version="2018-08-01")
    url, seen = recording["request"]["uri"], []
    while url:
        answer = direct.get(url)
        seen += answer.ids
        url = answer.body["links"].get("next")
        assert dict(parse_qsl(urlsplit(url or "").query)).get("per_page", "50") == "50"
    assert len(seen) == len(set(seen)) == recording["response"]["body"]["meta"]["total_count"]
