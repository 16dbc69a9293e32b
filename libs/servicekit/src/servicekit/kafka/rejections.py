"""Retry, then dead letter, then stop: the handling of a message whose handler fails.

    PostgreSQL or a peer away (`is_outage`)  → wait and retry until the outage ends; at most ten times for an outage
                                               that we may cause ourselves (`may_be_ours`)
    a transient failure (`is_transient`)     → retry with backoff, five attempts, then dead letter
    no end within `HANDLER_SECONDS`          → three attempts, then dead letter
    the process dies in the handler          → retry by the next process, three times after the first, then dead letter
    any other failure                        → dead letter at once
    a type that the topic does not know      → set aside in PostgreSQL until a version knows the type
    too many dead letters                    → the group stops consuming, `/readyz` reports it, nothing more is rejected

Dead letters break the order of a key, which is harmless because events carry versions. Operators handle them with
`python -m servicekit.kafka.dead_letters`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from aiokafka import ConsumerRecord
from pydantic import ValidationError

from servicekit.errors import PermanentError, is_contended, is_outage, is_transient, may_be_ours
from servicekit.kafka.attempts import MOST_BEGUN, Attempts
from servicekit.kafka.producer import KafkaUnavailable, Producer, Record, TooLarge, TopicMissing
from servicekit.telemetry import METRICS

ATTEMPTS = 5
FIRST_DELAY_SECONDS = 0.1
OUTAGE_DELAY_SECONDS = 1.0
HANDLER_SECONDS = 60.0
"""Time limit of one attempt, longer than any wait for a lock. A handler cancelled here does nothing more."""
ANSWER_SECONDS = 5.0
"""Time limit for the test whether PostgreSQL answers."""
MOST_WAITS = 10
"""Maximum waits of one message while PostgreSQL answers."""
MOST_IN_A_ROW = 20
MOST_OF_THE_LAST = (50, 100)
SHARE = 4
"""One organization's rejections count up to a quarter of these limits."""
REPLAYS = "dlq_replays"
"""Header with the number of replays by `servicekit.kafka.dead_letters`."""

log = structlog.get_logger(__name__)


_KEPT_HEADERS = ("ce_id", "ce_type", "ce_source", "ce_time", "ce_correlationid")


def plain_cause(error: Exception) -> str:
    """Why a message was rejected, in words: the same text for the same cause, and none of the message's values."""
    if isinstance(error, HandlerTimedOut):
        return "Handling it did not end in time, several times."
    if isinstance(error, ProcessDied):
        return "The process that handled it ended unexpectedly, several times."
    if isinstance(error, PermanentError | ValidationError):
        return f"It is not in the agreed form ({type(error).__qualname__})."
    if is_transient(error) or is_outage(error):
        return f"What it needs did not work, several times ({type(error).__qualname__})."
    return f"Handling it failed unexpectedly ({type(error).__qualname__})."


class Rejections:
    """Counts a group's rejected messages, and decides when the group must stop until a human has looked.

    One organization's bad data must not stop the group for all, so its rejections only count up to a share of the
    limit. Unreadable messages, which belong to no organization, count in full.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.stopped = False
        self._last: deque[tuple[bool, str | None]] = deque(maxlen=MOST_OF_THE_LAST[1])
        self._in_a_row: Counter[str | None] = Counter()

    def allow(self) -> bool:
        """Whether one more message may be rejected. From the first False on, the group is stopped."""
        recently = Counter(organization for rejected, organization in self._last if rejected)
        if _weight(self._in_a_row, MOST_IN_A_ROW) or _weight(recently, MOST_OF_THE_LAST[0]):
            self.stopped = True
        return not self.stopped

    def count(self, *, rejected: bool, organization: str | None = None) -> None:
        """Note a message's outcome. organization: None if unknown."""
        self._last.append((rejected, organization))
        if not rejected:
            self._in_a_row.clear()
            return
        self._in_a_row[organization] += 1
        if organization and self._in_a_row[organization] == MOST_IN_A_ROW:
            log.error("one organization's messages are rejected", group=self.group, organization=organization)


