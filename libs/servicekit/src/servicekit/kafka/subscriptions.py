"""Kafka in: subscriptions as data, and the only place where FastStream's classes are constructed.

It overrides every default of FastStream that loses messages: acknowledgement after the handler, `earliest`,
`read_committed`, one group per subscription, no automatic creation of topics, undecodable headers, retries and dead
letters.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.message import StreamMessage
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.topics import TOPICS, Topic, topic_of
from servicekit.context import flow
from servicekit.errors import PermanentError
from servicekit.kafka.inbox import claim, claim_all
from servicekit.kafka.lanes import FETCHED, Lanes
from servicekit.kafka.reader import LaneReader, Loss, Reader
from servicekit.kafka.rejections import HANDLER_SECONDS, Guard, UnknownType
from servicekit.runtime import Runtime
from servicekit.telemetry import METRICS

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=Event)

Handler = Callable[[Any, AsyncSession, Any], Awaitable[None]]
"""`async def on_x(event: X, session: AsyncSession, resources: Resources)`: one transaction, committed for it."""
BatchHandler = Callable[[Sequence["Fact[Any]"], AsyncSession, Any], Awaitable[None]]
"""`async def on_x(facts: Sequence[Fact[X]], session: AsyncSession, resources: Resources)`: one transaction for all."""
TombstoneHandler = Callable[[str, AsyncSession, Any], Awaitable[None]]
"""`async def on_forgotten(key: str, session: AsyncSession, resources: Resources)`."""
RejectedHandler = Callable[["Event | None", str, AsyncSession, Any], Awaitable[None]]
"""`async def on_rejected(event: Event | None, cause: str, session: AsyncSession, resources: Resources)`."""
BroadcastHandler = Callable[[Any, "EventHeaders", Any], Awaitable[None]]
"""`async def on_fact(event: Event, headers: EventHeaders, resources: Resources)`."""

METADATA_SECONDS = 5
"""Maximum time until a created or recreated topic is noticed. aiokafka's own interval is 5 minutes."""
_UNREADABLE = "servicekit-unreadable-headers"
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer(__name__)


class BadMessage(PermanentError):
    """A message that breaks the contract: no CloudEvents headers, a missing or wrong key, no JSON."""


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
    traceparent: str | None = None

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
            traceparent=headers.get("traceparent"),
        )


@dataclass(frozen=True, slots=True)
class Fact(Generic[E]):
    """A fact and the message that carried it."""

    event: E
    headers: EventHeaders

    def flow(self) -> AbstractContextManager[None]:
        """Bind the fact's flow and trace for the events appended inside."""
        return _following(self.headers, topic_of(type(self.event)))


@contextmanager
def _following(headers: EventHeaders, topic: Topic) -> Iterator[None]:
    before = _PROPAGATOR.extract({"traceparent": headers.traceparent} if headers.traceparent else {})
    with (
        flow(headers.correlation_id, headers.id),
        _TRACER.start_as_current_span(f"{topic.name} process", before, trace.SpanKind.CONSUMER),
    ):
        yield


@dataclass(frozen=True, slots=True)
class Together:
    """A handler that takes several facts, each of another key, in one transaction, for topics with many facts.

    If it fails, each fact is handled alone.
    """

    handler: BatchHandler


