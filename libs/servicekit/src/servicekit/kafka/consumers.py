"""Runs all subscriptions of a process: connects them, watches them, and restarts them after a failure."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

from aiokafka import ConsumerRecord
from aiokafka.client import AIOKafkaClient
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import LogicSubscriber

from servicekit.db.sessions import ping as ping_postgres
from servicekit.http.health import NotReady
from servicekit.kafka.attempts import Attempts
from servicekit.kafka.inbox import set_aside
from servicekit.kafka.rejections import Guard, UnknownType
from servicekit.kafka.subscriptions import Subscription, make_broker, tell_rejected
from servicekit.runtime import Runtime

REBALANCE_SECONDS = 10.0
"""A group stays ready for this long while it rebalances, which happens whenever a replica comes or goes."""
STALLED_SECONDS = 60.0
IDLE_SECONDS = 10.0
GAP_SECONDS = 3.0
"""A broadcast group without an answer to a fetch for this long (two come a second) may have missed facts."""
WAIT_SECONDS = 60.0
"""A group that waits this long for the same outage becomes not ready, because no other probe may see that outage."""
STUCK_SECONDS = 240.0
"""Maximum time of one message with all attempts: after 300 s Kafka would remove this member from the group."""


class ConsumerStalled(Exception):
    """A consumer fetches nothing (aio-libs/aiokafka#1154), or its handler never ends. A new consumer replaces it."""


class Consumers:
    """All subscriptions of a process, as one supervised step: connect, watch, and restart after a failure."""

    NAME = "consumers"

    def __init__(self, runtime: Runtime, resources: Any, subscriptions: Sequence[Subscription]) -> None:
        self._runtime = runtime
        self._resources = resources
        self._subscriptions = subscriptions
        self.guards = {
            subscription.group: Guard(
                subscription.group,
                subscription.topic.name,
                None if subscription.broadcast else subscription.topic.dead_letter(subscription.service),
                runtime.dead_letters,
                partial(ping_postgres, runtime.engine),
                None if subscription.broadcast else Attempts(runtime.sessions, subscription.group),
                None if subscription.broadcast else partial(self._set_aside, subscription.group),
                partial(tell_rejected, subscription, runtime, resources) if subscription.on_rejected else None,
            )
            for subscription in subscriptions
        }
        self._gaps = {subscription.group: subscription.gap for subscription in subscriptions if subscription.gap}
        self._broker: KafkaBroker | None = None
        self._idle_since: dict[str, float] = {}
        self._last_at_work: dict[str, float] = {}

    async def run(self) -> None:
        """Consume until a failure (raised) or until the task is cancelled."""
        broker = make_broker(self._runtime, self._resources, self._subscriptions, self.guards)
        self._idle_since = {}
        try:
            await broker.start()
            self._broker = broker
            while True:
                await self._watch()
                self._runtime.health.beat(self.NAME)
                await asyncio.sleep(1)
        finally:
            self._broker = None
            self._last_at_work = {}
            await broker.stop()

    async def _watch(self) -> None:
        for subscriber, guard in self._running():
            if guard.rejections.stopped:
                await subscriber.stop()
                continue
            at_work = self._note_at_work(subscriber, guard.group)
            gap = self._gaps.get(guard.group)
            if gap and not _fetching(subscriber, GAP_SECONDS):
                gap.noted = True
            elif gap and gap.noted and at_work:
                gap.noted = False
                gap.tell(self._resources)
            idle = guard.busy_since is None and not _fetching(subscriber, IDLE_SECONDS)
            now = time.monotonic()
            if guard.busy_since is not None and now - guard.busy_since > STUCK_SECONDS:
                raise ConsumerStalled(f"{guard.group} has been at one message for {STUCK_SECONDS:g} s")
            since = self._idle_since.setdefault(guard.group, now) if idle else now
            if not idle:
                self._idle_since.pop(guard.group, None)
            if now - since > STALLED_SECONDS:
                raise ConsumerStalled(f"{guard.group} has fetched nothing for {STALLED_SECONDS:g} s")

    def _running(self) -> Iterator[tuple[LogicSubscriber[Any], Guard]]:
        for subscriber in cast("list[LogicSubscriber[Any]]", self._broker.subscribers if self._broker else []):
            if subscriber.consumer is not None:
                yield subscriber, self.guards[str(subscriber.group_id)]

    async def _set_aside(self, group: str, record: ConsumerRecord[Any, Any], error: UnknownType) -> None:
        async with self._runtime.sessions.begin() as session:
            await set_aside(session, record, consumer=group, event_id=error.event_id, event_type=error.name)

    async def check(self) -> None:
        """A probe: NotReady while a group is not consuming."""
        for guard in self.guards.values():
            if guard.rejections.stopped:
                raise NotReady(
                    f"{guard.group} stopped: too many messages rejected. Mend the cause, restart the service, "
                    "then replay with python -m servicekit.kafka.dead_letters"
                )
            if guard.undelivered:
                raise NotReady(
                    f"{guard.group} stands at a message that no dead-letter topic takes: {guard.undelivered}"
                )
            since, reason = guard.waiting or (time.monotonic(), "")
            if reason and (waited := time.monotonic() - since) > WAIT_SECONDS:
                raise NotReady(f"{guard.group} has waited at a message for {waited:.0f} s: {reason}")
        for subscriber, guard in self._running():
            self._note_at_work(subscriber, guard.group)
        since = time.monotonic() - REBALANCE_SECONDS
        if waiting := {group for group in self.guards if self._last_at_work.get(group, -math.inf) < since}:
            raise NotReady(f"no partitions assigned: {', '.join(sorted(waiting))}")

    def _note_at_work(self, subscriber: LogicSubscriber[Any], group: str) -> bool:
        at_work = _at_work(subscriber)
        if at_work:
            self._last_at_work[group] = time.monotonic()
        return at_work


def _at_work(subscriber: LogicSubscriber[Any]) -> bool:
    """Whether partitions are assigned and each was polled, because only then does "latest" mean from now on."""
    consumer = subscriber.consumer
    if consumer is None:
        return False
    partitions = consumer.assignment()
    return bool(partitions) and all(consumer.last_poll_timestamp(partition) is not None for partition in partitions)


def _fetching(subscriber: LogicSubscriber[Any], within: float) -> bool:
    """Whether any assigned partition was polled within so many seconds. Empty polls count; there are two per second."""
    consumer = subscriber.consumer
    if consumer is None:
        return False
    polls = [consumer.last_poll_timestamp(partition) or 0 for partition in consumer.assignment()]
    return bool(polls) and time.time() * 1000 - max(polls) < within * 1000


class KafkaProbe:
    """A probe of Kafka on one lasting connection, replaced after a failure."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client: AIOKafkaClient | None = None
        self._asking = asyncio.Lock()

    async def check(self) -> None:
        """Raise if Kafka does not answer."""
        async with self._asking:
            try:
                if self._client is None:
                    self._client = AIOKafkaClient(
                        bootstrap_servers=self._bootstrap_servers, client_id="probe", request_timeout_ms=2000
                    )
                    await self._client.bootstrap()
                else:
                    await self._client.fetch_all_metadata()
            except BaseException:  # a cancellation by a deadline also means that the connection may be stuck
                await self.close()
                raise

    async def close(self) -> None:
        """Close the connection. The next check makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
