"""The client against the simulator as a real process: every kind of fault while whole collections are read."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pco_client import (
    Current,
    PlanningCenter,
    PlanningCenterError,
    Position,
    Query,
    Retries,
    Unauthorized,
    Unavailable,
    Where,
    list_all,
    walk_all,
    walk_newest_first,
    walk_since,
    write_body,
)
from pco_simulator.testing import Control

Connect = Callable[..., PlanningCenter]
PEOPLE = "/people/v2/people"
SOON = Retries(attempts=15, wait_initial=0.02, wait_max=0.1)


def people_of(control: Control, church: str) -> set[str]:
    return {row["id"] for row in control.dump(church) if row["type"] == "Person"}


async def read_all(client: PlanningCenter, **options: Any) -> set[str]:
    seen: set[str] = set()
    complete = False
    async for page in walk_all(client, PEOPLE, **options):
        seen.update(row.id for row in page.rows)
        complete = page.complete
    assert complete
    return seen


async def test_who_is_connected(connect: Connect, church: str) -> None:
    client = connect()
    me = await Current(client).me()
    assert me.included.one(me.data, "organization") is not None
    assert (await client.get("/people/v2/me")).data.attributes["people_permissions"] == "Manager"
    organization = await client.get("/people/v2")
    assert organization.data.type == "Organization"
    assert organization.data.id == church


async def test_a_quiet_church_comes_whole_with_the_fewest_requests(
    connect: Connect, control: Control, church: str
) -> None:
    client = connect()
    control.mark()
    emails: set[str] = set()
    seen: set[str] = set()
    async for page in walk_all(client, PEOPLE, include=("emails",)):
        for person in page.rows:
            seen.add(person.id)
            emails.update(email.id for email in page.included.many(person, "emails"))
    truth = control.truth(church)
    assert seen == people_of(control, church)
    assert len(emails) == truth["emails"]
    assert control.summary()["requests"] == math.ceil((truth["people"] - 1) / 99)


WEATHER: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "deletions": [
        ({"kind": "mutate", "mutations": [{"op": "delete"}] * 3}, {"path": "/people$", "every": 3}),
    ],
    "births": [
        ({"kind": "mutate", "mutations": [{"op": "create", "attributes": {"first_name": "N"}}] * 7}, {"every": 4}),
    ],
    "merges": [({"kind": "mutate", "mutations": [{"op": "merge"}]}, {"every": 2, "path": "/people$"})],
    "server errors": [
        ({"kind": "respond", "status": 500}, {"every": 4}),
        ({"kind": "respond", "status": 503, "body": "html"}, {"every": 7}),
        ({"kind": "respond", "status": 200, "body": "html"}, {"every": 5}),
    ],
    "broken answers": [
        ({"kind": "truncate"}, {"every": 4}),
        ({"kind": "truncate", "mode": "length"}, {"every": 5}),
        ({"kind": "reset"}, {"every": 6}),
        ({"kind": "reset", "when": "after"}, {"every": 7}),
    ],
    "refusals": [
        ({"kind": "too_many_requests", "retry_after": 1}, {"nth": 5}),
        ({"kind": "too_many_requests"}, {"nth": 9}),
    ],
    "slow and uneven": [({"kind": "latency", "ms": 5, "jitter_ms": 200}, {})],
}


@pytest.mark.parametrize("weather", WEATHER)
async def test_every_steady_person_is_delivered(connect: Connect, control: Control, church: str, weather: str) -> None:
    client = connect(retries=SOON)
    await asyncio.sleep(0.5)  # earlier tests' changes are older than the lag
    before = people_of(control, church)
    for action, match in WEATHER[weather]:
        control.add_fault(action, **match)
    control.add_fault({"kind": "latency", "ms": 0, "jitter_ms": 60})
    seen = await read_all(client)
    faults = control.call("GET", "/faults")
    assert all(fault["acted"] > 0 for fault in faults), faults
    control.clear_faults()
    assert before & people_of(control, church) <= seen


async def test_a_token_that_dies_mid_walk_is_replaced(connect: Connect, control: Control, church: str) -> None:
    client = connect(tokens=2)
    control.add_fault({"kind": "end_token", "which": "access"}, nth=6)
    assert await read_all(client) == people_of(control, church)
    control.add_fault({"kind": "end_token"}, nth=1)
    with pytest.raises(Unauthorized):
        await client.get("/people/v2/me")


async def test_a_broken_walk_resumes_at_its_position(connect: Connect, control: Control, church: str) -> None:
    client = connect(retries=Retries(attempts=1))
    kept: set[str] = set()
    position: Position | None = None
    control.mark()
    for failing in (*range(1, 28, 3), None):
        if failing is not None:
            control.add_fault({"kind": "respond", "status": 500}, query=rf"offset={99 * failing}(&|$)", times=1)
        try:
            async with aclosing(walk_all(client, PEOPLE, resume=position, parallel=4)) as pages:
                async for page in pages:
                    kept.update(row.id for row in page.rows)
                    position = page.position
        except Unavailable:
            continue
    assert position is not None
    assert position["complete"]
    assert kept == people_of(control, church)


async def test_same_second_bulk_import_is_found_by_the_incremental_walk(
    connect: Connect, control: Control, church: str
) -> None:
    client = connect()
    start = datetime.now(UTC) - timedelta(seconds=1)
    made = control.mutate(
        church, *[{"op": "create", "attributes": {"first_name": "Bulk", "last_name": str(i)}} for i in range(450)]
    )
    wanted = {each["id"] for each in made}
    seen: set[str] = set()

    async def read() -> None:
        async for page in walk_since(client, PEOPLE, start):
            seen.update(row.id for row in page.rows)

    await asyncio.sleep(0.5)
    await read()
    assert wanted <= seen


async def test_addresses_come_newest_first(connect: Connect, control: Control, church: str) -> None:
    client = connect()
    start = datetime.now(UTC) - timedelta(seconds=1)
    person = (await client.list(PEOPLE)).data[3].id
    address = {"street_line_1": "1 Main", "city": "Springfield", "state": "IL", "zip": "1", "location": "Home"}
    made = await client.create(f"{PEOPLE}/{person}/addresses", write_body("Address", address))
    await asyncio.sleep(0.5)
    control.mark()
    pages = [page async for page in walk_newest_first(client, "/people/v2/addresses", start)]
    assert made.data.id in {row.id for page in pages for row in page.rows}
    assert control.summary()["requests"] == 1
    with pytest.raises(PlanningCenterError, match="ignore"):
        async for _ in walk_since(client, "/people/v2/addresses", start):
            pass


async def test_mergers_are_read_from_an_instant_on(connect: Connect, control: Control, church: str) -> None:
    client = connect()
    start = datetime.now(UTC) - timedelta(seconds=1)
    keep, remove = (await client.list(PEOPLE)).data[5:7]
    control.merge_people(church, keep.id, remove.id)
    await asyncio.sleep(0.5)
    query = Query(where=(Where("created_at", start, "gte"),))
    mergers = (await list_all(client, "/people/v2/person_mergers", query)).data
    assert (keep.id, remove.id) in {
        (str(m.attributes["person_to_keep_id"]), str(m.attributes["person_to_remove_id"])) for m in mergers
    }


async def test_a_write_whose_answer_was_lost_is_not_repeated(connect: Connect, control: Control, church: str) -> None:
    client = connect()
    before = control.truth(church)["people"]
    for action in ({"kind": "reset", "when": "after"}, {"kind": "truncate"}, {"kind": "truncate", "mode": "length"}):
        control.add_fault(action, method="POST", nth=1)
        with pytest.raises(Unavailable) as caught:
            await client.create(PEOPLE, write_body("Person", {"first_name": "Lost"}))
        assert caught.value.outcome_unknown
        control.clear_faults()
    assert control.truth(church)["people"] == before + 3


async def test_wall_is_near_the_floor(connect: Connect, control: Control, church: str) -> None:
    """Time scaled by four: 250 ms and 20 s become 62 ms and 5 s. The scale must stay above a busy machine's latency."""
    people = control.truth(church)["people"]
    client = connect()
    limit = 10
    control.change_settings(rate_limit=limit, rate_period_seconds=5, latency_ms=62)
    control.call("POST", "/rate-windows/reset")
    control.mark()
    start = time.monotonic()
    seen = await read_all(client)
    wall = time.monotonic() - start
    requests = control.summary()["requests"]
    floor = 5 * (math.ceil(requests / limit) - 1) + 0.062
    print(f"{requests} requests, wall {wall:.2f} s, floor {floor:.2f} s, ratio {wall / floor:.3f}")  # noqa: T201
    assert len(seen) == people
    assert control.summary()["statuses"] == {"200": requests}
    assert wall / floor <= 1.1


