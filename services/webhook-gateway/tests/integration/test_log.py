"""The delivery log: outcomes, its API, replays, dead letters, contents, erasure, retention, and its figures."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI
from prometheus_client import generate_latest
from sqlalchemy import delete, func, insert, select, update

from contracts.events.webhooks_care_v1 import GapReconciled, PersonErased
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from contracts.values import PEOPLE_SYNC
from servicekit.ids import uuid7
from servicekit.kafka.outbox import _RELAY_LOCK
from servicekit.telemetry import REGISTRY
from servicekit.testing import eventually, serve
from servicekit.testing.facts import send
from webhook_gateway.storage.tables import Delivery, DeliveryGap, PayloadView, RefusedCall, WebhookBody, WebhookKey
from webhook_gateway.usecases import outcomes, payloads, replay, retention
from webhook_gateway.usecases.figures import measure

ADULT = {"first_name": "Mira", "last_name": "Xenakis", "child": False, "birthdate": "1980-02-03", "medical_notes": None}
UPDATED = "people.v2.events.person.updated"
HOUSEHOLD = "people.v2.events.household.updated"


def message(resource: dict[str, Any], name: str = UPDATED, *, as_text: bool = True) -> bytes:
    """A body as Planning Center sends it. as_text: its payload is JSON within JSON."""
    payload = {"data": resource, "included": [], "meta": {"parent": {"type": "Organization", "id": "77"}}}
    attributes = {"name": name, "attempt": 1, "payload": json.dumps(payload) if as_text else payload}
    return json.dumps({"data": [{"id": str(uuid4()), "type": "EventDelivery", "attributes": attributes}]}).encode()


@dataclass
class Church:
    """One organization's deliveries, as the intake stores them, and its API."""

    app: FastAPI
    client: httpx.AsyncClient
    provider: Any
    id: str
    producer: AIOKafkaProducer

    async def stored(self, *, body: bytes | None = None, age: timedelta = timedelta(), **values: Any) -> int:
        """Store a delivery. Its number."""
        at = datetime.now(UTC) - age
        body_id = uuid7()
        row = {
            "organization_id": self.id,
            "product": "people",
            "generation": 1,
            "body_id": body_id,
            "position": 0,
            "delivery_id": str(uuid4()),
            "name": UPDATED,
            "resource_type": "Person",
            "resource_id": "5001",
            "state": "waiting",
            "received_at": at,
            "verified_at": at,
            "stored_at": at,
            "published_at": at,
            **values,
        }
        content = body or message({"type": "Person", "id": row["resource_id"], "attributes": ADULT})
        kept = {"id": body_id, "organization_id": self.id, "key_id": 1, "subscription_id": uuid4(), "body": content}
        async with self.app.state.runtime.sessions.begin() as session:
            await session.execute(insert(WebhookBody).values(**kept, received_at=at))
            number = await session.scalar(insert(Delivery).values(**row).returning(Delivery.id))
        return int(number or 0)

    async def row(self, number: int) -> Delivery:
        async with self.app.state.runtime.sessions() as session:
            found: Delivery = await session.get_one(Delivery, number)
            return found

    def fact(self, number: int, outcome: str = "changed", **values: Any) -> WebhookApplied:
        known = {
            "delivery_id": f"d-{number}",
            "by": PEOPLE_SYNC,
            "applied_at": datetime.now(UTC),
            "sentence": "The phone number was taken over.",
            "record_kind": "member",
            "record_id": "m-1",
        }
        return WebhookApplied(organization_id=self.id, version=number, outcome=outcome, **(known | values))

    async def ask(
        self, method: str, path: str, body: Any = None, *, status: int = 200, roles: Any = ("admin",), of: str = ""
    ) -> Any:
        headers = self.provider.headers(organization_id=of or self.id, roles=list(roles))
        answer = await self.client.request(method, f"/api/v1/webhooks/{path}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def running(
    make_gateway: Any, kafka_server: str
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient, AIOKafkaProducer]]:
    app = await make_gateway()
    async with serve(app, within=60) as client, AIOKafkaProducer(bootstrap_servers=kafka_server) as producer:
        yield app, client, producer


