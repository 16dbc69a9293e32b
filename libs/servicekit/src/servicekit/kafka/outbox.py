"""The outbox: an event is a row in the transaction that made it true, and a relay carries rows to Kafka in order.

`append` is the only writer of message metadata (CloudEvents names in headers), `subscriptions` the only reader.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import BigInteger, LargeBinary, Row, Text, any_, bindparam, cast, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from contracts.base import Event
from contracts.topics import topic_of
from servicekit.context import current_flow
from servicekit.db.notify import Wake
from servicekit.db.tables import OUTBOX
from servicekit.http.health import NotReady
from servicekit.ids import uuid7
from servicekit.kafka.producer import Fenced, Producer, Record, TopicMissing
from servicekit.telemetry import METRICS

CHANNEL = "outbox"
MAX_EVENTS = 2000
MAX_BYTES = 1_000_000
"""Below a broker's default limit, headers included, because a refused row would block all rows after it."""
TAKE_OVER_SECONDS: Final = 3.0
"""A fenced relay leaves rows to the relay that fenced it, until they are this old."""
_RELAY_LOCK = 0x0_0B0C  # any constant: one relay at a time per database
_FULL_SCAN_SECONDS: Final = 30.0
"""Interval at which a relay scans the whole table; see `_Passed`."""
# From the statement's own snapshot: the oldest transaction still running, and the first one not yet begun.
_HORIZON: Final = (
    cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger).label("oldest"),
    cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger).label("next"),
)
GATHER_SECONDS: Final = 0.005
"""A row appended right after another waits this long for more, because a Kafka transaction of one row costs as much."""
STALE_SECONDS: Final = 60.0
"""An event that has waited for longer makes its service not ready."""
RECHECK_SECONDS: Final = 10.0
"""Interval at which a missing topic is tried again."""
_OLDEST: Final = (
    select(OUTBOX.c.topic, func.extract("epoch", func.clock_timestamp() - OUTBOX.c.created_at).label("waited"))
    .order_by(OUTBOX.c.id)
    .limit(1)
)
_PROPAGATOR = TraceContextTextMapPropagator()

Published = Callable[[AsyncConnection, Sequence[Row[Any]]], Awaitable[None]]
"""Notes outbox rows that Kafka has confirmed, on the connection whose transaction deletes them. After a crash or an
error the same rows come again."""

log = structlog.get_logger(__name__)

# The keys are locked in ascending order, so that two calls cannot deadlock. NOTIFY takes effect at the commit.
_LOCK_KEYS = text(
    "SELECT count(pg_advisory_xact_lock(lock)), pg_notify(:channel, '') FROM unnest(CAST(:locks AS bigint[])) AS lock"
)


