"""Webhooks under load while processes die: every delivery answered 200 is in the log, and is applied or explained once.

The sender is as patient as the vendor: it repeats what was not answered with 200, with the same delivery id. Bounded in
`make test`; `make soak` sets STORM_DELIVERIES, STORM_KILLS and STORM_PER_SECOND.
"""

import asyncio
import hmac
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import INTAKE, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(int(os.environ.get("STORM_SECONDS", "900")))]

DELIVERIES: Final = int(os.environ.get("STORM_DELIVERIES", "1500"))
KILLS: Final = int(os.environ.get("STORM_KILLS", "8"))
SEED: Final = int(os.environ.get("SOAK_SEED", "20261130"))
PER_SECOND: Final = int(os.environ.get("STORM_PER_SECOND", "100"))
EDITED: Final = 12
"""People whose name changes in Planning Center during the storm."""
NAME: Final = "people.v2.events.person.updated"
DYING: Final = (WEBHOOK_GATEWAY, INTAKE, PEOPLE_SYNC, CALENDAR_SYNC, AUTH_SERVICE)


@pytest.fixture(scope="module")
def live() -> bool:
    """Changes come at once."""
    return True


@pytest.fixture(scope="module")
def vendor() -> dict[str, object]:
    """A vendor without lag and limit: the storm alone slows."""
    return {"rate_limit": 0}


@pytest.fixture(scope="module")
def intakes() -> int:
    """Two, so that a delivery finds one while the other starts."""
    return 2


