"""Live updates: facts from Kafka go to the browsers of the organization they belong to.

Every process gets all facts (broadcast subscriptions) and has its own clients. Facts are not repeated: a client that
connects, or was too slow, is told to read again.

An import changes hundreds of records a second, too many to follow on a screen. Above a rate, a church's facts of a
topic are not sent one by one: its clients are told at intervals to read again, so that neither they nor other
churches' streams must process each fact.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final

import orjson

from contracts.base import Event
from contracts.events.people_sync_run_v1 import HeldMatchesAnswered
from contracts.http.gateway import LiveFact
from contracts.topics import TOPICS, topic_of
from contracts.values import WEBHOOK_GATEWAY
from servicekit.errors import TooMany

_ABOUT: Final = {  # API paths affected by a topic's facts
    "auth.connection.v1": ("/connections", "/webhooks/status"),
    "people.record.v1": ("/people/members", "/people/families", "/people/status"),
    "people.sync-run.v1": ("/people/status", "/people/runs", "/people/held-matches"),
    "conflicts.conflict.v1": ("/conflicts", "/conflicts/count"),
    "calendar.event.v1": ("/calendar/events", "/calendar/occurrences", "/calendar/status"),
    "calendar.sync-run.v1": ("/calendar/status", "/calendar/runs"),
    "webhooks.outcome.v1": ("/webhooks/activity", "/webhooks/deliveries", "/webhooks/dead-letters"),
    "webhooks.subscription.v1": ("/webhooks/status",),
}
_ABOUT_TYPE: Final[dict[type[Event], tuple[str, ...]]] = {
    HeldMatchesAnswered: ("/people/held-matches", "/people/status")
}
"""Fact types that affect other API paths than their topic's others."""
AGAIN_SECONDS: Final = 10
REREAD_SECONDS: Final = 2.0
"""Seconds between two calls to read again while facts exceed the rate."""
LIVE_TOPICS: Final = frozenset(topic.name for topic in TOPICS.values() if WEBHOOK_GATEWAY in topic.broadcast)


def reads_about(topic: str, type_: type[Event] | None = None) -> tuple[str, ...]:
    """Paths of the API whose answers change with the facts of a topic, or with those of one type."""
    return tuple(f"/api/v1{path}" for path in (_ABOUT_TYPE.get(type_) if type_ else None) or _ABOUT[topic])


def greeting(topics: Iterable[str]) -> str:
    """The data of `hello`: what to read again, since facts of these topics may have been missed."""
    return orjson.dumps({"reread": list(dict.fromkeys(chain.from_iterable(map(reads_about, topics))))}).decode()


class Client:
    """One open stream. A full queue means that the client cannot keep up: its stream ends."""

    def __init__(self, user_id: str, topics: frozenset[str], size: int) -> None:
        self.user_id = user_id
        self.topics = topics
        self._queue: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(size)
        self.overrun = False

    def offer(self, name: str, data: str) -> None:
        """Queue one event; a full queue ends the stream instead."""
        if self.overrun:
            return
        try:
            self._queue.put_nowait((name, data))
        except asyncio.QueueFull:
            self.overrun = True
            while not self._queue.empty():  # the client will read again, so queued events only hold memory
                self._queue.get_nowait()
            self._queue.put_nowait(None)

    async def next(self, *, within: float) -> tuple[str, str] | None:
        """Name and data of the next event; None once the client is overrun. TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            return await self._queue.get()


@dataclass(slots=True)
class Pace:
    """The rate of one church's facts in one topic."""

    most: int
    """Maximum facts per second sent one by one."""
    since: float = -math.inf
    count: int = 0
    flooded: bool = False
    """Above the rate: facts are dropped until clients are told to read again."""

    def allows(self, now: float) -> bool:
        """Count one fact at `now` (seconds); gives whether it may be sent one by one."""
        if now - self.since >= 1:
            self.since, self.count = now, 0
        self.count += 1
        return not self.flooded and self.count <= self.most


class Hub:
    """All open streams of this process."""

    def __init__(self, queue_size: int, per_user: int, per_second: int) -> None:
        """`per_second`: facts per topic and church sent one by one."""
        self._queue_size = queue_size
        self._per_user = per_user
        self._per_second = per_second
        self._clients: dict[str, set[Client]] = {}
        self._paces: dict[str, dict[str, Pace]] = {}

    @contextmanager
    def client(self, organization_id: str, user_id: str, topics: frozenset[str] = LIVE_TOPICS) -> Iterator[Client]:
        """Open a stream of these topics for one organization, closed on exit. TooMany above the user's limit."""
        if sum(one.user_id == user_id for one in self._clients.get(organization_id, ())) >= self._per_user:
            raise TooMany(
                f"You have {self._per_user} live streams open, as many as there may be. Close one (each tab of the "
                f"console holds one), or try again in {AGAIN_SECONDS} seconds.",
                retry_after=AGAIN_SECONDS,
            )
        client = Client(user_id, topics, self._queue_size)
        self._clients.setdefault(organization_id, set()).add(client)
        try:
            yield client
        finally:
            clients = self._clients[organization_id]
            clients.discard(client)
            if not clients:
                del self._clients[organization_id]
                self._paces.pop(organization_id, None)

    def publish(self, fact: Event) -> None:
        """Hand a fact to the clients of its organization only."""
        clients = self._clients.get(fact.organization_id)
        if not clients:
            return
        topic = topic_of(type(fact)).name
        takers = [client for client in clients if topic in client.topics]
        if not takers or not self._one_by_one(fact.organization_id, topic):
            return
        reread = reads_about(topic, type(fact))
        body = fact.model_dump(mode="json")
        data = LiveFact(type=type(fact).__name__, reread=reread, body=body).model_dump_json()
        for client in takers:
            client.offer(topic, data)

    def _one_by_one(self, organization_id: str, topic: str) -> bool:
        """Whether a fact is sent one by one; if not, a call to read again is scheduled."""
        pace = self._paces.setdefault(organization_id, {}).setdefault(topic, Pace(self._per_second))
        loop = asyncio.get_running_loop()
        if pace.allows(loop.time()):
            return True
        if not pace.flooded:
            pace.flooded = True
            loop.call_later(REREAD_SECONDS, self._after_a_flood, organization_id, topic, pace)
        return False

    def _after_a_flood(self, organization_id: str, topic: str, pace: Pace) -> None:
        pace.flooded = False
        for client in self._clients.get(organization_id, ()):
            if topic in client.topics:
                client.offer("hello", greeting([topic]))

    def reread(self) -> None:
        """Tell every client to read again, since this process may have missed facts."""
        for clients in self._clients.values():
            for client in clients:
                client.offer("hello", greeting(sorted(client.topics)))

    def __len__(self) -> int:
        return sum(len(clients) for clients in self._clients.values())