class Gap(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Notes that a broadcast subscription starts again, and may have missed facts published meanwhile."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell
        self.noted = False

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: the next assignment notes the gap."""

    def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ARG002
        """Note the gap; `servicekit.kafka.consumers` reports it once every partition was polled."""
        self.noted = True


@dataclass(frozen=True, slots=True)
class Subscription:
    """A group that consumes one topic. Make it with `subscribe` or `subscribe_broadcast`."""

    topic: Topic
    service: str
    group: str
    handlers: Mapping[type[Event], Handler | BroadcastHandler | Together]
    on_tombstone: TombstoneHandler | None = None
    on_rejected: RejectedHandler | None = None
    broadcast: bool = False
    gap: Gap | None = None
    after_loss: str = ""
    """Logged after lost messages: the command that brings them back, or why none is needed."""


def subscribe(
    topic: str,
    *,
    group: str,
    handlers: Mapping[type[Event], Handler | Together],
    after_loss: str,
    on_tombstone: TombstoneHandler | None = None,
    on_rejected: RejectedHandler | None = None,
) -> Subscription:
    """A shared group `<service>.<purpose>`, from earliest: every message has its effect once per service.

    Messages of one key are handled in order, other keys in parallel, and several in one transaction if the handler is
    `Together`. Types of the topic that are not in `handlers` are skipped. A type unknown to the topic is set aside
    until a version of the service knows it.
    on_rejected: called in a transaction of its own once a message has gone to the dead letters, also after deaths and
    time-outs; again after a crash in between. event: None if it cannot be decoded. cause: the plain reason, the same
    text for the same cause.
    after_loss: logged for operators if messages were gone before the group read them, by retention or with a recreated
    topic. It names the commands by which the owner republishes its state, or says why none is needed.
    ValueError, at import, if the registry does not allow the subscription.
    """
    known = _topic(topic, handlers)
    service = group.partition(".")[0]
    if "." not in group or service not in known.consumers:
        raise ValueError(f"{group} is not <service>.<purpose> of a consumer of {topic}: {', '.join(known.consumers)}")
    return Subscription(known, service, group, handlers, on_tombstone, on_rejected, after_loss=after_loss)


def subscribe_broadcast(
    topic: str,
    *,
    service: str,
    handlers: Mapping[type[Event], BroadcastHandler],
    on_gap: Callable[[Any], None] | None = None,
) -> Subscription:
    """A separate group for every process, from latest: each replica sees every fact from now on.

    No transaction, no inbox and no dead letters: a failing message is logged, counted and dropped.
    on_gap: called with the resources whenever consumption starts at "now": at the start and after any failure of Kafka.
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
    """A decoded message."""

    headers: EventHeaders
    key: str
    event: Event | None
    """None for a tombstone."""


async def _untouched(message: Any) -> KafkaMessage:
    # FastStream's parser decodes all headers before any handler; one null value would silently lose the message.
    return KafkaMessage(raw_message=message, body=b"", consumer=FAKE_CONSUMER)


async def _raw(message: StreamMessage[Any]) -> Any:
    return message.raw_message


async def tell_rejected(
    subscription: Subscription, runtime: Runtime, resources: Any, record: ConsumerRecord[Any, Any], cause: str
) -> None:
    """Call `on_rejected` for a message. Raises what it raises."""
    assert subscription.on_rejected is not None
    try:
        received = read(subscription.topic, record)
    except (PermanentError, ValidationError):  # the same that made it a dead letter
        received = None
    with _following(received.headers, subscription.topic) if received else nullcontext():
        async with runtime.sessions.begin() as session:
            await subscription.on_rejected(received.event if received else None, cause, session, resources)


def _headers(record: ConsumerRecord[Any, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    unreadable = []
    for name, value in record.headers:
        try:
            found[name] = value.decode()
        except (AttributeError, UnicodeDecodeError):
            unreadable.append(name)
    if unreadable:
        found[_UNREADABLE] = ", ".join(unreadable)
    return found


def read(topic: Topic, record: ConsumerRecord[Any, Any]) -> Received:
    """Decode a message. BadMessage, UnknownType or pydantic's ValidationError if it breaks the contract."""
    headers = _headers(record)
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


class _Broker(KafkaBroker):
    """FastStream's broker with our consumer class, which no public option can set."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.readers: dict[str, Callable[..., Reader]] = {}
        """By group."""

    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        builder = await super()._connect()
        plain = cast("Any", builder)

        def build(*topics: str, group_id: str, **options: Any) -> AIOKafkaConsumer:
            options |= {"group_id": group_id}
            return self.readers[group_id](*topics, **(plain.keywords | options))

        self.config.broker_config.builder = build
        return build


def make_broker(
    runtime: Runtime, resources: Any, subscriptions: Sequence[Subscription], guards: Mapping[str, Guard]
) -> KafkaBroker:
    """A broker, not started, with one subscriber per subscription. `guards` by group."""
    settings = runtime.settings
    broker = _Broker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=settings.service_name,
        consumer_only=True,  # messages are published by the outbox or the dead-letter producer
        allow_auto_create_topics=False,
        metadata_max_age_ms=METADATA_SECONDS * 1000,
        graceful_timeout=10.0,
        apply_types=False,
        logger=logging.getLogger("servicekit.faststream"),
        parser=_untouched,
        decoder=_raw,
    )
    for subscription in subscriptions:
        guard = guards[subscription.group]
        about: dict[str, Any] = {
            "group_id": subscription.group,
            # Lanes commit offsets themselves. A broadcast needs none, since it always starts at "now", and each commit
            # would cost a round trip. Set here, because a broker's policy does not reach routers included later.
            "ack_policy": AckPolicy.MANUAL,
            # Messages of a fenced relay are in the log but were never committed (docs/decisions/0012).
            "isolation_level": "read_committed",
            "no_reply": True,
        }
        if subscription.broadcast:
            broker.readers[subscription.group] = partial(Reader, lost=partial(_lost, subscription))
            subscriber = broker.subscriber(
                subscription.topic.name, auto_offset_reset="latest", listener=subscription.gap, **about
            )
            subscriber(_broadcasting(subscription, guard, resources))
            continue
        assert guard.attempts is not None
        lanes = Lanes(guard, guard.attempts, _Work(subscription, runtime, resources))
        broker.readers[subscription.group] = partial(LaneReader, lanes=lanes, lost=partial(_lost, subscription))
        batches = broker.subscriber(
            subscription.topic.name,
            auto_offset_reset="earliest",
            listener=lanes,
            batch=True,
            max_records=FETCHED,
            **about,
        )
        batches(_putting(lanes))
    return broker


def _broadcasting(subscription: Subscription, guard: Guard, resources: Any) -> Callable[[Any], Awaitable[None]]:
    async def handle(record: Any) -> None:
        await _broadcast(subscription, guard, resources, record)

    return handle


def _putting(lanes: Lanes) -> Callable[[Any], Awaitable[None]]:
    async def put(records: Any) -> None:
        lanes.put(records)

    return put


def _lost(subscription: Subscription, loss: Loss) -> None:
    if subscription.gap is not None:
        subscription.gap.noted = True
        return
    METRICS.messages_lost_total.labels(subscription.group, loss.topic).inc(max(loss.most, 1))
    log.error(
        "messages were lost before they were read",
        group=subscription.group,
        topic=loss.topic,
        partition=loss.partition,
        position=loss.position,
        first=loss.first,
        after_loss=subscription.after_loss,
    )


class _Work:
    """Implements `servicekit.kafka.lanes.Work` for a subscription, with a transaction per message or batch."""

    def __init__(self, subscription: Subscription, runtime: Runtime, resources: Any) -> None:
        self._subscription = subscription
        self._sessions = runtime.sessions
        self._resources = resources
        self._together = {
            event.__name__.encode() for event, handler in subscription.handlers.items() if isinstance(handler, Together)
        }

    def together(self, record: ConsumerRecord[Any, Any]) -> bool:
        return bool(record.value) and any(
            name == "ce_type" and value in self._together for name, value in record.headers
        )

    async def take(self, record: ConsumerRecord[Any, Any]) -> str:
        received = read(self._subscription.topic, record)
        async with self._sessions.begin() as session:
            return await take(self._subscription, session, self._resources, received)

    async def take_all(self, records: Sequence[ConsumerRecord[Any, Any]]) -> Sequence[str]:
        facts = [_fact(read(self._subscription.topic, record)) for record in records]
        with _TRACER.start_as_current_span(f"{self._subscription.topic.name} process several"):
            return await self._take_all(facts)

    async def _take_all(self, facts: Sequence[Fact[Any]]) -> Sequence[str]:
        batches: dict[BatchHandler, list[Fact[Any]]] = {}
        async with self._sessions.begin() as session:
            new = await claim_all(session, consumer=self._subscription.group, ids=[fact.headers.id for fact in facts])
            for fact in facts:
                if fact.headers.id in new:
                    handler = cast("Together", self._subscription.handlers[type(fact.event)]).handler
                    batches.setdefault(handler, []).append(fact)
            for handler, some in batches.items():
                await handler(some, session, self._resources)
        return ["handled" if fact.headers.id in new else "duplicate" for fact in facts]


def _fact(received: Received) -> Fact[Any]:
    assert received.event is not None
    return Fact(received.event, received.headers)


async def take(subscription: Subscription, session: AsyncSession, resources: Any, received: Received) -> str:
    """Apply the message's effect in this transaction, unless done before. Returns the outcome for the metrics."""
    handler = subscription.handlers.get(type(received.event)) if received.event else subscription.on_tombstone
    if handler is None:
        return "ignored"
    with _following(received.headers, subscription.topic):
        if not await claim(session, consumer=subscription.group, event_id=received.headers.id):
            return "duplicate"
        if isinstance(handler, Together):
            await handler.handler([_fact(received)], session, resources)
        else:
            await cast("Any", handler)(received.event or received.key, session, resources)
        return "handled"


async def _broadcast(
    subscription: Subscription, guard: Guard, resources: Any, record: ConsumerRecord[Any, Any]
) -> None:
    try:
        async with asyncio.timeout(HANDLER_SECONDS):
            received = read(subscription.topic, record)
            handler = subscription.handlers.get(type(received.event)) if received.event else None
            if received.event is not None and handler is not None:
                with _following(received.headers, subscription.topic):
                    await cast("Any", handler)(received.event, received.headers, resources)
    except UnknownType:
        guard.outcome("ignored")
    except Exception as error:  # noqa: BLE001 - it is logged there
        await guard.reject(record, error, 1)
    else:
        guard.outcome("handled" if handler else "ignored")