# Columns as arrays, because separate rows would each cost a protocol message.
_INSERT = text(
    """
    INSERT INTO outbox (topic, key, value, headers)
    SELECT topic, key, value, CAST(headers AS jsonb)
    FROM unnest(:topics, :keys, :values, :headers) WITH ORDINALITY AS event (topic, key, value, headers, nth)
    ORDER BY nth
    """
).bindparams(
    bindparam("topics", type_=ARRAY(Text)),
    bindparam("keys", type_=ARRAY(Text)),
    bindparam("values", type_=ARRAY(LargeBinary)),
    bindparam("headers", type_=ARRAY(Text)),
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. Its headers belong to the flow that caused it."""

    topic: str
    key: str
    value: bytes | None
    headers: dict[str, str]


async def append(session: AsyncSession, event: Event, *, tombstone: bool = False) -> None:
    """Publish `event` if and only if this session's transaction commits. See `append_all`.

    tombstone: follow the event with an empty message of its key, which lets a compacted topic forget the key.
    """
    await append_all(session, [event], tombstone=tombstone)


async def append_all(session: AsyncSession, events: Sequence[Event], *, tombstone: bool = False) -> None:
    """Publish `events` in this order if and only if this session's transaction commits. Two round trips for all.

    Per key the order at Kafka is the order of commits: the transaction holds an advisory lock on every (topic, key)
    from here to its end. So call it once per transaction, after the aggregates' rows are written or locked, and as
    late as possible; two calls with different keys in opposite orders can deadlock (PostgreSQL then ends one of the
    two, a transient error). At most 2,000 events, because every key costs an entry in PostgreSQL's lock table.
    """
    if not events:
        return
    if len(events) > MAX_EVENTS:
        raise ValueError(f"{len(events)} events in one transaction; split the work so that it has {MAX_EVENTS} or less")
    service: str = session.info["service_name"]
    shared = _shared_headers(service)
    await append_outgoing(session, [row for event in events for row in _rows(event, service, shared, tombstone)])


def outgoing(session: AsyncSession, event: Event, *, tombstone: bool = False) -> list[Outgoing]:
    """The rows that `append` would publish in the bound flow, for `append_outgoing`: a transaction that takes
    several facts publishes in the flow of each."""
    service: str = session.info["service_name"]
    return _rows(event, service, _shared_headers(service), tombstone)


async def append_outgoing(session: AsyncSession, rows: Sequence[Outgoing]) -> None:
    """As `append_all`."""
    if not rows:
        return
    locks = sorted({_lock(row.topic, row.key) for row in rows})
    await session.execute(_LOCK_KEYS, {"locks": locks, "channel": CHANNEL})
    columns = {
        "topics": [row.topic for row in rows],
        "keys": [row.key for row in rows],
        "values": [row.value for row in rows],
        "headers": [orjson.dumps(row.headers).decode() for row in rows],
    }
    await session.execute(_INSERT, columns)


def _lock(topic: str, key: str) -> int:
    return int.from_bytes(blake2b(f"{topic}\0{key}".encode(), digest_size=8).digest(), "big", signed=True)


def _shared_headers(service: str) -> dict[str, str]:
    """The headers shared by all events of one call."""
    flow = current_flow()
    headers = {
        "ce_specversion": "1.0",
        "ce_source": f"/{service}",
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_correlationid": flow.correlation_id,
        "content-type": "application/json",
    }
    if flow.causation_id:
        headers["ce_causationid"] = flow.causation_id
    _PROPAGATOR.inject(headers)  # adds traceparent, if a trace is being recorded
    return headers


def _rows(event: Event, service: str, shared: dict[str, str], tombstone: bool) -> list[Outgoing]:
    topic = topic_of(type(event))
    if service not in topic.producers:
        raise ValueError(f"the registry does not let {service} publish to {topic.name}")
    key, value = event.key, event.model_dump_json().encode()
    if (size := len(key.encode()) + len(value)) > MAX_BYTES:
        raise ValueError(f"{type(event).__name__} has {size} bytes; Kafka takes {MAX_BYTES}")
    row = Outgoing(topic.name, key, value, {**shared, "ce_id": str(uuid7()), "ce_type": type(event).__name__})
    return [row, replace(row, value=None, headers=row.headers | {"ce_id": str(uuid7())})] if tombstone else [row]


def transactional_id_of(service: str, database_url: str) -> str:
    """The transactional id by which the relays of one database fence each other: `people-sync.outbox.people_sync`.

    It must be unique at a Kafka, so databases of one service that share a Kafka need different names.
    """
    return f"{service}.outbox.{make_url(database_url).database}"


class _Passed:
    """The id up to which all rows were relayed, so that scans skip dead rows that vacuum cannot remove yet.

    Ids are assigned before the commit, so a row with a lower id may become visible later. A transaction with a lower id
    than a visible row was running when that row was seen; once all transactions of that snapshot have ended, no lower
    id can appear. PostgreSQL shows a transaction in snapshots only once it has a number, a moment after its INSERT
    begins, so the whole table is scanned at intervals as well.
    """

    def __init__(self) -> None:
        self._id = 0
        self._pending: tuple[int, int] | None = None
        self._scanned = -math.inf

    def start(self) -> int:
        """Give the id after which to scan now."""
        now = time.monotonic()
        if now - self._scanned > _FULL_SCAN_SECONDS:
            self._scanned, self._id, self._pending = now, 0, None
        return self._id

    def relayed(self, last: Row[Any], *, every: bool) -> None:
        """Note that all visible rows up to `last` were relayed. every: these were all visible rows."""
        if self._pending is not None:
            newest, next_ = self._pending
            if last.oldest >= next_ and (every or last.id >= newest):
                self._id, self._pending = newest, None
        if self._pending is None:
            self._pending = (last.id, last.next)


class Relay:
    """Carries outbox rows to Kafka, oldest first. Any number may run; one at a time works per database.

    The database's lock alone does not decide who may send: a process frozen with a batch loses the lock, and sends the
    batch when it wakes. So the producer has a transactional id per database and begins before rows are read: every
    relay that reads rows has fenced all earlier relays at Kafka (docs/decisions/0012).

    A crash between Kafka's confirmation and the commit of the deletion repeats the batch, in order; inboxes skip it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        producer: Producer,
        wake: Wake,
        *,
        batch: int = 500,
        poll_seconds: float = 1.0,
        published: Published | None = None,
    ) -> None:
        """producer: has the id of `transactional_id_of`; ValueError without one."""
        if producer.transactional_id is None:
            raise ValueError("a relay's producer needs a transactional id: without one nobody is fenced")
        self._engine = engine
        self._producer = producer
        self._wake = wake
        self._batch = batch
        self._poll_seconds = poll_seconds
        self._published = published
        self._second = False
        self._passed = _Passed()
        self._relayed_at = -math.inf
        self._missing: frozenset[str] = frozenset()
        """Topics that Kafka does not have: their rows wait, while all others are relayed."""
        self._missing_until = 0.0
        self._tracer = trace.get_tracer(__name__)

    async def check(self) -> None:
        """A probe: NotReady while the oldest event has waited for longer than `STALE_SECONDS`."""
        try:
            async with self._engine.connect() as connection:
                behind = OUTBOX.c.id > self._passed.start()
                oldest = (await connection.execute(_OLDEST.where(behind))).first()
        except (SQLAlchemyError, OSError):
            return  # another probe reports PostgreSQL
        if oldest is not None and oldest.waited > STALE_SECONDS:
            why = ", which Kafka does not have" if oldest.topic in self._missing else ""
            raise NotReady(f"an event has waited {oldest.waited:.0f} s to be published to {oldest.topic}{why}")

    async def step(self) -> None:
        """Relay the waiting rows, then sleep until a row is appended or the poll interval is over.

        A row appended soon after another batch waits some milliseconds for more; a single row is sent at once.
        """
        self._wake.clear()
        until = self._missing_until
        if await self.relay_batch() < self._batch:
            if self._missing_until != until:  # rows of other topics can be sent at once
                return
            if not self._missing:
                METRICS.outbox_age_seconds.set(0)
            if await self._wake.wait(self._poll_seconds) and time.monotonic() - self._relayed_at < GATHER_SECONDS:
                await asyncio.sleep(GATHER_SECONDS)

    async def relay_batch(self) -> int:
        """Publish and delete the oldest rows in one transaction. Returns how many; 0 if another relay is active, or if
        a topic is missing, which the next batch leaves out.
        """
        # After the interval a batch includes the missing topics again; if one is still missing, the next batch leaves
        # it out.
        left = self._missing if time.monotonic() < self._missing_until else frozenset()
        try:
            count = await self._relay_batch(left)
        except TopicMissing as error:
            if not error.topics <= self._missing:
                log.critical("events wait for a topic that Kafka does not have", topics=sorted(error.topics))
            self._missing = left | error.topics
            self._missing_until = time.monotonic() + RECHECK_SECONDS
            return 0
        except Fenced:
            # Another process relays. Beginning again at once would fence that one, and so on at every batch.
            log.info("another relay has taken over")
            self._second = True
            return 0
        if not left:
            self._missing = frozenset()
        if count:
            self._relayed_at = time.monotonic()
        METRICS.outbox_relayed_total.inc(count)
        return count

    async def _relay_batch(self, left: frozenset[str]) -> int:
        async with self._engine.begin() as connection:
            if not await connection.scalar(select(func.pg_try_advisory_xact_lock(_RELAY_LOCK))):
                return 0
            # Rows of missing topics have lower ids than relayed rows, so `_passed` must not advance meanwhile.
            behind = OUTBOX.c.id > (0 if left else self._passed.start())
            oldest = (await connection.execute(_OLDEST.where(behind))).first()
            METRICS.outbox_age_seconds.set(oldest.waited if oldest else 0)
            if left:
                behind = OUTBOX.c.topic.not_in(left)
                oldest = (await connection.execute(_OLDEST.where(behind))).first()
            if oldest is None or (self._second and oldest.waited < TAKE_OVER_SECONDS):
                return 0
            await self._producer.begin()
            # Read after `begin`: a successful read shows that this process still held the lock when it fenced the
            # others.
            found = select(OUTBOX, *_HORIZON).where(behind).order_by(OUTBOX.c.id).limit(self._batch)
            rows = (await connection.execute(found)).all()
            await self._producer.send([self._record(row) for row in rows])
            if self._published is not None:
                await self._published(connection, rows)
            sent = literal([row.id for row in rows], ARRAY(BigInteger))
            await connection.execute(delete(OUTBOX).where(OUTBOX.c.id == any_(sent)))
        self._second = False
        if rows and not left:
            self._passed.relayed(rows[-1], every=len(rows) < self._batch)
        return len(rows)

    def _record(self, row: Row[Any]) -> Record:
        headers: dict[str, str] = dict(row.headers)
        if "traceparent" in headers:
            # The span continues the trace that appended the row, maybe in another process and long ago.
            with self._tracer.start_as_current_span(
                f"send {row.topic}", context=_PROPAGATOR.extract(headers), kind=trace.SpanKind.PRODUCER
            ):
                _PROPAGATOR.inject(headers)
        return Record(
            row.topic, row.key.encode(), row.value, [(name, value.encode()) for name, value in headers.items()]
        )