@pytest.fixture
def church(running: Any, provider: Any) -> Church:
    app, client, producer = running
    return Church(app, client, provider, f"org-{uuid4()}", producer)


async def test_outcomes_arrive_late_twice_and_in_any_order(church: Church) -> None:
    number, other = await church.stored(), await church.stored(resource_id="5002")
    newest = datetime.now(UTC)
    await send(church.producer, church.fact(number, applied_at=newest), PEOPLE_SYNC)
    old = church.fact(number, "failed", applied_at=newest - timedelta(seconds=9), sentence="Given up.")
    await send(church.producer, old, PEOPLE_SYNC)
    await send(church.producer, church.fact(number, "unchanged", applied_at=newest), PEOPLE_SYNC)
    await send(church.producer, church.fact(10**12), PEOPLE_SYNC)  # no longer kept
    stranger = church.fact(other).model_copy(update={"organization_id": "another"})
    await send(church.producer, stranger, PEOPLE_SYNC)
    last = church.fact(other, "failed", sentence="Given up.", record_kind=None, record_id=None)
    await send(church.producer, last, PEOPLE_SYNC)

    async def told() -> bool:
        return (await church.row(other)).state == "failed"

    await eventually(told)
    row = await church.row(number)
    assert (row.state, row.outcome, row.applied_at, row.record_id) == ("applied", "changed", newest, "m-1")
    assert (await church.row(other)).outcome_by == PEOPLE_SYNC


async def test_many_outcomes_are_one_statement(church: Church) -> None:
    numbers = [await church.stored(resource_id=str(one)) for one in range(30)]
    facts = [church.fact(number) for number in [*numbers, *reversed(numbers)]]
    assert len(outcomes.newest(facts)) == len(numbers)
    async with church.app.state.runtime.sessions.begin() as session:
        await outcomes.note(session, facts)
        await outcomes.note(session, facts)
    page = await church.ask("GET", "deliveries?state=applied&limit=10")
    assert (page["total"], page["more"], len(page["items"])) == (30, False, 10)


async def test_the_log_is_filtered_paged_and_of_one_organization(church: Church) -> None:
    numbers = [await church.stored(resource_id=str(6000 + one)) for one in range(5)]
    email = await church.stored(
        name="people.v2.events.email.created", resource_type="Email", resource_id="91", person_id="6001"
    )
    event = await church.stored(product="calendar", name="calendar.v2.events.event_request.updated", record_id="e-1")
    failed = await church.stored(state="failed", outcome="failed", sentence="Given up.", age=timedelta(days=2))

    async def shown(query: str) -> list[int]:
        return [one["number"] for one in (await church.ask("GET", f"deliveries?{query}"))["items"]]

    first = await church.ask("GET", "deliveries?limit=3", roles=("staff",))
    second = await church.ask("GET", f"deliveries?limit=9&after={first['next']}")
    newest = sorted([*numbers, email, event], reverse=True)
    assert [one["number"] for one in (*first["items"], *second["items"])] == [*newest, failed]
    assert second["next"] is None
    assert await shown("resource_type=Person&resource_id=6003") == [numbers[3]]
    assert await shown("resource_type=Email&resource_id=91") == [email]
    assert await shown("product=calendar") == [event]
    assert await shown("record_id=e-1") == [event]
    assert await shown("state=failed") == await shown("cause=Given%20up.") == await shown("outcome=failed") == [failed]
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert await shown(f"until={hour_ago}") == [failed]
    assert failed not in await shown(f"since={hour_ago}")
    assert await shown(f"number={email}") == [email]
    await church.ask("GET", "deliveries?after=nonsense", status=422)
    await church.ask("GET", "deliveries?stat=failed", status=422)

    assert (await church.ask("GET", "deliveries", of="another"))["items"] == []
    for path in ("", "/payload"):
        await church.ask("GET", f"deliveries/{email}{path}", of="another", status=404)
    await church.ask("POST", f"deliveries/{email}/payload/look", {"reason": "for a test"}, of="another", status=404)
    for number in ("0", "abc", "-1", str(2**70), "²"):
        await church.ask("GET", f"deliveries/{number}", status=404)


