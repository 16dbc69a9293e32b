"""Private iCal feeds at the public port: who knows the address may read, and nobody else learns anything."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contracts.feeds import FEEDS, feed_key
from servicekit.errors import NotFound
from servicekit.http.auth import Verifier
from servicekit.http.edge import problem
from servicekit.settings import ServiceSettings
from servicekit.testing import KeyRing, serve

SECRET: Final = "q7Yk2mTeS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3"
ADDRESS: Final = f"{FEEDS}/{SECRET}.ics"
KEY: Final = feed_key(f"{SECRET}.ics").hex()
CALENDAR: Final = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"
NO_FEEDS: Final = (
    f"{FEEDS}/unknown.ics",
    f"{FEEDS}/{SECRET}",
    f"{FEEDS}/{SECRET}.ICS",
    f"{FEEDS}/{SECRET}.ics/",
    f"{FEEDS}/{SECRET[:-1]}.ics",
    f"{FEEDS}/",
    f"{FEEDS}/..%2f..%2fapi%2fv1%2fme",
    f"{FEEDS}/{'x' * 5000}.ics",
    f"{FEEDS}/a/b/c.ics",
)


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(make_gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(await make_gateway(), ready=False) as client:
        yield client


@pytest.fixture
def calendar(owner: Any) -> Any:
    """An owner with one feed."""

    async def answer(request: Request) -> Response:
        if not request.url.path.endswith(KEY):
            return problem(NotFound("There is nothing at this address."))
        headers = {"etag": 'W/"1"', "cache-control": "no-store", "x-inside": "secret"}
        if request.headers["if-none-match"] == 'W/"1"':
            return Response(status_code=304, headers=headers)

        async def parts() -> AsyncIterator[bytes]:
            yield CALENDAR[:10]
            yield CALENDAR[10:]

        return StreamingResponse(parts(), headers=headers, media_type="text/calendar; charset=utf-8")

    owner.answer = answer
    return owner


async def test_who_knows_the_address_reads_without_signing_in(
    gateway: httpx.AsyncClient, calendar: Any, keys: KeyRing
) -> None:
    answer = await gateway.get(ADDRESS, headers={"Cookie": "pco_attempt=bound", "Authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.content) == (200, CALENDAR)
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["etag"] == 'W/"1"'
    assert "x-inside" not in answer.headers
    asked = calendar.requests[-1]
    assert SECRET not in str(asked), "the secret goes no further than this port"
    assert "cookie" not in asked.headers
    token = asked.headers["authorization"].removeprefix("Bearer ")

    class Calendar(ServiceSettings):
        service_name = "calendar-sync"

    verifier = Verifier(keys.settings(Calendar, database_url="postgresql+asyncpg://x/y", kafka="x"))
    assert verifier.verify(token, "service+jwt", signers={"webhook-gateway"})["sub"] == "webhook-gateway"
    unchanged = await gateway.get(ADDRESS, headers={"If-None-Match": 'W/"1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    head = await gateway.head(ADDRESS)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", 'W/"1"')
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await gateway.request(method, ADDRESS)).status_code == 405


@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*"])
async def test_addresses_that_are_none_cannot_be_told_apart(
    gateway: httpx.AsyncClient, calendar: Any, accept: str
) -> None:
    told = [_told(await gateway.get(address, headers={"Accept": accept})) for address in NO_FEEDS]
    assert told == [told[0]] * len(NO_FEEDS)
    (status, headers, body) = told[0]
    assert status == 404
    assert headers["x-robots-tag"] == "noindex, nofollow"
    assert body["detail"] == "There is nothing at this address."
    asked = {len(one.path) for one in calendar.requests}
    assert len(asked) == 1, "each is asked for, in the same way"


def _told(answer: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """All that an answer says but its time and the id of the request itself."""
    own = {"instance", "x-correlation-id", "date"}
    return (
        answer.status_code,
        {name: value for name, value in answer.headers.items() if name not in own},
        {name: value for name, value in answer.json().items() if name not in own},
    )


async def test_a_feed_and_a_network_address_have_their_limits(make_gateway: Any, calendar: Any) -> None:
    async with serve(
        await make_gateway(limit_feed_per_minute=20, limit_feed_address_per_minute=100), ready=False
    ) as client:
        answers = [await client.get(ADDRESS) for _ in range(40)]
        late = [one for one in answers if one.status_code == 429]
        assert 10 < len(late) <= 20
        assert int(late[0].headers["retry-after"]) > 0
        assert late[0].headers["x-robots-tag"] == "noindex, nofollow"
        assert late[0].json()["detail"].startswith("Whoever reads this address has sent too many requests")
        assert (await client.get(f"{FEEDS}/another.ics")).status_code == 404, "other feeds have limits of their own"
        guesses = [await client.get(f"{FEEDS}/guess-{number}.ics") for number in range(150)]
        late = [one for one in guesses if one.status_code == 429]
        assert 50 < len(late) < 150
        assert late[0].json()["detail"].startswith("Your network address has sent too many requests")
        assert len(calendar.requests) < 150, "nobody is asked then"
        missing = await client.get("/api/v1/people/status")
        assert missing.status_code == 401, "the API has a limit of its own"


async def test_hundreds_of_requests_at_once_are_too_many(gateway: httpx.AsyncClient, calendar: Any) -> None:
    began = time.monotonic()

    async def reader() -> list[int]:
        return [(await gateway.get(ADDRESS)).status_code for _ in range(60)]

    answers = [status for those in await asyncio.gather(*(reader() for _ in range(5))) for status in those]
    seconds = time.monotonic() - began
    good = answers.count(200)
    assert set(answers) == {200, 429}
    assert 60 <= good <= 62 + seconds, "one a second, beyond those of a minute"
    assert len(calendar.requests) == good


async def test_an_owner_that_is_away_is_told(make_gateway: Any) -> None:
    async with serve(await make_gateway(calendar_sync_url="http://127.0.0.1:1"), ready=False) as client:
        answer = await client.get(ADDRESS)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert SECRET not in answer.text


async def test_the_secret_is_in_no_log_span_or_metric(
    make_gateway: Any, owner: Any, calendar: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spans = InMemorySpanExporter()
    gateway = await make_gateway(limit_feed_per_minute=5, span_processor=SimpleSpanProcessor(spans))
    for name in ("httpx", "httpcore"):
        caplog.set_level("WARNING", name)  # as `setup_logging` does
    caplog.set_level("DEBUG")

    async def broken(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield CALENDAR[:10]
            raise RuntimeError("the owner died")

        return StreamingResponse(parts(), media_type="text/calendar")

    async with serve(gateway, ready=False) as client:
        for method, address in (("GET", ADDRESS), ("HEAD", ADDRESS), ("POST", ADDRESS), ("GET", f"{ADDRESS}/more")):
            await client.request(method, address, headers={"Referer": f"https://example.org{ADDRESS}"})
        owner.answer = broken
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(ADDRESS)
        owner.answer = None
        assert 429 in [(await client.get(ADDRESS)).status_code for _ in range(5)]
        metrics = (await client.operators.get("/metrics")).text
    ours = [span for span in spans.get_finished_spans() if (span.attributes or {}).get("http.route") != "/{path}"]
    told = str([(span.name, dict(span.attributes or {}), span.events) for span in ours])
    assert f"GET {FEEDS}/{{address:path}}" in told
    assert f"{FEEDS}/{{address:path}}" in caplog.text
    assert f"{FEEDS}/{{address:path}}" in metrics
    for place in (told, caplog.text, metrics):
        assert SECRET not in place
        assert KEY not in place, "which is no secret, but names a church's feed"
