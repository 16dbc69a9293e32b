"""What crosses from one service to another: broadcasts, the trace, replayed dead letters."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sample_service.main import Base, Settings, create_app
from sample_service.messages import effects, fact, record
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionClosing
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from servicekit.app import create_service
from servicekit.context import current_flow
from servicekit.kafka import dead_letters
from servicekit.kafka.producer import Producer, Record
from servicekit.kafka.reader import Loss, Reader
from servicekit.kafka.subscriptions import EventHeaders, subscribe, subscribe_broadcast
from servicekit.runtime import Runtime
from servicekit.settings import ServiceSettings
from servicekit.testing import Databases, KeyRing, Served, eventually, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
DEAD_LETTERS = "auth.connection.v1.people-sync.dlq"


class GatewaySettings(ServiceSettings):
    service_name = "webhook-gateway"


Seen = list[tuple[Event, EventHeaders | None]]


def gateway(settings: GatewaySettings, seen: Seen, **more: Any) -> FastAPI:
    """Another service: takes outcomes as a group, connections as broadcasts."""

    @asynccontextmanager
    async def resources(_: Runtime) -> AsyncIterator[Seen]:
        yield seen

    async def on_outcome(event: WebhookApplied, session: AsyncSession, seen: Seen) -> None:
        flow = current_flow()
        assert flow.causation_id
        await session.connection()
        seen.append((event, None))

    async def on_connection(event: ConnectionAuthorized, headers: EventHeaders, seen: Seen) -> None:
        if event.version == 13:
            raise ValueError("unlucky")
        seen.append((event, headers))

    return create_service(
        settings,
        metadata=Base.metadata,
        subscribers=[
            subscribe(
                "webhooks.outcome.v1",
                group="webhook-gateway.outcomes",
                handlers={WebhookApplied: on_outcome},
                after_loss="nothing is needed",
            ),
            subscribe_broadcast(
                "auth.connection.v1", service="webhook-gateway", handlers={ConnectionAuthorized: on_connection}
            ),
        ],
        resources=resources,
        **more,
    )


@pytest_asyncio.fixture(loop_scope="session")
async def settings(databases: Databases, kafka_server: str, keys: KeyRing) -> GatewaySettings:
    return keys.settings(GatewaySettings, database_url=await databases.create("sample_service"), kafka=kafka_server)


@pytest_asyncio.fixture(loop_scope="session")
async def producer(kafka_server: str) -> AsyncIterator[Producer]:
    made = Producer(kafka_server, client_id="test")
    yield made
    await made.close()


async def test_every_replica_sees_every_broadcast_from_now_on(settings: GatewaySettings, producer: Producer) -> None:
    organization = f"org-{uuid.uuid4().hex[:8]}"
    await producer.send([record(fact(organization, 1))])  # before anybody listens
    one: Seen = []
    two: Seen = []
    async with serve(gateway(settings, one)), serve(gateway(settings, two)):
        await producer.send([record(fact(organization, version)) for version in (2, 13, 3)])
        for seen in (one, two):

            def versions(seen: Seen = seen) -> bool:
                return [e.version for e, _ in seen if e.organization_id == organization] == [2, 3]

            await eventually(versions, because="13 fails, is logged and dropped")
    headers = next(headers for e, headers in one if e.organization_id == organization)
    assert headers
    assert (headers.type, headers.source) == ("ConnectionAuthorized", "/auth-service")


async def test_a_broadcast_with_a_lost_position_reports_it_and_continues_at_now(kafka_server: str) -> None:
    """As of a topic that was made anew before anybody noticed that it was away."""
    topic, losses = "auth.connection.v1", list[Loss]()
    reader = Reader(
        topic,
        lost=losses.append,
        bootstrap_servers=kafka_server,
        group_id=f"live-{uuid.uuid4()}",
        auto_offset_reset="latest",
        enable_auto_commit=False,
    )
    await reader.start()
    place = TopicPartition(topic, 3)
    try:

        async def begun() -> bool:
            await reader.getmany(timeout_ms=50)
            return all(reader.last_poll_timestamp(one) for one in reader.assignment()) and bool(reader.assignment())

        await eventually(begun)
        assert losses == [], "the beginning is no loss"
        end = await reader.position(place)
        reader.seek(place, end + 1000)

        async def told() -> bool:
            await reader.getmany(timeout_ms=50)
            return bool(losses)

        await eventually(told)
        assert losses == [Loss(topic, 3, end + 1000, end)]
        assert await reader.position(place) == end
    finally:
        await reader.stop()


async def test_http_outbox_kafka_consumer_and_sql_are_one_trace(
    settings: GatewaySettings, databases: Databases, kafka_server: str, keys: KeyRing
) -> None:
    spans = InMemorySpanExporter()
    own = keys.settings(Settings, database_url=await databases.create("sample_service"), kafka=kafka_server)
    seen: Seen = []
    note = uuid.uuid4().hex
    trace_id = uuid.uuid4().hex
    app = create_app(own, span_processor=SimpleSpanProcessor(spans))
    async with (
        serve(app) as client,
        serve(gateway(settings, seen, span_processor=SimpleSpanProcessor(spans))),
    ):
        headers = keys.user_headers("people-sync") | {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        headers |= {"User-Agent": "Firefox of Anna", "Host": "church.example"}
        await client.put(f"/notes/{note}", json={"text": "a"}, headers=headers)
        assert (await client.get(f"/elsewhere/{note}", headers=headers)).status_code == 404
        headers.pop("Host")
        await app.state.runtime.http.get(f"{client.base_url}/notes/{note}?q=Anna%20Moreno", headers=headers)
        await eventually(lambda: any(e.key == note for e, _ in seen))
    ours = [span for span in spans.get_finished_spans() if span.context and f"{span.context.trace_id:032x}" == trace_id]
    names = {span.name for span in ours}
    assert "PUT /notes/{note_id}" in names
    assert "send webhooks.outcome.v1" in names
    consumed = [span for span in ours if span.name.startswith("webhooks.outcome.v1")]
    assert consumed, names
    by_id = {span.context.span_id: span for span in ours if span.context}
    statements = [span for span in ours if "db.query.text" in (span.attributes or {})]
    parents = {by_id[span.parent.span_id].name for span in statements if span.parent and span.parent.span_id in by_id}
    assert "PUT /notes/{note_id}" in parents, parents
    assert any(name.startswith("webhooks.outcome.v1") for name in parents), parents
    assert note not in str([span.attributes for span in statements]), "parameters stay out"
    every = [span.attributes or {} for span in spans.get_finished_spans()]
    read = [about for about in every if about.get("http.method") == "GET"]
    assert {about.get("http.route") for about in read} == {None, "/notes/{note_id}"}, (
        "our client's span and our server's"
    )
    asked = [span.attributes or {} for span in spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert [about["http.url"] for about in asked if "http.url" in about] == [f"{client.base_url}/"]
    of_http = [
        f"{span.name} {dict(span.attributes)}"
        for span in spans.get_finished_spans()
        if span.attributes and "http.method" in span.attributes
    ]
    assert len(of_http) >= len(read)
    for secret in ("Anna", note, "Firefox", "127.0.0.1'", "church.example"):
        assert secret not in str(of_http), "nor what somebody searched for, nor who did, nor from where"


async def test_operators_list_replay_and_archive(
    app: FastAPI, client: httpx.AsyncClient, producer: Producer, kafka_server: str, tmp_path: Path
) -> None:
    organization = f"org-{uuid.uuid4().hex[:8]}"

    def command(*arguments: str) -> Any:
        options = ["--bootstrap-servers", kafka_server]
        return dead_letters.run(dead_letters.parse([*arguments, *options]))

    await command("archive", DEAD_LETTERS, "--to", str(tmp_path / "earlier"))  # of other tests
    assert await command("list", DEAD_LETTERS) == "nothing to do"
    app.state.resources.failures.append(ValueError("a defect"))
    await producer.send([record(fact(organization, 1)), record(fact(organization, 2))])

    async def rejected() -> bool:
        return bool(await command("list", DEAD_LETTERS) != "nothing to do")

    await eventually(rejected)
    line = json.loads(await command("list", DEAD_LETTERS))
    assert (line["topic"], line["group"], line["error"]) == (
        "auth.connection.v1",
        "people-sync.connections",
        "ValueError",
    )
    assert await command("replay", DEAD_LETTERS) == "1 messages sent again"  # the defect is mended

    async def both() -> bool:
        return set(await effects(app, organization)) == {f"authorized {organization}:{n}" for n in (1, 2)}

    await eventually(both)
    assert await command("list", DEAD_LETTERS) == "nothing to do"

    await producer.send([record(fact(organization, 1, ConnectionClosing))])
    await eventually(rejected)
    path = tmp_path / "rejected.jsonl"
    assert await command("archive", DEAD_LETTERS, "--to", str(path)) == f"1 messages written to {path}"
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    assert await command("list", DEAD_LETTERS) == "nothing to do"
    with pytest.raises(ValueError, match="not a dead-letter topic"):
        await command("list", "auth.connection.v1")


async def test_a_replay_sends_the_letters_at_its_start_and_counts_towards_no_stop(
    app: FastAPI,
    client: Served,
    producer: Producer,
    kafka_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servicekit.kafka.rejections.MOST_IN_A_ROW", 3)
    organization = f"org-{uuid.uuid4().hex[:8]}"

    async def command(*arguments: str) -> list[str]:
        options = ["--bootstrap-servers", kafka_server]
        return (await dead_letters.run(dead_letters.parse([*arguments, *options]))).splitlines()

    async def listed() -> list[int]:
        lines = await command("list", DEAD_LETTERS)
        return [] if lines == ["nothing to do"] else [json.loads(line)["dlq_offset"] for line in lines]

    await command("archive", DEAD_LETTERS, "--to", str(tmp_path / "earlier"))  # of other tests
    broken = record(fact(organization, 1), value=b"{")  # nobody's, as it cannot be read: it counts in full
    nameless = Record(DEAD_LETTERS, None, b"by hand", [])
    await producer.send([broken, nameless])
    await eventually(lambda: _has(listed, 2))
    for _ in range(5):
        assert (await command("replay", DEAD_LETTERS))[0] == "1 messages sent again"
        await eventually(lambda: _has(listed, 2))
    (line,) = (line for line in await command("list", DEAD_LETTERS) if "group" in line)
    assert json.loads(line)["replays"] == "5"
    assert (await client.operators.get("/readyz")).status_code == 200

    # A letter that had no room for its message is replayed from the topic; of two, one is chosen.
    app.state.resources.failures += [ValueError("a defect"), ValueError("a defect")]
    event = fact(organization, 2)
    huge = record(event, value=event.model_dump_json().encode().ljust(1_048_100))
    await producer.send([huge, record(fact(organization, 3))])
    await eventually(lambda: _has(listed, 4))
    mended = (await listed())[2:]
    assert await command("replay", DEAD_LETTERS, "--offset", str(mended[0])) == ["1 messages sent again"]

    async def taken() -> bool:
        return len(await effects(app, organization)) == 1

    await eventually(taken)
    first, *others = await listed()
    assert others[-1] == mended[1]
    path = tmp_path / "rejected.jsonl"
    await command("archive", DEAD_LETTERS, "--limit", "1", "--to", str(path))
    assert await listed() == others
    await command("archive", DEAD_LETTERS, "--to", str(path))
    assert await listed() == []
    assert [json.loads(one)["offset"] for one in path.read_text().splitlines()] == [first, *others]


async def _has(listed: Any, count: int) -> bool:
    return len(await listed()) == count