async def test_a_delivery_is_shown_step_by_step(church: Church) -> None:
    number = await church.stored(published_at=None)
    waiting = await church.ask("GET", f"deliveries/{number}")
    assert [step["step"] for step in waiting["steps"]] == ["received", "verified", "stored", "published", "applied"]
    assert [step["at"] is None for step in waiting["steps"]] == [False, False, False, True, True]
    assert (waiting["outcome"], waiting["can_replay"], waiting["looks"]) == (None, True, [])
    async with church.app.state.runtime.sessions.begin() as session:
        await outcomes.note(session, [church.fact(number)])
    applied = await church.ask("GET", f"deliveries/{number}")
    assert applied["steps"][-1]["sentence"] == "The phone number was taken over."
    assert (applied["record_kind"], applied["record_id"], applied["state"]) == ("member", "m-1", "applied")
    unreadable = await church.stored(
        state="failed", outcome="unreadable", sentence="It is not JSON.", body=b"\x00", name="", delivery_id=""
    )
    shown = await church.ask("GET", f"deliveries/{unreadable}")
    assert (shown["can_replay"], shown["steps"][-1]["sentence"]) == (False, "It is not JSON.")
    assert (await church.ask("GET", f"deliveries/{unreadable}/payload"))["document"] is None


async def test_contents_are_masked_and_looks_are_kept_with_their_reason(church: Church) -> None:
    number = await church.stored()
    masked = await church.ask("GET", f"deliveries/{number}/payload", roles=("staff",))
    assert masked["masked"]
    assert "Mira" not in json.dumps(masked)
    person = masked["document"]["attributes"]["payload"]["data"]
    assert (person["type"], person["id"], person["attributes"]["first_name"]) == ("Person", "5001", "•••")

    reason = {"reason": "The family asks why."}
    await church.ask("POST", f"deliveries/{number}/payload/look", reason, roles=("staff",), status=403)
    await church.ask("POST", f"deliveries/{number}/payload/look", {"reason": " "}, status=422)
    assert (await church.ask("GET", f"deliveries/{number}"))["looks"] == []
    headers = church.provider.headers(organization_id=church.id) | {"Idempotency-Key": "look-1"}
    path = f"/api/v1/webhooks/deliveries/{number}/payload/look"
    answer = await church.client.post(path, json=reason, headers=headers)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["document"]["attributes"]["payload"]["data"]["attributes"]["first_name"] == "Mira"
    (look,) = (await church.ask("GET", f"deliveries/{number}"))["looks"]
    assert (look["user_name"], look["reason"]) == ("Ada Moreno", "The family asks why.")
    async with church.app.state.runtime.sessions() as session:
        kept = church.app.state.metadata.tables["kept_answer"]
        assert await session.scalar(select(func.count()).where(kept.c.organization_id == church.id)) == 0

    child = await church.stored(body=message({"type": "Person", "id": "7", "attributes": ADULT | {"child": True}}))
    looked = await church.ask("POST", f"deliveries/{child}/payload/look", reason)
    assert "Mira" not in json.dumps(looked)


async def test_a_body_is_not_read_before_the_caller_is_known(church: Church) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await church.client.post("/api/v1/webhooks/replays/preview", content=b"x" * 2**21, headers=headers)
    assert answer.status_code == 401, "and not 413"