async def test_the_limit_falls_mid_run(connect: Connect, control: Control, church: str) -> None:
    control.change_settings(rate_limit=100, rate_period_seconds=1)
    control.call("POST", "/rate-windows/reset")
    control.add_fault({"kind": "settings", "values": {"rate_limit": 8}}, nth=10)
    control.mark()
    assert await read_all(connect()) == people_of(control, church)
    assert control.summary()["statuses"].get("429", 0) <= 20


async def test_two_processes_share_a_limit(connect: Connect, control: Control) -> None:
    control.change_settings(rate_limit=50, rate_period_seconds=2, latency_ms=25)
    control.call("POST", "/rate-windows/reset")
    control.mark()
    served = {"a": 0, "b": 0}
    counting = asyncio.Event()
    ends = time.monotonic() + 24

    async def saturate(client: PlanningCenter, name: str) -> None:
        async def worker() -> None:
            while time.monotonic() < ends:
                await client.get("/people/v2/me")
                served[name] += counting.is_set()

        await asyncio.gather(*(worker() for _ in range(12)))

    async def later() -> None:
        await asyncio.sleep(3)
        await saturate(connect(), "b")

    async def count() -> None:
        await asyncio.sleep(14)
        counting.set()

    await asyncio.gather(saturate(connect(), "a"), later(), count())
    total = served["a"] + served["b"]
    statuses = control.summary()["statuses"]
    print(f"shares {served}, statuses {statuses}")  # noqa: T201
    assert 0.35 <= served["a"] / total <= 0.65
    assert total >= 0.8 * 50 * 10 / 2
    assert statuses.get("429", 0) <= 0.05 * sum(statuses.values())


async def test_small_collections_are_listed_whole(connect: Connect, control: Control, church: str) -> None:
    listed = await list_all(connect(), "/people/v2/households")
    assert len({row.id for row in listed.data}) == control.truth(church)["households"]
