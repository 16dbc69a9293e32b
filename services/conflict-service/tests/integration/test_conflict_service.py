"""conflict-service on a real PostgreSQL and a real Kafka."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from conflict_support import fact, message, told_decisions
from fastapi import FastAPI
from sqlalchemy import text

from conflict_service.storage.tables import Base
from conflict_service.usecases.record import record
from conflict_service.usecases.republish import republish
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)
from contracts.routes import routes_of
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from servicekit.testing import KeyRing, assert_migrated, assert_wiring, eventually
from servicekit.testing.facts import publish
from servicekit.testing.time import PATIENCE_SECONDS

PATH = "/api/v1/conflicts"


async def tell(app: FastAPI, *facts: ConflictFact) -> None:
    """Let the service handle facts, one transaction each."""
    for each in facts:
        async with app.state.runtime.sessions.begin() as session:
            await record(session, [message(each)], app.state.runtime.clock.now())


async def test_wiring(app: FastAPI) -> None:
    assert_wiring(app, CONFLICT_SERVICE)
    await assert_migrated(app.state.runtime.settings.database_url.get_secret_value(), Base.metadata)
    paths = app.openapi()["paths"]
    ours = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert ours == {(route.method, route.path) for route in routes_of(CONFLICT_SERVICE)}


async def test_the_version_of_the_values_comes_from_people_sync(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    """Our version counts facts; that of the values only changes with the values."""
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church, roles=("staff",))
    values: dict[str, Any] = {"organization_id": church, "conflict_id": uuid4().hex}
    path = f"{PATH}/{values['conflict_id']}"
    for version, values_version in ((1, 1), (2, 1), (3, 2)):
        await tell(app, fact(ConflictDetected, version, values_version=values_version, **values))
        shown = (await client.get(path, headers=headers)).json()
        assert (shown["version"], shown["values_version"]) == (version, values_version)
    await tell(app, fact(ConflictDetected, 2, values_version=1, **values))
    assert (await client.get(path, headers=headers)).json()["values_version"] == 2


async def test_from_kafka_to_the_list_and_back_to_kafka(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church, roles=("staff",))
    conflict_id = uuid4().hex
    values: dict[str, Any] = {"organization_id": church, "conflict_id": conflict_id}
    consumer = AIOKafkaConsumer(
        "conflicts.conflict.v1",
        bootstrap_servers=kafka_server,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        await publish(kafka_server, fact(ConflictDetected, 1, **values), PEOPLE_SYNC)

        async def listed() -> Any:
            return (await client.get(PATH, headers=headers)).json()["items"]

        (item,) = await eventually(listed)
        assert (item["id"], item["state"], item["fields"][0]["base"]) == (conflict_id, "open", "Ann")
        assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 1}
        assert (await client.get(f"{PATH}/{conflict_id}", headers=headers)).json() == item
        lines = (await client.get(f"{PATH}.csv?state=open", headers=headers)).content.decode("utf-8-sig").splitlines()
        assert len(lines) == 1 + len(item["fields"])
        assert ",Ann," in lines[1]

        await publish(kafka_server, fact(ConflictConverged, 2, **values), PEOPLE_SYNC)

        async def none_open() -> bool:
            return bool((await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0})

        await eventually(none_open)
        announced: list[tuple[str, bool]] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(announced) < 3:
                message = await consumer.getone()
                if message.key == conflict_id.encode():
                    names = {name: value.decode() for name, value in message.headers}
                    announced.append((names["ce_type"], message.value is None))
        assert announced == [("ConflictOpened", False), ("ConflictClosed", False), ("ConflictClosed", True)]
    finally:
        await consumer.stop()


async def test_everything_is_republished(
    app: FastAPI, client: httpx.AsyncClient, kafka_server: str, church: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.kafka.republish.BATCH", 1)
    open_, over = uuid4().hex, uuid4().hex
    for conflict_id in (open_, over):
        await tell(app, fact(ConflictDetected, 1, organization_id=church, conflict_id=conflict_id))
    await tell(app, fact(ConflictConverged, 2, organization_id=church, conflict_id=over))
    await republish(app.state.runtime.settings)
    consumer = AIOKafkaConsumer(
        "conflicts.conflict.v1",
        bootstrap_servers=kafka_server,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        heard: dict[str, list[bytes | None]] = {open_: [], over: []}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [len(values) for values in heard.values()] != [2, 5]:
                message = await consumer.getone()
                if message.key.decode() in heard:
                    heard[message.key.decode()].append(message.value)
    finally:
        await consumer.stop()
    assert heard[open_][0] == heard[open_][1]
    assert heard[over][1:3] == heard[over][3:]
    assert heard[over][-1] is None


async def test_out_of_order_and_repeated(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church}
    detected, applied = fact(ConflictDetected, 1, **values), fact(ResolutionApplied, 2, **values)
    await tell(app, applied, detected, applied, detected)
    assert (await client.get(f"{PATH}/conflict", headers=headers)).json()["state"] == "resolved"
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0}
    await tell(app, fact(ResolutionOvertaken, 3, **values, ours="Hanna"), applied)
    conflict = (await client.get(f"{PATH}/conflict", headers=headers)).json()
    assert (conflict["state"], conflict["fields"][0]["ours"]) == ("open", "Hanna")


async def test_withdrawn(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church}
    await tell(app, fact(ConflictDetected, 1, **values), fact(ConflictWithdrawn, 2, **values))
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0}
    (listed,) = (await client.get(f"{PATH}?state=withdrawn", headers=headers)).json()["items"]
    assert (listed["id"], listed["state"]) == ("conflict", "withdrawn")


async def test_at_the_same_time(app: FastAPI, church: str) -> None:
    """A rebalance can give two facts of one conflict to two members; the result is one row with the newest state."""
    facts = [fact(ConflictDetected, version, organization_id=church, ours=str(version)) for version in range(1, 9)]
    await asyncio.gather(*(tell(app, each) for each in facts))
    async with app.state.runtime.sessions() as session:
        found = await session.execute(
            text("SELECT source_version, fields->0->>'ours' FROM conflict WHERE organization_id = :church"),
            {"church": church},
        )
        assert [tuple(row) for row in found] == [(8, "8")]


async def test_a_batch_equals_single_messages(app: FastAPI, church: str) -> None:
    """Two churches get the same histories, with families and late facts; one of them in batches."""
    kinds: list[type[ConflictFact]] = [
        *(ConflictDetected, ConflictConverged, ConflictDetected, ResolutionOvertaken, ConflictWithdrawn)
    ]
    rows = []
    for turn in range(5):
        for together in (False, True):
            told = [
                message(
                    fact(
                        kinds[(number + turn) % 5],
                        7 - turn if number % 4 == 3 else turn + 1,
                        minutes=number,
                        organization_id=f"{church}-{together}",
                        conflict_id=f"c{number}",
                        family_ids=(f"family-{(number + turn) % 3}",) if number % 2 else (),
                    )
                )
                for number in range(12)
            ]
            for some in [told] if together else [[one] for one in told]:
                async with app.state.runtime.sessions.begin() as session:
                    await record(session, some, app.state.runtime.clock.now())
    async with app.state.runtime.sessions() as session:
        for together in (False, True):
            found = await session.execute(
                text("SELECT to_jsonb(c) - 'organization_id' FROM conflict c WHERE organization_id = :id ORDER BY id"),
                {"id": f"{church}-{together}"},
            )
            rows.append(found.scalars().all())
    assert len(rows[0]) == 12
    assert rows[0] == rows[1]


async def test_each_fact_of_a_batch_is_published_in_its_own_flow(app: FastAPI, church: str) -> None:
    told = [
        message(fact(ConflictDetected, 1, organization_id=church, conflict_id=f"{church}-{number}"))
        for number in range(3)
    ]
    async with app.state.runtime.sessions.begin() as session:
        await record(session, told, app.state.runtime.clock.now())
        statement = text(
            "SELECT headers->>'ce_causationid', headers->>'ce_correlationid' FROM outbox"
            " WHERE key LIKE :keys ORDER BY id"
        )
        found = [tuple(row) for row in await session.execute(statement, {"keys": f"{church}-%"})]
    assert found == [(one.headers.id, one.headers.correlation_id) for one in told]


async def test_pages_filters_and_totals(app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    for number in range(7):
        family = ("even", f"f-{number}") if number % 2 == 0 else ()
        await tell(
            app,
            # For equal instants the id decides, so that no page loses or repeats a row.
            fact(
                ConflictDetected,
                1,
                organization_id=church,
                conflict_id=f"c{number}",
                family_ids=family,
                minutes=number // 2,
            ),
        )
    await tell(app, fact(ResolutionApplied, 2, organization_id=church, conflict_id="c1", minutes=9))
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get(PATH, headers=headers, params={"limit": "2", **after})).json()
        # Later pages need no total.
        assert page["total"] == (None if after else 6)
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    # The conflicts of the family `even` are grouped at the place of the first one.
    assert seen == ["c5", "c3", "c6", "c4", "c2", "c0"]
    even = (await client.get(PATH, headers=headers, params={"family_id": "even"})).json()
    assert [item["id"] for item in even["items"]] == ["c6", "c4", "c2", "c0"]
    one = (await client.get(PATH, headers=headers, params={"record_id": "member-of-c3"})).json()
    assert (one["total"], [item["id"] for item in one["items"]]) == (1, ["c3"])
    resolved = (await client.get(PATH, headers=headers, params={"state": "resolved"})).json()
    assert [item["id"] for item in resolved["items"]] == ["c1"]


async def test_bad_input_and_other_churches(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    await tell(app, fact(ConflictDetected, 1, organization_id=church))
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    for params in (
        {"after": "nonsense"},
        {"after": "WyIyMDI2LTAxLTA1VDEyOjAwOjAwIiwiYyJd"},  # an instant without an offset
        {"after": "WzEsMl0="},
        {"after": "ä"},
        {"limit": "0"},
        {"state": "closed"},
        {"sate": "open"},
    ):
        answer = await client.get(PATH, headers=headers, params=params)
        assert answer.status_code == 422, (params, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    stranger = keys.user_headers(CONFLICT_SERVICE, organization_id=f"{church}-other")
    assert (await client.get(f"{PATH}/conflict", headers=stranger)).status_code == 404
    assert (await client.get(f"{PATH}/conflict", headers=headers)).status_code == 200
    assert (await client.get(PATH, headers=stranger)).json()["items"] == []
    assert (await client.get(f"{PATH}/count", headers=stranger)).json() == {"open": 0}
    assert (await client.get(PATH)).status_code == 401


# --- decisions --------------------------------------------------------------------------------------------------------


async def test_a_decision_and_its_answer(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church, "conflict_id": uuid4().hex}
    path = f"{PATH}/{values['conflict_id']}"
    await tell(app, fact(ConflictDetected, 1, values_version=1, **values), fact(ConflictDetected, 2, **values))
    answer = await client.post(
        f"{path}/decision", headers=headers, json={"values_version": 1, "choices": {"first_name": "ours"}}
    )
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["state"], shown["decision"]["outcome"]) == ("resolving", "waiting")
    assert shown["decision"]["choices"] == {"first_name": "ours"}
    assert shown["decision"]["fields"] == shown["fields"]
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 0}
    (told,) = await told_decisions(kafka_server, church, 1)
    assert told["decision_id"] == shown["decision"]["id"]
    assert (told["decided_on"], told["choices"], told["record_id"]) == (
        1,
        {"first_name": "ours"},
        shown["record"]["id"],
    )
    answers = {"decision_id": told["decision_id"], "refused": ("Planning Center refused the name.",)}
    applied = fact(ResolutionApplied, 3, **values).model_copy(update=answers)
    await tell(app, applied, applied)
    settled = (await client.get(path, headers=headers)).json()
    assert (settled["state"], settled["decision"]["outcome"]) == ("resolved", "applied")
    assert settled["decision"]["refused"] == ["Planning Center refused the name."]
    assert settled["decision"]["settled_at"] is not None


async def test_an_overtaken_decision_can_be_taken_again(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church}
    await tell(app, fact(ConflictDetected, 1, **values))
    body = {"values_version": 1, "choices": {"first_name": "theirs"}}
    first = (await client.post(f"{PATH}/conflict/decision", headers=headers, json=body)).json()["decision"]
    overtaken = fact(ResolutionOvertaken, 2, ours="Hanna", values_version=2, **values)
    await tell(app, overtaken.model_copy(update={"decision_id": first["id"], "sentence": "A value changed."}))
    shown = (await client.get(f"{PATH}/conflict", headers=headers)).json()
    assert (shown["state"], shown["values_version"]) == ("open", 2)
    assert (shown["decision"]["outcome"], shown["decision"]["sentence"]) == ("overtaken", "A value changed.")
    assert shown["decision"]["fields"][0]["ours"] == "Anna"
    assert (await client.get(f"{PATH}/count", headers=headers)).json() == {"open": 1}
    stale = await client.post(f"{PATH}/conflict/decision", headers=headers, json=body)
    assert (stale.status_code, stale.json()["conflict"]["values_version"]) == (409, 2)
    assert stale.json()["type"].endswith("/values-moved")
    again = await client.post(f"{PATH}/conflict/decision", headers=headers, json={**body, "values_version": 2})
    assert again.status_code == 202
    # A repeated outcome of the first decision does not count for the second.
    await tell(app, overtaken.model_copy(update={"decision_id": first["id"], "sentence": "A value changed."}))
    assert (await client.get(f"{PATH}/conflict", headers=headers)).json()["state"] == "resolving"
    assert len(await told_decisions(kafka_server, church, 2)) == 2


async def test_a_lost_decision_is_republished_for_the_shown_values(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, kafka_server: str, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    values: dict[str, Any] = {"organization_id": church, "conflict_id": uuid4().hex}
    path = f"{PATH}/{values['conflict_id']}"
    await tell(app, fact(ConflictDetected, 1, **values))
    body = {"values_version": 1, "choices": {"first_name": "ours"}}
    decision = (await client.post(f"{path}/decision", headers=headers, json=body)).json()["decision"]
    await republish(app.state.runtime.settings)
    first, second = await told_decisions(kafka_server, church, 2)
    assert first == second
    # Newer values arrive before the decision's outcome.
    moved = fact(ConflictDetected, 2, ours="Hanna", values_version=2, **values)
    await tell(app, moved)
    await republish(app.state.runtime.settings)
    assert [one["decided_on"] for one in await told_decisions(kafka_server, church, 3)] == [1, 1, 1]
    # If the outcome was lost, people-sync republishes the newest state first, then the decisions' outcomes.
    answer = fact(ResolutionOvertaken, 3, ours="Hanna", values_version=2, **values)
    newest = fact(ConflictDetected, 4, ours="Hanna", values_version=2, **values)
    await tell(app, newest, answer.model_copy(update={"decision_id": decision["id"]}))
    shown = (await client.get(path, headers=headers)).json()
    assert (shown["state"], shown["decision"]["outcome"]) == ("open", "overtaken")
    await republish(app.state.runtime.settings)
    assert len(await told_decisions(kafka_server, church, 3)) == 3, "an answered one is not told again"


async def test_of_two_decisions_one_wins_and_the_other_is_refused(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    await tell(app, fact(ConflictDetected, 1, organization_id=church))
    both = [keys.user_headers(CONFLICT_SERVICE, organization_id=church, name=name) for name in ("Ada", "Ben")]
    bodies = [{"values_version": 1, "choices": {"first_name": choice}} for choice in ("ours", "theirs")]
    answers = await asyncio.gather(
        *(
            client.post(f"{PATH}/conflict/decision", headers=headers, json=body)
            for headers, body in zip(both, bodies, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    winner = next(index for index, answer in enumerate(answers) if answer.status_code == 202)
    lost = answers[1 - winner].json()
    assert lost["type"].endswith("/settled")
    assert lost["detail"].startswith(("Ada", "Ben")[winner] + " has decided")
    assert lost["conflict"]["decision"]["choices"] == bodies[winner]["choices"]


@pytest.mark.parametrize(
    ("closing", "state", "said"),
    [(ConflictConverged, "agreed_elsewhere", "over already"), (ResolutionApplied, "resolved", "decided this conflict")],
)
async def test_a_conflict_that_ends_by_itself_needs_no_decision(
    app: FastAPI,
    client: httpx.AsyncClient,
    keys: KeyRing,
    church: str,
    closing: type[ConflictFact],
    state: str,
    said: str,
) -> None:
    """Or by another decision."""
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    await tell(app, fact(ConflictDetected, 1, organization_id=church))
    body = {"values_version": 1, "choices": {"first_name": "ours"}}
    assert (await client.post(f"{PATH}/conflict/decision", headers=headers, json=body)).status_code == 202
    await tell(app, fact(closing, 2, organization_id=church))
    shown = (await client.get(f"{PATH}/conflict", headers=headers)).json()
    assert (shown["state"], shown["decision"]["outcome"]) == (state, "not_needed")
    late = await client.post(f"{PATH}/conflict/decision", headers=headers, json=body)
    assert (late.status_code, late.json()["type"].rpartition("/")[2]) == (409, "settled")
    assert said in late.json()["detail"]


async def test_impossible_decisions_are_refused(
    app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, church: str
) -> None:
    headers = keys.user_headers(CONFLICT_SERVICE, organization_id=church)
    status = fact(ConflictDetected, 1, organization_id=church)
    (field,) = status.fields
    await tell(app, status.model_copy(update={"fields": (field.model_copy(update={"field": "active"}),)}))

    async def post(body: dict[str, Any], by: dict[str, str] = headers, path: str = "conflict") -> httpx.Response:
        return await client.post(f"{PATH}/{path}/decision", headers=by, json=body)

    good = {"values_version": 1, "choices": {"active": "theirs"}}
    assert (await post(good, path="nowhere")).status_code == 404
    assert (await post(good, keys.user_headers(CONFLICT_SERVICE, organization_id=f"{church}-other"))).status_code == 404
    staff = keys.user_headers(CONFLICT_SERVICE, organization_id=church, roles=("staff",))
    assert (await post(good, staff)).status_code == 403
    for choices in ({}, {"active": "newest"}):
        assert (await post({**good, "choices": choices})).status_code == 422
    ours = await post({**good, "choices": {"active": "ours"}})
    assert (ours.status_code, ours.json()["errors"][0]["field"]) == (422, "choices.active")
    for other in ({"first_name": "ours"}, {"active": "theirs", "first_name": "ours"}):
        answer = await post({**good, "choices": other})
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "values-moved")
    assert (await client.get(f"{PATH}/conflict", headers=headers)).json()["decision"] is None
    assert (await post(good)).status_code == 202
