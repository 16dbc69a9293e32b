"""Retry, then dead letter, then stop: what happens to a message that a handler does not take.

    PostgreSQL or a peer away (`is_outage`)  → wait, then the same message again, for as long as it takes; but ten
                                               times at most for one that is of our own making (`may_be_ours`)
    a passing failure (`is_transient`)       → again with backoff, five attempts, then dead letter
    no end within `HANDLER_SECONDS`          → again, three times in all, then dead letter
    the process dies at it                   → with the next process, three times after the first, then dead letter
    anything else                            → dead letter at once
    a type that the topic does not know      → set aside in PostgreSQL, taken by the version that knows it
    too many dead letters                    → the group stops consuming, `/readyz` says so, nothing more is rejected

Dead letters break the order of a key; versions in the events make that harmless. They are worked on with
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

from servicekit.errors import PermanentError, is_contended, is_outage, is_transient, may_be_ours
from servicekit.kafka.attempts import MOST_BEGUN, Attempts
from servicekit.kafka.producer import KafkaUnavailable, Producer, Record, TooLarge, TopicMissing
from servicekit.telemetry import METRICS

ATTEMPTS = 5
FIRST_DELAY_SECONDS = 0.1
OUTAGE_DELAY_SECONDS = 1.0
HANDLER_SECONDS = 60.0
"""For one attempt. A wait for a lock ends before, and a handler that is ended here can do nothing more."""
ANSWER_SECONDS = 5.0
"""In which PostgreSQL answers, if it does."""
MOST_WAITS = 10
"""For one message, with PostgreSQL answering all the while."""
MOST_IN_A_ROW = 20
MOST_OF_THE_LAST = (50, 100)
SHARE = 4
"""A single organization comes to a quarter of these limits."""
REPLAYS = "dlq_replays"
"""Header of a message that `servicekit.kafka.dead_letters` has sent again: how often."""

log = structlog.get_logger(__name__)


_KEPT_HEADERS = ("ce_id", "ce_type", "ce_source", "ce_time", "ce_correlationid")


class Rejections:
    """Counts what a group rejects, and decides when a human must look before more is rejected.

    What is wrong with one organization's data is no reason to stop for all: of what one organization had rejected, a
    share of the limit counts. What is nobody's, because it cannot be read, counts in full.
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
        """Take note of a message's outcome. organization: None if it is not known."""
        self._last.append((rejected, organization))
        if not rejected:
            self._in_a_row.clear()
            return
        self._in_a_row[organization] += 1
        if organization and self._in_a_row[organization] == MOST_IN_A_ROW:
            log.error("one organization's messages are rejected", group=self.group, organization=organization)