async def sent_again(church: Church, kafka: str, count: int) -> list[WebhookReceived]:
    async with AIOKafkaConsumer(
        "webhooks.delivery.v1",
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:
        found: list[WebhookReceived] = []
        while len(found) < count:
            record = await asyncio.wait_for(consumer.getone(), 30)
            if record.key.startswith(church.id.encode()):
                found.append(WebhookReceived.model_validate_json(record.value))
        return found


async def test_a_replay_is_bound_to_what_was_counted(
    church: Church, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 2)
    failed = [await church.stored(state="failed", outcome="failed", sentence="Given up.") for _ in range(5)]
    await church.stored(state="failed", outcome="unreadable", sentence="It is not JSON.")
    await church.stored(state="applied", outcome="changed")
    chosen = {"state": "failed"}
    await church.ask("POST", "replays/preview", chosen, roles=("staff",), status=403)
    shown = await church.ask("POST", "replays/preview", chosen)
    assert (shown["count"], shown["left_out"], shown["newest"]) == (5, 1, failed[-1])
    bound = {"newest": shown["newest"], "digest": shown["digest"]}
    late = await church.stored(state="failed", outcome="failed", sentence="Given up.")
    refused = await church.ask("POST", "replays", {"state": "applied"} | bound, status=409)
    assert refused["type"] == "/problems/not-shown"
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(update(Delivery).where(Delivery.id == failed[0]).values(state="archived"))
    moved = await church.ask("POST", "replays", chosen | bound, status=409)
    assert "4 of these messages can be sent again now" in moved["detail"]
    shown = await church.ask("POST", "replays/preview", chosen | {"cause": "Given up.", "until": None})
    assert shown["newest"] == late
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(update(Delivery).where(Delivery.id == failed[0]).values(state="failed"))
    shown = await church.ask("POST", "replays/preview", chosen)
    bound = {"newest": shown["newest"], "digest": shown["digest"]}
    later = await church.stored(state="failed", outcome="failed", sentence="Given up.")
    started = await church.ask("POST", "replays", chosen | bound, status=202)
    assert (started["total"], started["asked_by_name"]) == (6, "Ada Moreno")

    async def done() -> Any:
        state = await church.ask("GET", f"replays/{started['id']}", roles=("staff",))
        return state if state["state"] == "done" else None

    state = await eventually(done)
    assert (state["done"], state["waiting"]) == (6, 6)
    assert sorted(fact.version for fact in await sent_again(church, kafka_server, 6)) == [*failed, late]
    assert (await church.row(later)).state == "failed"
    row = await church.row(failed[2])
    assert (row.state, row.replays) == ("waiting", 1)
    assert (await church.ask("GET", f"deliveries/{failed[2]}"))["outcome"] is None
    await church.ask("GET", f"replays/{started['id']}", of="another", status=404)
    await church.ask("GET", "replays/nonsense", status=404)


async def test_one_delivery_is_sent_again_and_its_old_outcome_comes_late(church: Church, kafka_server: str) -> None:
    number = await church.stored(resource_type="Email", resource_id="91", person_id="5001")
    before = datetime.now(UTC)
    async with church.app.state.runtime.sessions.begin() as session:
        await outcomes.note(session, [church.fact(number, "failed", applied_at=before)])
    shown = await church.ask("POST", "replays/preview", {"number": number})
    bound = {"newest": shown["newest"], "digest": shown["digest"]}
    await church.ask("POST", "replays", {"number": number} | bound, status=202)
    (fact,) = await sent_again(church, kafka_server, 1)
    assert (fact.version, fact.replayed, fact.person_id, fact.resource_type) == (number, True, "5001", "Email")
    async with church.app.state.runtime.sessions.begin() as session:
        await outcomes.note(session, [church.fact(number, "failed", applied_at=before)])
    assert (await church.row(number)).state == "waiting"
    async with church.app.state.runtime.sessions.begin() as session:
        slower = before - timedelta(seconds=5)  # by the clock of another process
        await outcomes.note(session, [church.fact(number, "changed", applied_at=slower)])
    assert (await church.row(number)).state == "applied"
    nothing = await church.ask("POST", "replays/preview", {"number": number + 10**9})
    assert nothing["count"] == 0
    refused = {"number": number + 10**9, "newest": nothing["newest"], "digest": nothing["digest"]}
    assert (await church.ask("POST", "replays", refused, status=409))["type"] == "/problems/nothing-shown"


async def test_what_is_sent_again_is_not_handed_on_before_kafka_has_it_again(church: Church) -> None:
    number = await church.stored(state="applied", outcome="changed", age=timedelta(days=7))

    async def handed_on() -> Any:
        shown = await church.ask("GET", f"deliveries/{number}")
        (step,) = [one for one in shown["steps"] if one["step"] == "published"]
        return step

    assert (await handed_on())["sentence"] == "It was handed to the sync of people."
    shown = await church.ask("POST", "replays/preview", {"number": number})
    bound = {"newest": shown["newest"], "digest": shown["digest"]}
    async with church.app.state.runtime.sessions.begin() as relays:
        # No relay is at work, as while Kafka is away.
        await relays.execute(select(func.pg_advisory_xact_lock(_RELAY_LOCK)))
        started = await church.ask("POST", "replays", {"number": number} | bound, status=202)

        async def done() -> bool:
            return bool((await church.ask("GET", f"replays/{started['id']}"))["state"] == "done")

        await eventually(done)
        step = await handed_on()
        assert (step["at"], step["sentence"]) == (None, "It waits to be handed on. It was sent again once.")

    async def told() -> Any:
        step = await handed_on()
        return step if step["at"] else None

    step = await eventually(told)
    assert step["sentence"] == "It was handed to the sync of people. It was sent again once."
    assert datetime.fromisoformat(step["at"]) > datetime.now(UTC) - timedelta(minutes=5)


async def test_failed_deliveries_are_grouped_by_cause_and_archived(church: Church) -> None:
    given_up = [await church.stored(state="failed", outcome="failed", sentence="Given up.") for _ in range(3)]
    await church.stored(state="failed", outcome="unreadable", sentence="It is not JSON.", product="calendar")
    groups = (await church.ask("GET", "dead-letters", roles=("staff",)))["items"]
    assert [(one["cause"], one["count"], one["newest"], one["can_replay"]) for one in groups] == [
        ("Given up.", 3, given_up[-1], True),
        ("It is not JSON.", 1, given_up[-1] + 1, False),
    ]
    assert len((await church.ask("GET", "dead-letters?product=calendar"))["items"]) == 1
    assert (await church.ask("GET", "dead-letters", of="another"))["items"] == []
    late = await church.stored(state="failed", outcome="failed", sentence="Given up.")
    asked = {"cause": "Given up.", "newest": given_up[-1], "note": "Seen to by hand."}
    await church.ask("POST", "dead-letters/archive", asked, roles=("staff",), status=403)
    await church.ask("POST", "dead-letters/archive", asked, of="another", status=409)
    assert await church.ask("POST", "dead-letters/archive", asked) == {"archived": 3, "left": False}
    assert (await church.row(late)).state == "failed"
    shown = await church.ask("GET", f"deliveries/{given_up[0]}")
    assert (shown["state"], shown["archived_by"], shown["archived_note"]) == (
        "archived",
        "Ada Moreno",
        "Seen to by hand.",
    )
    await church.ask("POST", "dead-letters/archive", asked, status=409)
    assert (await church.ask("GET", "activity"))["failed"] == 2


async def test_the_last_24_hours_are_counted_by_hour(church: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    await church.stored()
    await church.stored(state="applied", outcome="changed", age=timedelta(hours=2))
    await church.stored(state="archived", outcome="failed", age=timedelta(hours=2))
    await church.stored(age=timedelta(hours=30))
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with church.app.state.runtime.sessions.begin() as session:
        for hour, reason, count in (
            (now, "not signed", 3),
            (now, "too large", 1),
            (now - timedelta(hours=1), "not signed", 4),
        ):
            values = {"hour": hour, "reason": reason, "count": count, "sample": {}, "newest_at": hour}
            await session.execute(insert(RefusedCall).values(organization_id=church.id, **values))
        unknown = {
            "hour": now,
            "organization_id": "",
            "reason": "unknown address",
            "count": 9,
            "sample": {},
            "newest_at": now,
        }
        await session.execute(insert(RefusedCall).values(**unknown))
    shown = await church.ask("GET", "activity", roles=("staff",))
    assert len(shown["hours"]) == 25
    assert sum(hour["received"] for hour in shown["hours"]) == 3
    assert sum(hour["waiting"] for hour in shown["hours"]) == 1
    assert [hour["refused"] for hour in shown["hours"][-2:]] == [4, 4]
    assert [(one["reason"], one["count"]) for one in shown["refusals"]] == [("not signed", 7), ("too large", 1)]
    assert not any(hour["more"] for hour in shown["hours"])


async def test_an_erased_person_leaves_no_contents(church: Church) -> None:
    person = await church.stored()
    email = await church.stored(resource_type="Email", resource_id="5001", person_id="5002")
    contact = await church.stored(resource_type="Email", resource_id="91", person_id="5001")
    merger = await church.stored(resource_type="PersonMerger", resource_id="1", person_id="8", merged_person_id="5001")
    relations = {"people": {"data": [{"type": "Person", "id": "5001"}]}}
    household = {"type": "Household", "id": "4", "attributes": {"name": "Xenakis"}, "relationships": relations}
    families = [
        await church.stored(
            name=HOUSEHOLD,
            resource_type="Household",
            resource_id="4",
            body=message(household, HOUSEHOLD, as_text=as_text),
        )
        for as_text in (True, False)
    ]
    another = await church.stored(resource_id="50010")
    await church.ask("POST", f"deliveries/{person}/payload/look", {"reason": "Mira asks."})
    fact = PersonErased(
        organization_id=church.id, version=1, pco_person_ids=("5001", "4999"), erased_at=datetime.now(UTC)
    )
    await send(church.producer, fact, PEOPLE_SYNC)

    async def gone() -> bool:
        return (await church.ask("GET", f"deliveries/{person}/payload"))["document"] is None

    await eventually(gone)
    for number in (contact, merger, *families):
        shown = await church.ask("GET", f"deliveries/{number}/payload")
        assert (shown["document"], "erased" in shown["sentence"]) == (None, True)
    for number in (email, another):
        assert (await church.ask("GET", f"deliveries/{number}/payload"))["document"] is not None
    assert [look["reason"] for look in (await church.ask("GET", f"deliveries/{person}"))["looks"]] == [""]


async def test_what_became_of_messages_names_no_erased_person(church: Church) -> None:
    sentence = "Mira Xenakis was merged with Tom Xenakis."
    told: dict[str, Any] = {"state": "applied", "outcome": "changed", "sentence": sentence}
    merger = await church.stored(resource_type="PersonMerger", person_id="8", merged_person_id="5001", **told)
    failed = told | {"state": "archived", "outcome": "failed", "archived_by": "Ada", "archived_note": "Mira knows."}
    archived = await church.stored(**failed)
    waiting = await church.stored()
    unreadable = await church.stored(state="failed", outcome="unreadable", sentence="It is not JSON.")
    another = await church.stored(resource_id="5002", **told)
    fact = PersonErased(organization_id=church.id, version=1, pco_person_ids=("5001",), erased_at=datetime.now(UTC))
    async with church.app.state.runtime.sessions.begin() as session:
        await payloads.erase(session, fact)
    for number in (merger, archived):
        shown = await church.ask("GET", f"deliveries/{number}")
        assert "Mira" not in json.dumps(shown)
        assert "somebody in this message was erased here" in shown["sentence"]
        assert shown["steps"][-1]["sentence"] == shown["sentence"]
    assert (await church.row(waiting)).sentence is None
    assert (await church.row(unreadable)).sentence == "It is not JSON."
    assert (await church.row(another)).sentence == sentence


async def test_a_later_message_about_an_erased_person_goes_alone(church: Church) -> None:
    relations = {"people": {"data": [{"type": "Person", "id": "5001"}]}}
    household = {"type": "Household", "id": "4", "relationships": relations}
    family = await church.stored(
        name=HOUSEHOLD, resource_type="Household", resource_id="4", body=message(household, HOUSEHOLD)
    )
    before, later = await church.stored(), await church.stored(sentence="This person was erased here.")
    for number in (before, later):
        await church.ask("POST", f"deliveries/{number}/payload/look", {"reason": "Mira asks."})
    told = {"version": later, "erased_at": datetime.now(UTC), "delivery_number": later}
    # Known by its number alone where the message does not say whose contact it was.
    for organization, people in (("another", ("5001",)), (church.id, ())):
        fact = PersonErased(organization_id=organization, pco_person_ids=people, **told)
        async with church.app.state.runtime.sessions.begin() as session:
            await payloads.erase(session, fact)
        kept = {
            number
            for number in (family, before, later)
            if (await church.ask("GET", f"deliveries/{number}/payload"))["document"] is not None
        }
        assert kept == ({family, before, later} if organization == "another" else {family, before})
    looks = [(await church.ask("GET", f"deliveries/{number}"))["looks"] for number in (before, later)]
    assert [one["reason"] for (one,) in looks] == ["Mira asks.", ""]
    assert (await church.row(later)).sentence == "This person was erased here."


async def test_a_reconciled_gap_is_closed(church: Church) -> None:
    gap = uuid4()
    now = datetime.now(UTC)
    async with church.app.state.runtime.sessions.begin() as session:
        session.add(
            DeliveryGap(
                id=gap,
                organization_id=church.id,
                product="people",
                generation=1,
                since=now,
                until=now,
                cause="The subscription was off.",
                version=1,
                found_at=now,
            )
        )
    for organization, sentence in (("another", "Wrong."), (church.id, "All people were read again.")):
        fact = GapReconciled(
            organization_id=organization,
            version=1,
            product="people",
            gap_id=str(gap),
            by=PEOPLE_SYNC,
            sentence=sentence,
            run_id="run-1",
            reconciled_at=now,
        )
        await send(church.producer, fact, PEOPLE_SYNC)

    async def closed() -> DeliveryGap | None:
        async with church.app.state.runtime.sessions() as session:
            found: DeliveryGap = await session.get_one(DeliveryGap, gap)
            return found if found.closed_at else None

    found = await eventually(closed)
    assert (found.closed_how, found.run_id) == ("All people were read again.", "run-1")


async def test_old_deliveries_go_and_waiting_ones_never(church: Church) -> None:
    assert await church.ask("GET", "settings", roles=("staff",)) == {"kept_days": 30}
    await church.ask("PUT", "settings", {"kept_days": 10}, roles=("staff",), status=403)
    for days in (6, 366):
        await church.ask("PUT", "settings", {"kept_days": days}, status=422)
    assert await church.ask("PUT", "settings", {"kept_days": 10}) == {"kept_days": 10}
    assert await church.ask("GET", "settings") == {"kept_days": 10}

    sessions = church.app.state.runtime.sessions
    key = {"product": "people", "generation": 1, "pco_organization_id": "77", "sealed_key": b"x"}
    async with sessions.begin() as session:
        for organization in (church.id, "another"):
            values = key | {"key_hash": uuid4().bytes, "created_at": func.now(), "organization_id": organization}
            await session.execute(insert(WebhookKey).values(**values))
    eleven = timedelta(days=11)
    old = [await church.stored(state="applied", outcome="changed", age=eleven) for _ in range(3)]
    waiting = await church.stored(age=eleven)
    young = await church.stored(state="applied", outcome="changed", age=timedelta(days=9))
    theirs = Church(church.app, church.client, church.provider, "another", church.producer)
    not_theirs = await theirs.stored(state="applied", age=eleven)
    await retention.forget_old(church.app.state.runtime, None)
    async with sessions() as session:
        kept = set(await session.scalars(select(Delivery.id).where(Delivery.id >= old[0])))
        bodies: set[UUID] = set(await session.scalars(select(WebhookBody.id)))
    assert not set(old) & kept
    assert {waiting, young, not_theirs} <= kept
    assert {(await church.row(number)).body_id for number in (waiting, young)} <= bodies
    async with sessions() as session:
        of_church = select(func.count()).select_from(WebhookBody).where(WebhookBody.organization_id == church.id)
        assert await session.scalar(of_church) == 2


async def test_contents_whose_rows_went_before_a_kill_go_in_the_next_round(church: Church) -> None:
    sessions = church.app.state.runtime.sessions
    key = {"product": "people", "generation": 1, "pco_organization_id": "77", "sealed_key": b"x"}
    async with sessions.begin() as session:
        values = key | {"key_hash": uuid4().bytes, "created_at": func.now(), "organization_id": church.id}
        await session.execute(insert(WebhookKey).values(**values))
    old = await church.stored(state="applied", outcome="changed", age=timedelta(days=31))
    waiting, young = await church.stored(age=timedelta(days=31)), await church.stored(age=timedelta(days=29))
    async with sessions.begin() as session:
        await session.execute(delete(Delivery).where(Delivery.id.in_([old, young])))
    await retention.forget_old(church.app.state.runtime, None)
    async with sessions() as session:
        bodies = select(WebhookBody.received_at).where(WebhookBody.organization_id == church.id)
        left = set(await session.scalars(bodies))
    assert len(left) == 2
    assert {(await church.row(waiting)).received_at} < left


async def test_old_looks_and_counts_go(church: Church) -> None:
    sessions = church.app.state.runtime.sessions
    async with sessions.begin() as session:
        for age in (366, 1):
            at = datetime.now(UTC) - timedelta(days=age)
            who = {"user_id": "ada", "user_name": "Ada", "reason": "r", "delivery_number": 1}
            await session.execute(insert(PayloadView).values(id=uuid7(), organization_id=church.id, seen_at=at, **who))
            call = {
                "hour": at,
                "organization_id": church.id,
                "reason": "not signed",
                "count": 1,
                "sample": {},
                "newest_at": at,
            }
            await session.execute(insert(RefusedCall).values(**call))
    await retention.forget_old(church.app.state.runtime, None)
    async with sessions() as session:
        for table in (PayloadView, RefusedCall):
            left = select(func.count()).select_from(table).where(table.organization_id == church.id)
            assert await session.scalar(left) == 1


async def test_operators_see_what_was_acknowledged_and_not_applied(church: Church) -> None:
    def figure(name: str) -> float:
        lines = generate_latest(REGISTRY).decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"webhook_gateway_{name} ")).rpartition(" ")[2])

    await measure(church.app.state.runtime, None)
    before = {name: figure(name) for name in ("waiting", "overdue", "failed")}
    await church.stored(waiting_since=datetime.now(UTC) - timedelta(hours=40))
    await church.stored()
    await church.stored(age=timedelta(days=3))  # sent again just now
    await church.stored(state="failed", outcome="failed", sentence="Given up.")
    await measure(church.app.state.runtime, None)
    assert {name: figure(name) - before[name] for name in before} == {"waiting": 3, "overdue": 1, "failed": 1}
    assert figure("waiting_age_seconds") >= 40 * 3600
