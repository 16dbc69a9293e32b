"""The live stream: all facts of the caller's organization and none of another's, at every replica."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from contracts.base import Event
from contracts.events.people_record_v1 import MemberChanged
from contracts.events.people_sync_run_v1 import SyncRunProgressed
from contracts.people import Member
from contracts.sync_runs import Run, RunProgress
from servicekit.local import LocalKafka
from servicekit.testing import eventually, serve
from servicekit.testing.facts import send
from webhook_gateway.usecases.live import reads_about

NOW = "2026-01-05T12:00:00Z"


class Kafka:
    """Publishes facts as the owners' outboxes do."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, fact: Event) -> None:
        await send(self._producer, fact, "test")


@pytest_asyncio.fixture(loop_scope="session")
async def kafka(kafka_server: str) -> AsyncIterator[Kafka]:
    async with AIOKafkaProducer(bootstrap_servers=kafka_server) as producer:
        yield Kafka(producer)


def progressed(organization: str, done: int) -> SyncRunProgressed:
    run = Run(
        id="run-1",
        kind="full",
        state="running",
        trigger="person",
        progress=RunProgress(phase="pull", done=done, noun="people", requests=1),
        version=done + 1,
        created_at=NOW,
    )
    return SyncRunProgressed(organization_id=organization, version=done + 1, run=run)


def changed(organization: str, name: str = "Ada") -> MemberChanged:
    member = Member(id=str(uuid4()), first_name=name, last_name="Moreno", version=1, created_at=NOW, updated_at=NOW)
    return MemberChanged(organization_id=organization, version=1, member=member, changed_at=NOW)