def _weight(rejected: Counter[str | None], limit: int) -> bool:
    """Whether the rejections reach the limit."""
    share = max(limit // SHARE, 1)
    return sum(count if name is None else min(count, share) for name, count in rejected.items()) >= limit


def _organization(record: ConsumerRecord[Any, Any]) -> str | None:
    """The organization of a rejected message, if its body can be read that far."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    name = body.get("organization_id") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


class UnknownType(PermanentError):
    """A message of a type that this version of the service does not know."""

    def __init__(self, topic: str, name: str, event_id: str) -> None:
        super().__init__(f"{topic} does not know the type {name}")
        self.name = name
        self.event_id = event_id


class NotRejected(Exception):
    """A failed message could not be sent to its dead-letter topic either, so it is retried."""


class HandlerTimedOut(PermanentError):
    """A handler repeatedly did not end in time, while PostgreSQL answered."""


class ProcessDied(PermanentError):
    """Processes repeatedly died in the handler of this message."""


@dataclass(slots=True, eq=False)
class Pending:
    """A message without an outcome, and its attempts in this process."""

    record: ConsumerRecord[Any, Any]
    failures: int = 0
    """Failures since its beginning, or since it last waited for an outage."""
    waits: int = 0
    """Waits for outages that we may cause ourselves, while PostgreSQL answered."""
    hung: int = 0
    deaths: int = 0
    begun_at: float | None = None
    """Monotonic time of the first attempt."""


class Guard:
    """The state of one subscription's messages in this process; its health checks read it too."""

    def __init__(
        self,
        group: str,
        topic: str,
        dead_letter_topic: str | None,
        producer: Producer,
        answers: Callable[[], Awaitable[object]] | None = None,
        attempts: Attempts | None = None,
        set_aside: Callable[[ConsumerRecord[Any, Any], UnknownType], Awaitable[object]] | None = None,
        tell: Callable[[ConsumerRecord[Any, Any], str], Awaitable[object]] | None = None,
    ) -> None:
        """answers: raises if PostgreSQL does not answer. attempts: None for a broadcast, which always starts at "now".

        set_aside: stores a message of an unknown type; None for a broadcast, which ignores it. tell: called with each
        message that went to the dead letters, and the plain cause.
        """
        self.rejections = Rejections(group)
        self.group = group
        self.topic = topic
        self.busy_since: float | None = None
        """Monotonic start of the longest running attempt; None while none is running."""
        self.attempts = attempts
        self.undelivered: str | None = None
        """Why the dead-letter topic refuses a message; None if it does not."""
        self._dead_letter_topic = dead_letter_topic
        self._producer = producer
        self._answers = answers
        self._set_aside = set_aside
        self._tell = tell
        self._strangers: set[str] = set()
        self._waiting: dict[Pending, tuple[float, str]] = {}
        """Start of each message's wait, and the kind of the error."""
        self._rejecting = asyncio.Lock()

    @property
    def waiting(self) -> tuple[float, str] | None:
        """The start (monotonic) of the longest wait for an outage, and the kind of its error."""
        return min(self._waiting.values(), default=None)

    async def attempt(self, message: Pending, handle: Callable[[], Awaitable[str]]) -> float | None:
        """Handle a message once. None if it has an outcome, else the seconds until the retry.

        handle: handles the message, and returns the outcome for the metrics.
        """
        message.begun_at = message.begun_at or time.monotonic()
        limit = asyncio.timeout(HANDLER_SECONDS)
        try:
            async with limit:
                try:
                    outcome: str | None = await handle()
                except UnknownType as error:
                    await self.set_aside(message.record, error)
                    outcome = None
        except Exception as error:  # noqa: BLE001 - sorted there; none is swallowed
            return await self._failed(message, error, timed_out=limit.expired())
        self.taken(message, outcome)
        return None

    def taken(self, message: Pending, outcome: str | None) -> None:
        """Note that a message was handled. outcome: None if it was set aside, which is already counted."""
        if outcome:
            self.outcome(outcome)
            self.rejections.count(rejected=False)
        self._ended(message)

    async def reject_dead(self, message: Pending) -> float | None:
        """Reject a message at which processes died. Returns as `attempt` does."""
        return await self._reject(message, ProcessDied(f"begun {message.deaths} times"), message.deaths)

    def wait_out(self, message: Pending, error: Exception) -> float:
        """Note that a message waits for an outage to end. Returns the seconds until the retry."""
        self.outcome("waited")
        if not self._waiting:
            log.warning("messages wait for an outage to end", group=self.group, exc_info=error)
        self._waiting.setdefault(message, (time.monotonic(), type(error).__qualname__))
        message.failures = 0
        return OUTAGE_DELAY_SECONDS

    def forget(self, messages: Iterable[Pending]) -> None:
        """Stop waiting for messages that this process no longer has."""
        for message in messages:
            self._waiting.pop(message, None)

    def _ended(self, message: Pending) -> None:
        METRICS.message_seconds.labels(self.group).observe(time.monotonic() - (message.begun_at or time.monotonic()))
        if self._waiting.pop(message, None) and not self._waiting:
            log.info("the outage is over: messages are handled again", group=self.group)

    async def _failed(self, message: Pending, error: Exception, *, timed_out: bool) -> float | None:
        if timed_out:
            return await self._timed_out(message, error)
        waits = is_outage(error) or (is_contended(error) and message.failures + 1 == ATTEMPTS)
        if waits and not await self._waited_enough(message, error):
            return self.wait_out(message, error)
        message.failures += 1
        if not is_transient(error) or message.failures == ATTEMPTS:
            return await self._reject(message, error, message.failures)
        self.outcome("retried")
        return FIRST_DELAY_SECONDS * 3.0 ** (message.failures - 1)

    async def _timed_out(self, message: Pending, error: Exception) -> float | None:
        """Retry up to the limit, then reject."""
        if not await self.postgres_answers():
            return self.wait_out(message, error)
        message.hung += 1
        if (begun := message.deaths + message.hung) >= MOST_BEGUN:
            return await self._reject(message, HandlerTimedOut(f"no end within {HANDLER_SECONDS:g} s"), begun)
        self.outcome("timed_out")
        at = {"partition": message.record.partition, "offset": message.record.offset}
        log.warning("a handler did not end in time", group=self.group, **at)
        return 0.0

    async def _waited_enough(self, message: Pending, error: Exception) -> bool:
        """Count a wait. True once the outage at this message counts as one that we cause ourselves."""
        if self._answers is None or not may_be_ours(error):
            return False
        if not await self.postgres_answers():
            message.waits = 0
            return False
        message.waits += 1
        return message.waits > MOST_WAITS

    async def _reject(self, message: Pending, error: Exception, attempts: int) -> float | None:
        try:
            await self.reject(message.record, error, attempts)
        except NotRejected:
            message.failures = 0
            return OUTAGE_DELAY_SECONDS
        self._ended(message)
        return None

    async def postgres_answers(self) -> bool:
        """Whether PostgreSQL answers another connection."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._answers is not None:
                    await self._answers()
        except Exception:  # noqa: BLE001 - any error here means an outage
            return False
        return True

    def outcome(self, outcome: str) -> None:
        """Count a message by its outcome."""
        METRICS.messages_total.labels(self.group, self.topic, outcome).inc()

    async def set_aside(self, record: ConsumerRecord[Any, Any], error: UnknownType) -> None:
        """Keep the message for a later version. Raises what PostgreSQL raises."""
        if self._set_aside is None:
            self.outcome("ignored")
            return
        await self._set_aside(record, error)
        self.outcome("set_aside")
        if error.name not in self._strangers:
            self._strangers.add(error.name)
            log.warning(
                "messages of an unknown type are set aside", group=self.group, topic=self.topic, type=error.name
            )

    async def reject(self, record: ConsumerRecord[Any, Any], error: Exception, attempts: int) -> None:
        """Send the message, byte for byte, to its dead-letter topic; a broadcast has none and drops it.

        Headers hold the origin and the error's type; never its text, which may quote personal data. If the message is
        too large to add them, only the headers are sent. NotRejected if that fails, or if the group stops.
        """
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        if self._dead_letter_topic is None:
            self.outcome("dropped")
            log.error("broadcast message dropped", group=self.group, attempts=attempts, **where, exc_info=error)
            return
        async with self._rejecting:  # one at a time, or concurrent rejections could exceed the limit
            if await self._has_letter(record):
                await self._tell_of(record, error)
                self.outcome("duplicate")
                return
            replayed = any(name == REPLAYS for name, _ in record.headers)  # its operator knows
            if self.rejections.stopped or not (replayed or self.rejections.allow()):
                METRICS.consumer_stopped.labels(self.group).set(1)
                log.critical("group stopped: too many rejected messages", group=self.group, **where, exc_info=error)
                raise NotRejected
            origin = {f"dlq_{name}": str(value) for name, value in where.items()} | {
                "dlq_group": self.group,
                "dlq_error": type(error).__qualname__,
                "dlq_attempts": str(attempts),
                "dlq_time": datetime.now(UTC).isoformat(),
            }
            await self._deliver(self._dead_letter_topic, record, origin)
            await self._note_letter(record)
            if not replayed:
                self.rejections.count(rejected=True, organization=_organization(record))
        await self._tell_of(record, error)
        self.outcome("dead_letter")
        log.error("message rejected", group=self.group, attempts=attempts, **where, exc_info=error)

    async def _tell_of(self, record: ConsumerRecord[Any, Any], error: Exception) -> None:
        """Tell of the dead letter. NotRejected if that fails: it is told again, and the letter is not repeated."""
        if self._tell is None:
            return
        try:
            async with asyncio.timeout(HANDLER_SECONDS):
                await self._tell(record, plain_cause(error))
        except Exception as failure:
            if is_transient(failure) or is_outage(failure) or isinstance(failure, TimeoutError):
                log.warning("a dead letter could not be told of", group=self.group, exc_info=failure)
                raise NotRejected from failure
            # A defect of the handler must not keep the group at this message for ever.
            log.exception("a dead letter could not be told of", group=self.group)

    async def _has_letter(self, record: ConsumerRecord[Any, Any]) -> bool:
        """Whether the dead letter was sent before a crash that kept the offset from being committed."""
        try:
            return self.attempts is not None and await self.attempts.is_rejected(record)
        except Exception:  # noqa: BLE001 - two dead letters of a message are better than none
            return False

    async def _note_letter(self, record: ConsumerRecord[Any, Any]) -> None:
        try:
            if self.attempts is not None:
                await self.attempts.reject(record)
        except Exception as error:
            log.info("a dead letter could not be recorded", group=self.group, exc_info=error)

    async def _deliver(self, topic: str, record: ConsumerRecord[Any, Any], origin: dict[str, str]) -> None:
        try:
            try:
                await self._producer.send([_letter(topic, record, origin)])
            except TooLarge:
                await self._producer.send([_cut_letter(topic, record, origin)])
        except KafkaUnavailable as error:
            reason = str(error) if isinstance(error, TopicMissing) else type(error).__qualname__
            if self.undelivered != reason:
                log.critical("a dead letter cannot be delivered", group=self.group, topic=topic, exc_info=error)
            self.undelivered = reason
            raise NotRejected from error
        if self.undelivered:
            self.undelivered = None
            log.info("dead letters are delivered again", group=self.group, topic=topic)


def _letter(topic: str, record: ConsumerRecord[Any, Any], origin: dict[str, str]) -> Record:
    added = dict(origin)
    value = record.value
    if value is None and record.key is None:  # no producer sends a message with neither
        value, added["dlq_null"] = b"", "value"
    headers = [*record.headers, *((name, text.encode()) for name, text in added.items())]
    return Record(topic, record.key, value, headers)


def _cut_letter(topic: str, record: ConsumerRecord[Any, Any], origin: dict[str, str]) -> Record:
    """A dead letter with the origin of the message but not its value; `dlq_cut` is its size in bytes."""
    names = [(name, value) for name, value in record.headers if name in _KEPT_HEADERS and len(value or b"") < 1000]
    size = len(record.key or b"") + len(record.value or b"")
    added = [(name, text.encode()) for name, text in (origin | {"dlq_cut": str(size)}).items()]
    key = record.key if record.key and len(record.key) < 1000 else None
    return Record(topic, key, b"", [*names, *added])