def _weight(rejected: Counter[str | None], limit: int) -> bool:
    """Whether it comes to the limit."""
    share = max(limit // SHARE, 1)
    return sum(count if name is None else min(count, share) for name, count in rejected.items()) >= limit


def _organization(record: ConsumerRecord[Any, Any]) -> str | None:
    """Whose message it is, as far as that can be read from one that nobody could take."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    name = body.get("organization_id") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


class UnknownType(PermanentError):
    """A message of a type that came after this version of the service."""

    def __init__(self, topic: str, name: str, event_id: str) -> None:
        super().__init__(f"{topic} does not know the type {name}")
        self.name = name
        self.event_id = event_id


class NotRejected(Exception):
    """A message that cannot be taken could not be rejected either; it is tried again."""


class HandlerTimedOut(PermanentError):
    """A handler did not end in time, again and again, while PostgreSQL answered."""


class ProcessDied(PermanentError):
    """The process died in the handler of this message, again and again."""


@dataclass(slots=True, eq=False)
class Pending:
    """A message without an outcome, and what this process knows of its attempts."""

    record: ConsumerRecord[Any, Any]
    failures: int = 0
    """Since it was begun, or waited for an outage."""
    waits: int = 0
    """For outages that may be of our own making, with PostgreSQL answering."""
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
    ) -> None:
        """answers: raises if PostgreSQL does not answer. attempts: None for a broadcast, which begins anew at "now".

        set_aside: keeps a message of an unknown type; a broadcast ignores it.
        """
        self.rejections = Rejections(group)
        self.group = group
        self.topic = topic
        self.busy_since: float | None = None
        """Monotonic time at which the longest attempt at work was begun; None while nothing is at work."""
        self.attempts = attempts
        self.undelivered: str | None = None
        """Why the dead-letter topic does not take a message."""
        self._dead_letter_topic = dead_letter_topic
        self._producer = producer
        self._answers = answers
        self._set_aside = set_aside
        self._strangers: set[str] = set()
        self._waiting: dict[Pending, tuple[float, str]] = {}
        """Since when, and for the end of which kind of error."""
        self._rejecting = asyncio.Lock()

    @property
    def waiting(self) -> tuple[float, str] | None:
        """Since when (monotonic) a message has waited, and the kind of error whose end it waits for; the oldest."""
        return min(self._waiting.values(), default=None)

    async def attempt(self, message: Pending, handle: Callable[[], Awaitable[str]]) -> float | None:
        """Have a message handled. None if it has an outcome, else the seconds after which to try again.

        handle: takes the message once, and returns the outcome for the metrics.
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
        """A message is dealt with. outcome: None if it was set aside, which is counted already."""
        if outcome:
            self.outcome(outcome)
            self.rejections.count(rejected=False)
        self._ended(message)

    async def reject_dead(self, message: Pending) -> float | None:
        """Reject the message at which processes died. As `attempt`."""
        return await self._reject(message, ProcessDied(f"begun {message.deaths} times"), message.deaths)

    def wait_out(self, message: Pending, error: Exception) -> float:
        """Note that a message waits for an outage to end. Returns the seconds after which to try again."""
        self.outcome("waited")
        if not self._waiting:
            log.warning("messages wait for an outage to end", group=self.group, exc_info=error)
        self._waiting.setdefault(message, (time.monotonic(), type(error).__qualname__))
        message.failures = 0
        return OUTAGE_DELAY_SECONDS

    def forget(self, messages: Iterable[Pending]) -> None:
        """These messages are somebody else's now."""
        for message in messages:
            self._waiting.pop(message, None)

    def _ended(self, message: Pending) -> None:
        METRICS.message_seconds.labels(self.group).observe(time.monotonic() - (message.begun_at or time.monotonic()))
        if self._waiting.pop(message, None) and not self._waiting:
            log.info("messages are taken again", group=self.group)

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
        """Try again, until that was done often enough."""
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
        """Whether an outage is taken for one of our own making, at this message. Counts."""
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
        """Whether PostgreSQL answers somebody else."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._answers is not None:
                    await self._answers()
        except Exception:  # noqa: BLE001 - whatever it is: an outage it is
            return False
        return True

    def outcome(self, outcome: str) -> None:
        """Count a message."""
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

        Headers tell where it came from and the error's type; never its text, which may quote personal data. With a
        message that is too large for them, they alone are sent. NotRejected if that fails, or if the group stops.
        """
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        if self._dead_letter_topic is None:
            self.outcome("dropped")
            log.error("broadcast message dropped", group=self.group, attempts=attempts, **where, exc_info=error)
            return
        async with self._rejecting:  # one at a time, or several would pass the limit together
            if await self._has_letter(record):
                self.outcome("duplicate")
                return
            replayed = any(name == REPLAYS for name, _ in record.headers)  # an operator knows of it
            if self.rejections.stopped or not (replayed or self.rejections.allow()):
                METRICS.consumer_stopped.labels(self.group).set(1)
                log.critical("group stopped: it rejects too much", group=self.group, **where, exc_info=error)
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
        self.outcome("dead_letter")
        log.error("message rejected", group=self.group, attempts=attempts, **where, exc_info=error)

    async def _has_letter(self, record: ConsumerRecord[Any, Any]) -> bool:
        """A message before it may have been at work when the process ended, so that its offset was not committed."""
        try:
            return self.attempts is not None and await self.attempts.is_rejected(record)
        except Exception:  # noqa: BLE001 - two letters of a message are better than none
            return False

    async def _note_letter(self, record: ConsumerRecord[Any, Any]) -> None:
        try:
            if self.attempts is not None:
                await self.attempts.reject(record)
        except Exception as error:
            log.info("a dead letter is not noted", group=self.group, exc_info=error)

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
    if value is None and record.key is None:  # which no producer sends
        value, added["dlq_null"] = b"", "value"
    headers = [*record.headers, *((name, text.encode()) for name, text in added.items())]
    return Record(topic, record.key, value, headers)


def _cut_letter(topic: str, record: ConsumerRecord[Any, Any], origin: dict[str, str]) -> Record:
    """Where the message is, without it: `dlq_cut` says how many bytes it has."""
    names = [(name, value) for name, value in record.headers if name in _KEPT_HEADERS and len(value or b"") < 1000]
    size = len(record.key or b"") + len(record.value or b"")
    added = [(name, text.encode()) for name, text in (origin | {"dlq_cut": str(size)}).items()]
    key = record.key if record.key and len(record.key) < 1000 else None
    return Record(topic, key, b"", [*names, *added])
