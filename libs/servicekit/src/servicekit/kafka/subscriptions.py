"""Kafka in: subscriptions as data, and the only place where FastStream's classes are constructed.

Every default of FastStream that loses messages is set here: acknowledgement after the handler, `earliest`, only what
was committed, one group per subscription, no topics made on the way, headers that cannot be decoded, retries and dead
letters.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.opentelemetry import KafkaTelemetryMiddleware
from faststream.message import StreamMessage
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.topics import TOPICS, Topic
from servicekit.context import flow
from servicekit.errors import PermanentError
from servicekit.kafka.inbox import claim
from servicekit.kafka.reader import Loss, Reader
from servicekit.kafka.rejections import Guard, RetryThenDeadLetter, UnknownType
from servicekit.runtime import Runtime
from servicekit.telemetry import METRICS

log = structlog.get_logger(__name__)

Handler = Callable[[Any, AsyncSession, Any], Awaitable[None]]
"""`async def on_x(event: X, session: AsyncSession, resources: Resources)`: one transaction, committed for it."""
TombstoneHandler = Callable[[str, AsyncSession, Any], Awaitable[None]]
"""`async def on_forgotten(key: str, session: AsyncSession, resources: Resources)`."""
BroadcastHandler = Callable[[Any, "EventHeaders", Any], Awaitable[None]]
"""`async def on_fact(event: Event, headers: EventHeaders, resources: Resources)`."""

METADATA_SECONDS = 5
"""So long, at most, a topic that was made, or made anew, stays unnoticed. aiokafka's own interval is 5 minutes."""
_UNREADABLE = "servicekit-unreadable-headers"


class BadMessage(PermanentError):
    """A message that breaks the agreement: no CloudEvents headers, no key or another's, no JSON."""


@dataclass(frozen=True, slots=True)
class EventHeaders:
    """A message's metadata, from its CloudEvents headers."""

    id: str
    type: str
    source: str
    time: str
    """ISO 8601"""
    correlation_id: str | None
    causation_id: str | None

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> "EventHeaders":
        """BadMessage if a required one is missing, if one could not be decoded, or for another CloudEvents version."""
        if unreadable := headers.get(_UNREADABLE):
            raise BadMessage(f"headers without a UTF-8 value: {unreadable}")
        missing = [name for name in ("ce_id", "ce_type", "ce_source", "ce_time") if not headers.get(name)]
        if missing:
            raise BadMessage(f"headers missing: {', '.join(missing)}")
        if (version := headers.get("ce_specversion")) != "1.0":
            raise BadMessage(f"CloudEvents {version} is not 1.0")
        return cls(
            id=headers["ce_id"],
            type=headers["ce_type"],
            source=headers["ce_source"],
            time=headers["ce_time"],
            correlation_id=headers.get("ce_correlationid"),
            causation_id=headers.get("ce_causationid"),
        )


