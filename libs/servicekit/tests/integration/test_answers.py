"""What is sent again, because its answer was lost, is done once and answered again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sample_service.main import Settings, create_app
from sqlalchemy import text
from sqlalchemy.engine import make_url

from servicekit.http import answers
from servicekit.testing import Databases, KeyRing, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
SERVICE = "people-sync"
WRITTEN = b"to be cut"
COMMITTED = b"COMMIT\x00"


@dataclass
class Cut:
    """A way to PostgreSQL that can be cut at the instant at which it has committed what was written with a text."""

    port: int = 0
    armed: bool = False

    async def pass_on(self, one: asyncio.StreamReader, other: asyncio.StreamWriter, seen: asyncio.Event) -> None:
        while data := await one.read(65536):
            if WRITTEN in data and self.armed:
                seen.set()
            if COMMITTED in data and seen.is_set():
                self.armed = False
                break
            other.write(data)
        other.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(databases: Databases) -> str:
    return await databases.create("sample_service")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cut(database: str) -> AsyncIterator[Cut]:
    url, made = make_url(database), Cut()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(url.host, url.port)
        seen = asyncio.Event()
        both = made.pass_on(reader, to_server, seen), made.pass_on(from_server, writer, seen)
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(database: str, cut: Cut, keys: KeyRing) -> FastAPI:
    through = make_url(database).set(host="127.0.0.1", port=cut.port).render_as_string(hide_password=False)
    return create_app(keys.settings(Settings, database_url=through, kafka="127.0.0.1:1"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(app, ready=False) as running:
        yield running


@dataclass
class Caller:
    """An admin of an organization that nobody else has."""

    client: httpx.AsyncClient
    keys: KeyRing
    organization: str

    async def post(
        self, body: object, key: str | None, path: str = "/notes", organization: str | None = None, role: str = "admin"
    ) -> httpx.Response:
        headers = self.keys.user_headers(SERVICE, organization_id=organization or self.organization, roles=(role,))
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.client.post(path, json=body, headers=headers)


@pytest.fixture
def caller(client: httpx.AsyncClient, keys: KeyRing) -> Caller:
    return Caller(client, keys, f"org-{uuid4()}")


async def notes(app: FastAPI, organization: str) -> int:
    async with app.state.runtime.sessions() as session:
        count = text("SELECT count(*) FROM note WHERE organization_id = :organization")
        return int(await session.scalar(count, {"organization": organization}))


async def test_a_commit_whose_answer_is_lost_is_not_repeated(app: FastAPI, cut: Cut, caller: Caller) -> None:
    cut.armed = True
    lost = await caller.post({"text": "to be cut"}, "key-1")
    assert lost.status_code == 503
    assert lost.headers["Retry-After"]
    assert await notes(app, caller.organization) == 1, "it was committed, and nobody could know"
    again = await caller.post({"text": "to be cut"}, "key-1")
    once_more = await caller.post({"text": "to be cut"}, "key-1")
    assert again.status_code == once_more.status_code == 201
    assert again.json() == once_more.json()
    assert again.headers["content-type"] == "application/json"
    assert await notes(app, caller.organization) == 1


async def test_without_a_key_no_retry_is_suggested_if_the_effect_is_unknown(
    app: FastAPI, cut: Cut, caller: Caller
) -> None:
    cut.armed = True
    lost = await caller.post({"text": "to be cut"}, None)
    assert lost.status_code == 503
    assert "Retry-After" not in lost.headers
    assert "may or may not have been made" in lost.json()["detail"]
    assert await notes(app, caller.organization) == 1


async def test_a_key_belongs_to_one_request_of_one_organization(app: FastAPI, caller: Caller) -> None:
    first = await caller.post({"text": "one"}, "key-1")
    other = await caller.post({"text": "two"}, "key-1")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/key-reused")
    elsewhere = await caller.post({"text": "one"}, "key-1", path="/notes?x=1")
    assert (elsewhere.status_code, elsewhere.json()["type"]) == (422, "/problems/key-reused")
    assert await notes(app, caller.organization) == 1
    stranger = f"{caller.organization}-stranger"
    theirs = await caller.post({"text": "one"}, "key-1", organization=stranger)
    assert theirs.status_code == 201
    assert theirs.json() != first.json()
    assert (await caller.post({"text": "one"}, "key-1", role="staff")).status_code == 403, (
        "who may not ask sees nothing"
    )
    for wrong in ("", "k" * 201, "a b"):
        assert (await caller.post({"text": "one"}, wrong)).status_code == 422


async def test_a_failed_request_is_not_stored_and_can_be_retried(app: FastAPI, caller: Caller) -> None:
    assert (await caller.post({"text": 5}, "key-1")).status_code == 422
    assert (await caller.post({"text": "five"}, "key-1")).status_code == 201


async def test_two_at_once_are_done_once(app: FastAPI, caller: Caller) -> None:
    app.state.resources.paused = True
    try:
        both = {asyncio.create_task(caller.post({"text": "one"}, "key-1")) for _ in range(2)}
        (refused,), (first,) = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        app.state.resources.paused = False
    told = refused.result()
    assert (told.status_code, told.json()["type"]) == (409, "/problems/in-progress")
    assert told.headers["Retry-After"]
    answer = await first
    assert answer.status_code == 201
    assert (await caller.post({"text": "one"}, "key-1")).json() == answer.json()
    assert await notes(app, caller.organization) == 1


async def test_a_request_that_sets_a_cookie_runs_again(caller: Caller) -> None:
    made = [await caller.post({}, "key-1", path="/cookies") for _ in range(2)]
    assert made[0].json() != made[1].json()
    assert made[0].cookies["secret"] != made[1].cookies["secret"]


async def test_answers_are_forgotten_after_a_day(app: FastAPI, caller: Caller) -> None:
    for number in range(5):
        await caller.post({"text": "one"}, f"key-{number}")
    old = await caller.post({"text": "one"}, "key-kept")
    async with app.state.runtime.sessions.begin() as session:
        await session.execute(text("UPDATE kept_answer SET created_at = created_at - interval '25 hours'"))
    anew = await caller.post({"text": "one"}, "key-kept")
    assert anew.json() != old.json(), "also before it is cleaned away"
    assert await answers.forget_old(app.state.runtime.sessions) >= 5
    async with app.state.runtime.sessions() as session:
        assert (await session.scalars(text("SELECT key FROM kept_answer"))).all() == ["key-kept"]
    async with app.state.runtime.sessions.begin() as session:
        await answers.forget_all(session, f"{caller.organization}-stranger")
    assert (await caller.post({"text": "one"}, "key-kept")).json() == anew.json()
    async with app.state.runtime.sessions.begin() as session:
        await answers.forget_all(session, caller.organization)
    made = await notes(app, caller.organization)
    gone = await caller.post({"text": "one"}, "key-kept")
    assert (gone.status_code, gone.json()["type"]) == (409, "/problems/answer-gone")
    assert (await caller.post({"text": "two"}, "key-kept")).json()["type"] == "/problems/key-reused"
    assert await notes(app, caller.organization) == made, "it was done, and is not done again"