class Stream:
    """Events received by one client."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.ended = False

    def facts(self) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name not in {"hello", "expired"}]

    async def listen(self, response: httpx.Response) -> None:
        name = ""
        try:
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((name, json.loads(line.removeprefix("data: "))))
        except httpx.TransportError:
            pass  # the gateway stopped, which ends the stream; the test asserts that below
        self.ended = True


@asynccontextmanager
async def listening(client: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> AsyncIterator[Stream]:
    """A connected client after its greeting."""
    stream = Stream()
    async with client.stream("GET", f"/api/v1/live{query}", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        task = asyncio.create_task(stream.listen(response))
        try:
            await eventually(lambda: stream.events)
            yield stream
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_two_processes_both_deliver_each_fact_to_its_organization_alone(
    make_gateway: Any, databases: Any, provider: Any, kafka: Kafka
) -> None:
    ours, theirs = f"org-{uuid4()}", f"org-{uuid4()}"
    database_url = await databases.create("webhook_gateway")
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(serve(await make_gateway(database_url=database_url), within=60))
            for _ in range(2)
        ]
        mine = [
            await stack.enter_async_context(listening(client, provider.headers(organization_id=ours)))
            for client in (one, two)
        ]
        other = await stack.enter_async_context(listening(one, provider.headers(organization_id=theirs)))
        for stream in (*mine, other):
            name, hello = stream.events[0]
            assert name == "hello"
            assert "/api/v1/people/status" in hello["reread"]
        for done in range(30):
            await kafka.publish(progressed(ours, done))
        await kafka.publish(changed(theirs, "Olga"))
        await kafka.publish(changed(ours))
        await eventually(lambda: all(len(stream.facts()) >= 31 for stream in mine))
        await eventually(other.facts)
        for stream in mine:
            runs = [data for name, data in stream.events if name == "people.sync-run.v1"]
            # One key: in order, each once.
            assert [fact["body"]["run"]["progress"]["done"] for fact in runs] == list(range(30))
            assert {fact["body"]["organization_id"] for fact in stream.facts()} == {ours}
        assert [fact["body"]["member"]["first_name"] for fact in other.facts()] == ["Olga"]


async def test_a_client_that_comes_back_is_told_what_to_read_again(
    make_gateway: Any, provider: Any, kafka: Kafka
) -> None:
    ours = f"org-{uuid4()}"
    async with serve(await make_gateway(), within=60) as client:
        async with listening(client, provider.headers(organization_id=ours)):
            pass
        await kafka.publish(progressed(ours, 1))  # missed: facts are not repeated
        async with listening(client, provider.headers(organization_id=ours)) as again:
            assert again.events[0][0] == "hello"
            await kafka.publish(progressed(ours, 2))
            # The first fact may still be on its way from Kafka when the client is back.
            await eventually(lambda: 3 in [fact["body"]["version"] for fact in again.facts()])


@pytest.mark.broker_faults
async def test_after_an_outage_of_kafka_every_client_reads_again(
    make_gateway: Any, provider: Any, own_kafka: LocalKafka
) -> None:
    ours = f"org-{uuid4()}"
    app = await make_gateway(kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    async with (
        serve(app, within=60) as client,
        listening(client, provider.headers(organization_id=ours)) as stream,
    ):
        # The greetings of the start are over once a fact has come.
        async with AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap_servers) as producer:
            await Kafka(producer).publish(progressed(ours, 1))
            await eventually(stream.facts)
        await asyncio.to_thread(own_kafka.kill)
        before = len(stream.events)
        await asyncio.to_thread(own_kafka.start)
        await eventually(lambda: "hello" in [name for name, _ in stream.events[before:]], within=150)
        assert not stream.ended


async def test_topics_can_be_chosen(make_gateway: Any, provider: Any, kafka: Kafka) -> None:
    ours = f"org-{uuid4()}"
    async with serve(await make_gateway(), within=60) as client:
        headers = provider.headers(organization_id=ours)
        async with listening(client, headers, "?topics=people.sync-run.v1") as stream:
            await kafka.publish(changed(ours))
            await kafka.publish(progressed(ours, 1))
            await eventually(stream.facts)
            assert {name for name, _ in stream.events} == {"hello", "people.sync-run.v1"}
            about = ["/api/v1/people/status", "/api/v1/people/runs", "/api/v1/people/held-matches"]
            assert all(data["reread"] == about for _, data in stream.events)
        unknown = await client.get("/api/v1/live?topics=people.secret.v1", headers=headers)
        assert unknown.status_code == 422


async def test_the_stream_ends_when_the_token_expires(make_gateway: Any, provider: Any) -> None:
    async with serve(await make_gateway(), ready=False) as client:
        headers = provider.headers(exp=int(time.time()) + 2)
        async with listening(client, headers) as stream:
            await eventually(lambda: stream.ended)
            assert stream.events[-1][0] == "expired"


async def test_listening_needs_a_token_and_a_role(make_gateway: Any, provider: Any) -> None:
    async with serve(await make_gateway(), ready=False) as client:
        assert (await client.get("/api/v1/live")).status_code == 401
        nobody = await client.get("/api/v1/live", headers=provider.headers(roles=["choir"]))
        assert nobody.status_code == 403


async def test_a_user_has_so_many_streams_and_a_half_closed_one_ends(make_gateway: Any, provider: Any) -> None:
    app = await make_gateway(live_streams_per_user=2)
    async with serve(app, ready=False) as client:
        hub, headers = app.state.resources.live, provider.headers()
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(["GET /api/v1/live HTTP/1.1", "Host: x", *lines, "", ""]).encode())
        await reader.readuntil(b"hello")
        async with listening(client, headers):
            refused = await client.get("/api/v1/live", headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            assert "2 live streams open" in refused.json()["detail"]
            async with listening(client, provider.headers(sub="ben")):
                assert len(hub) == 3
            writer.write_eof()  # the client could still receive, and will never send again
            await eventually(lambda: len(hub) == 1)
            async with listening(client, headers):
                assert len(hub) == 2
        writer.close()
    assert len(hub) == 0


async def test_a_client_that_cannot_keep_up_is_disconnected_and_others_are_not(
    make_gateway: Any, provider: Any
) -> None:
    ours = f"org-{uuid4()}"
    app = await make_gateway(live_queue=50, live_facts_per_second=100_000)
    async with serve(app, ready=False) as client:
        headers = provider.headers(organization_id=ours)
        async with (
            listening(client, headers) as quick,
            client.stream("GET", "/api/v1/live", headers=headers) as stalled,
        ):
            hub = app.state.resources.live
            await eventually(lambda: len(hub) == 2)
            fact = changed(ours, "x" * 20_000)
            sent = 0

            async def fall_behind() -> bool:
                # The stalled client reads nothing: first the sockets fill, then its queue.
                nonlocal sent
                for _ in range(20):
                    hub.publish(fact)
                    sent += 1
                await eventually(lambda: len(quick.facts()) == sent)
                return any(queued.overrun for queued in hub._clients[ours])

            await eventually(fall_behind)
            # Now it reads the bytes in flight, and then the end.
            received = 0
            async for line in stalled.aiter_lines():
                received += line.startswith("data:")
            assert 0 < received < sent + 1
            await eventually(lambda: len(hub) == 1)
            hub.publish(progressed(ours, 1))
            await eventually(lambda: quick.events[-1][0] == "people.sync-run.v1")


async def test_an_import_becomes_one_reread_and_delays_no_other_client(
    make_gateway: Any, provider: Any, kafka: Kafka
) -> None:
    ours, theirs = f"org-{uuid4()}", f"org-{uuid4()}"
    app = await make_gateway()
    async with serve(app) as client:
        # The call to read again at the start comes before any client listens.
        await eventually(lambda: not any(one.gap and one.gap.noted for one in app.state.subscribers))
        async with (
            listening(client, provider.headers(organization_id=ours)) as busy,
            listening(client, provider.headers(organization_id=theirs)) as quiet,
        ):
            import_ = [kafka.publish(changed(ours, f"Person{number}")) for number in range(600)]
            await asyncio.gather(*import_, kafka.publish(progressed(ours, 1)), kafka.publish(changed(theirs, "Quinn")))
            # Facts behind the import in its partition arrive; of the import itself only as many as the limit allows.
            await eventually(lambda: any(fact["body"]["member"]["first_name"] == "Quinn" for fact in quiet.facts()))
            await eventually(lambda: [name for name, _ in busy.events].count("hello") > 1)
            assert len([name for name, _ in busy.events if name == "people.record.v1"]) < 600
            assert len([name for name, _ in busy.events if name == "people.sync-run.v1"]) == 1, (
                "another topic of theirs"
            )
            assert len(quiet.events) == 2
            last = max(position for position, (name, _) in enumerate(busy.events) if name == "hello")
            assert busy.events[last][1]["reread"] == list(reads_about("people.record.v1")), "nothing of other topics"


async def test_streams_do_not_hold_up_a_shutdown(make_gateway: Any, provider: Any) -> None:
    started = 0.0
    async with AsyncExitStack() as stack:
        async with serve(await make_gateway(), ready=False) as client:
            stream = await stack.enter_async_context(listening(client, provider.headers()))
            started = time.monotonic()
        assert time.monotonic() - started < 8
        assert orjson.dumps(stream.events[0][1])