class Gap(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Notes that a broadcast subscription begins anew: what was published in between may have passed it by."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell
        self.noted = False

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: the next assignment says it."""

    def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ARG002
        """Told by `servicekit.kafka.consumers` once every partition has been fetched from."""
        self.noted = True


@dataclass(frozen=True, slots=True)
class Subscription:
    """A group that takes one topic. Make it with `subscribe` or `subscribe_broadcast`."""

    topic: Topic
    service: str
    group: str
    handlers: Mapping[type[Event], Handler | BroadcastHandler]
    on_tombstone: TombstoneHandler | None = None
    broadcast: bool = False
    gap: Gap | None = None
    after_loss: str = ""
    """What brings lost facts back, for the log."""


def subscribe(
    topic: str,
    *,
    group: str,
    handlers: Mapping[type[Event], Handler],
    after_loss: str,
    on_tombstone: TombstoneHandler | None = None,
) -> Subscription:
    """A shared group `<service>.<purpose>`, from earliest: every message has its effect once in the whole service.

    A type of the topic that is not in `handlers` is skipped; a type the topic does not know is set aside until a
    version of the service knows it.
    after_loss: what the log tells operators when messages were gone before they were taken, by retention or with a
    topic that was made anew: the commands by which the owner tells its state again, or why nothing has to be.
    ValueError, when the module is imported, for what the registry does not agree to.
    """
    known = _topic(topic, handlers)
    service = group.partition(".")[0]
    if "." not in group or service not in known.consumers:
        raise ValueError(f"{group} is not <service>.<purpose> of a consumer of {topic}: {', '.join(known.consumers)}")
    return Subscription(known, service, group, handlers, on_tombstone, after_loss=after_loss)


def subscribe_broadcast(
    topic: str,
    *,
    service: str,
    handlers: Mapping[type[Event], BroadcastHandler],
    on_gap: Callable[[Any], None] | None = None,
) -> Subscription:
    """A group of its own for every process, from latest: each replica sees each fact from now on.

    No transaction, no inbox and no dead letters: a message that fails is logged, counted and dropped.
    on_gap: called with the resources whenever "now" begins, at the start and after every trouble with Kafka.
    """
    known = _topic(topic, handlers)
    if service not in known.broadcast:
        raise ValueError(f"{service} has no broadcast subscription of {topic} in the registry")
    return Subscription(
        known, service, f"{service}.live.{uuid4()}", handlers, broadcast=True, gap=on_gap and Gap(on_gap)
    )


def _topic(name: str, handlers: Mapping[type[Event], Any]) -> Topic:
    if name not in TOPICS:
        raise ValueError(f"{name} is not in the registry of topics")
    if strangers := [event.__name__ for event in handlers if event not in TOPICS[name].events]:
        raise ValueError(f"{name} does not carry {', '.join(strangers)}")
    return TOPICS[name]


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was read."""

    headers: EventHeaders
    key: str
    event: Event | None
    """None is a tombstone."""


async def _parse(
    record: ConsumerRecord[Any, Any],
    original: Callable[[ConsumerRecord[Any, Any]], Awaitable[StreamMessage[Any]]],
) -> StreamMessage[Any]:
    # FastStream decodes all headers before any middleware; one null value would lose the message silently.
    good: list[tuple[str, bytes]] = []
    bad: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        (good if _readable(value) else bad).append((name, value))
    if not bad:
        return await original(record)
    message = await original(dataclasses.replace(record, headers=tuple(good)))
    message.raw_message = record
    message.headers[_UNREADABLE] = ", ".join(name for name, _ in bad)
    return message


def _readable(value: bytes | None) -> bool:
    try:
        return value is not None and value.decode() is not None
    except UnicodeDecodeError:
        return False


def read(topic: Topic, headers: Mapping[str, str], record: ConsumerRecord[Any, Any]) -> Received:
    """BadMessage, UnknownType or pydantic's ValidationError for what is not agreed."""
    metadata = EventHeaders.parse(headers)
    key = _key(record)
    model = topic.event_type(metadata.type)
    if model is None:
        raise UnknownType(topic.name, metadata.type, metadata.id)
    if not record.value:
        if not topic.compacted:
            raise BadMessage(f"{topic.name} is not compacted and has no empty messages")
        return Received(metadata, key, None)
    if (content_type := headers.get("content-type", "").partition(";")[0].strip().lower()) != "application/json":
        raise BadMessage(f"the content type is {content_type or 'missing'} and not application/json")
    event = model.model_validate_json(record.value)
    if event.key != key:
        raise BadMessage(f"the key is not that of the {metadata.type}")
    return Received(metadata, key, event)


def _key(record: ConsumerRecord[Any, Any]) -> str:
    try:
        key = (record.key or b"").decode()
    except UnicodeDecodeError:
        raise BadMessage("the key is not UTF-8") from None
    if not key:
        raise BadMessage("there is no key")
    return key


def _decoder(topic: Topic) -> Callable[[StreamMessage[Any]], Awaitable[Received]]:
    async def decode(message: StreamMessage[Any]) -> Received:
        return read(topic, message.headers, message.raw_message)

    return decode


class _Broker(KafkaBroker):
    """FastStream's, with a consumer of ours: there is no public way to name its class."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lost: dict[str, Callable[[Loss], None]] = {}
        """By group."""

    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        builder = await super()._connect()
        plain = cast("Any", builder)

        def build(*topics: str, group_id: str, **options: Any) -> AIOKafkaConsumer:
            options |= {"group_id": group_id}
            return Reader(*topics, lost=self.lost[group_id], **(plain.keywords | options))

        self.config.broker_config.builder = build
        return build


def make_broker(
    runtime: Runtime, resources: Any, subscriptions: Sequence[Subscription], guards: Mapping[str, Guard]
) -> KafkaBroker:
    """A broker, not started, with one subscriber per subscription. `guards` by group."""
    settings = runtime.settings
    guard_of: dict[Any, Guard] = {}
    broker = _Broker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=settings.service_name,
        consumer_only=True,  # what is published goes through the outbox or the dead-letter producer
        allow_auto_create_topics=False,
        metadata_max_age_ms=METADATA_SECONDS * 1000,
        graceful_timeout=10.0,
        apply_types=False,
        logger=logging.getLogger("servicekit.faststream"),
        middlewares=[
            KafkaTelemetryMiddleware(),
            cast("Any", partial(RetryThenDeadLetter, guards=guard_of)),
        ],
    )
    for subscription in subscriptions:
        subscriber = broker.subscriber(
            subscription.topic.name,
            group_id=subscription.group,
            # Said here and not on the broker: a broker's policy does not reach routers that are included later.
            # A broadcast commits no offsets, which takes a round trip for each: after any break it begins at "now".
            ack_policy=AckPolicy.MANUAL if subscription.broadcast else AckPolicy.NACK_ON_ERROR,
            auto_offset_reset="latest" if subscription.broadcast else "earliest",
            # What a fenced relay still sent is in the log and was never committed (docs/decisions/0012).
            isolation_level="read_committed",
            parser=_parse,
            decoder=_decoder(subscription.topic),
            no_reply=True,
            listener=subscription.gap or guards[subscription.group].attempts,
        )
        guard_of[subscriber] = guards[subscription.group]
        broker.lost[subscription.group] = partial(_lost, subscription)
        subscriber(_handler(subscription, guards[subscription.group], runtime, resources))
    return broker


def _lost(subscription: Subscription, loss: Loss) -> None:
    if subscription.gap is not None:
        subscription.gap.noted = True
        return
    METRICS.messages_lost_total.labels(subscription.group, loss.topic).inc(max(loss.most, 1))
    log.error(
        "messages were gone before they were taken",
        group=subscription.group,
        topic=loss.topic,
        partition=loss.partition,
        position=loss.position,
        first=loss.first,
        after_loss=subscription.after_loss,
    )


def _handler(
    subscription: Subscription, guard: Guard, runtime: Runtime, resources: Any
) -> Callable[[Any], Awaitable[None]]:
    async def handle(received: Any) -> None:
        if subscription.broadcast:
            await _broadcast(subscription, guard, resources, received)
        else:
            await _take(subscription, guard, runtime, resources, received)

    return handle


async def _take(subscription: Subscription, guard: Guard, runtime: Runtime, resources: Any, received: Received) -> None:
    async with runtime.sessions.begin() as session:
        outcome = await take(subscription, session, resources, received)
    guard.outcome(outcome)


async def take(subscription: Subscription, session: AsyncSession, resources: Any, received: Received) -> str:
    """Have the message's effect in this transaction, unless it is had. Returns the outcome for the metrics."""
    handler = subscription.handlers.get(type(received.event)) if received.event else subscription.on_tombstone
    if handler is None:
        return "ignored"
    with flow(received.headers.correlation_id, received.headers.id):
        if not await claim(session, consumer=subscription.group, event_id=received.headers.id):
            return "duplicate"
        await cast("Any", handler)(received.event or received.key, session, resources)
        return "handled"


async def _broadcast(subscription: Subscription, guard: Guard, resources: Any, received: Received) -> None:
    handler = subscription.handlers.get(type(received.event)) if received.event else None
    if handler is None:
        guard.outcome("ignored")
        return
    with flow(received.headers.correlation_id, received.headers.id):
        await cast("Any", handler)(received.event, received.headers, resources)
    guard.outcome("handled")