@dataclass
class Sender:
    """Sends signed deliveries at a steady pace, whatever the answers, and repeats each until it is answered 200.

    Each call has a connection of its own, as from many senders, and is written by hand: a client of httpx for each
    would cost more than all that the intake does.
    """

    addresses: Iterator[httpx.URL]
    """The addresses of the two intakes, in turn."""
    secret: str
    organization: str
    people: list[str]
    rng: random.Random
    taken: dict[str, str] = field(default_factory=dict)
    """Person by delivery id, of deliveries that were answered 200."""
    answers: Counter[str] = field(default_factory=Counter)
    forged: set[str] = field(default_factory=set)

    async def send(self, count: int) -> None:
        """Send `count` deliveries, every tenth of them twice at once, and every twentieth a forged one beside it."""
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number in range(count):
                if (ahead := began + number / PER_SECOND - time.monotonic()) > 0:
                    await asyncio.sleep(ahead)
                delivery, person = self._id(), self.rng.choice(self.people)
                for _ in range(2 if number % 10 == 0 else 1):
                    group.create_task(self._until_taken(delivery, person))
                if number % 20 == 0:
                    group.create_task(self._forged(person))

    async def _until_taken(self, delivery: str, person: str) -> None:
        body = self._body(delivery, person)
        wait = 0.2
        while True:
            try:
                status = await self._post(body, self._headers(delivery, body))
            except (OSError, asyncio.IncompleteReadError) as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[str(status)] += 1
                if status == 200:
                    self.taken[delivery] = person
                    return
                assert status in {429, 502, 503, 504}, status
            await asyncio.sleep(wait)
            wait = min(2 * wait, 3.0)

    async def _forged(self, person: str) -> None:
        delivery = self._id()
        self.forged.add(delivery)
        body = self._body(delivery, person)
        headers = self._headers(delivery, body) | {"X-PCO-Webhooks-Authenticity": "0" * 64}
        try:
            status = await self._post(body, headers)
        except (OSError, asyncio.IncompleteReadError):
            return
        assert status in {401, 429, 502, 503, 504}, status

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        """The answer's status. OSError or IncompleteReadError if none came."""
        url = next(self.addresses)
        said = {"Host": url.host, "Connection": "close", "Content-Length": str(len(body)), **headers}
        lines = [f"POST {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            try:
                writer.write("\r\n".join(lines).encode() + body)
                answer = await reader.readuntil(b"\r\n")
            finally:
                writer.close()
        return int(answer.split()[1])

    def _id(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def _body(self, delivery: str, person: str) -> bytes:
        payload = {
            "data": {"type": "Person", "id": person, "attributes": {}, "relationships": {}, "links": {}},
            "included": [],
            "meta": {"parent": {"id": self.organization, "type": "Organization"}},
        }
        attributes = {"name": NAME, "attempt": 1, "payload": json.dumps(payload)}
        whose = {"organization": {"data": {"type": "Organization", "id": self.organization}}}
        one = {"id": delivery, "type": "EventDelivery", "attributes": attributes, "relationships": whose}
        return json.dumps({"data": [one]}).encode()

    def _headers(self, delivery: str, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-PCO-Webhooks-Event": delivery,
            "X-PCO-Webhooks-Name": NAME,
            "X-PCO-Webhooks-Authenticity": hmac.new(self.secret.encode(), body, sha256).hexdigest(),
        }


def kill_at_random(stack: Stack, kills: int, seconds: float, rng: random.Random) -> Counter[str]:
    """Kill processes, Kafka and PostgreSQL by SIGKILL at random instants of a period, and start each again."""
    done: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(kills):
        # The instants are drawn by chance, so there is no condition to wait for.
        due = began + (number + rng.random()) * seconds / kills
        time.sleep(max(0.0, due - time.monotonic()))
        if number % 7 == 3:
            stack.kafka.kill()
            time.sleep(rng.uniform(0, 2))
            stack.kafka.start()
            done["kafka"] += 1
        elif number % 7 == 6:
            stack.postgres.kill()
            time.sleep(rng.uniform(0, 2))
            stack.postgres.start()
            done["postgres"] += 1
        else:
            name = rng.choice(DYING)
            process = stack.process(name, rng.randrange(2))
            process.kill()
            process.start()
            done[name] += 1
    return done


def log_of(stack: Stack, query: str) -> list[Any]:
    """Rows of webhook-gateway's database."""

    async def read() -> list[Any]:
        connection = await asyncpg.connect(stack.database_url(WEBHOOK_GATEWAY, driver="postgresql"))
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return asyncio.run(read())


@pytest.fixture
def subscribed(ada: Church) -> dict[str, Any]:
    """A church that was synced once, and the subscription to its people."""
    ada.connect()
    ada.sync()
    pco = str(ada.control.organizations()[0]["id"])

    def found() -> list[dict[str, Any]]:
        return [one for one in ada.control.subscriptions(pco) if one["name"] == NAME and one["active"]]

    ada.eventually(found, "people are subscribed to")
    ada.eventually(lambda: ada.get("/webhooks/status")["people"]["state"] == "live", "the statement says live")
    [subscription] = found()
    return {**subscription, "organization": pco}


def test_every_delivery_is_logged_and_applied_once_whatever_dies(
    ada: Church, stack: Stack, subscribed: dict[str, Any]
) -> None:
    pco, rng = subscribed["organization"], random.Random(SEED)
    linked = [one for one in ada.members(state="linked") if one["last_name"]]
    edited = rng.sample(linked, EDITED)
    people = [one["link"]["pco_id"] for one in linked]
    path = httpx.URL(subscribed["url"]).path
    addresses = itertools.cycle([httpx.URL(f"{stack.replica_url(INTAKE, index)}{path}") for index in range(2)])
    sender = Sender(addresses, subscribed["authenticity_secret"], pco, people, rng)
    mark = ada.control.mark()
    seconds = DELIVERIES / PER_SECOND
    with ThreadPoolExecutor(2) as pool:
        killing = pool.submit(kill_at_random, stack, KILLS, seconds, random.Random(SEED + 1))
        sending = pool.submit(asyncio.run, sender.send(DELIVERIES))
        for number, one in enumerate(edited):
            ada.control.edit_person(pco, one["link"]["pco_id"], last_name=f"Storm-{number}")
            time.sleep(seconds / EDITED)
        sending.result()
        kills = killing.result()
    ada.control.hurry(factor=1e6)

    def waiting() -> int:
        return int(log_of(stack, "SELECT count(*) AS n FROM delivery WHERE state = 'waiting'")[0]["n"])

    ada.eventually(lambda: waiting() == 0, "every delivery has an outcome", within=300 + DELIVERIES / 500)
    rows = log_of(stack, "SELECT delivery_id, state, outcome, sentence FROM delivery")
    times = Counter(row["delivery_id"] for row in rows)
    outcomes = Counter((row["state"], row["outcome"]) for row in rows)
    sys.stdout.write(
        f"tried: {len(sender.taken):,} taken, answers {dict(sender.answers)}, kills {dict(kills)}, outcomes "
        f"{dict(outcomes)}\n"
    )
    assert len(sender.taken) == DELIVERIES
    assert set(sender.taken) <= set(times), "a delivery that was answered 200 is not in the log"
    assert not set(times) & sender.forged
    assert max(times.values()) == 1, "a delivery is in the log twice"
    assert {state for state, _ in outcomes} <= {"applied", "failed"}
    assert all(row["sentence"] for row in rows if row["state"] == "failed"), outcomes
    ada.eventually(lambda: ada.differences(pco) == [], "both sides are equal", within=120)
    assert ada.writes_since(mark, pco) == [], "our own reads made writes"
    for number, one in enumerate(edited):
        history = ada.get(f"/people/members/{one['id']}/history")["items"]
        named = [entry for entry in history if f"Storm-{number}" in json.dumps(entry)]
        assert len(named) == 1, named
