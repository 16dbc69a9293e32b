"""Messages of types unknown to one version of the service, handled by a version that knows them.

During a rollout, the new version publishes types that the old one does not know. The old one sets them aside; the new
one handles them from there. Messages that no version knows within `KEPT` are dropped.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from aiokafka import ConsumerRecord
from sqlalchemy import Row, Select, delete, func, select, update

from servicekit.db.tables import SET_ASIDE
from servicekit.errors import is_transient
from servicekit.kafka.attempts import MOST_BEGUN
from servicekit.kafka.rejections import HANDLER_SECONDS, Guard, ProcessDied
from servicekit.kafka.subscriptions import Subscription, read, take
from servicekit.runtime import Runtime
from servicekit.telemetry import METRICS

EVERY_SECONDS: Final = 30.0
KEPT: Final = timedelta(days=30)
"""As long as a dead letter is kept; by then Kafka itself deleted the message two weeks ago."""
_MOST_OF_A_ROUND = 500

log = structlog.get_logger(__name__)


class SetAside:
    """Handles the messages set aside for the subscriptions of a process."""

    NAME = "set aside"

    def __init__(
        self, runtime: Runtime, resources: Any, subscriptions: Sequence[Subscription], guards: Mapping[str, Guard]
    ) -> None:
        """guards: by group."""
        self._runtime = runtime
        self._resources = resources
        self._subscriptions = [subscription for subscription in subscriptions if not subscription.broadcast]
        self._guards = guards
        self._told = False

    async def step(self) -> None:
        """Handle messages whose type is known now, oldest first, and drop messages that are too old.

        Raises the first transient failure after it has tried all messages.
        """
        failures = [
            failure
            for subscription in self._subscriptions
            if not self._guards[subscription.group].rejections.stopped
            for row_id in await self._known(subscription)
            if (failure := await self._try(subscription, row_id)) is not None
        ]
        await self._forget()
        await self._measure()
        if not self._told:
            await self._tell()
            self._told = True
        if failures:
            raise failures[0]

    async def _known(self, subscription: Subscription) -> Sequence[int]:
        rows = SET_ASIDE.c
        async with self._runtime.sessions.begin() as session:
            types = await session.scalars(select(rows.type).where(rows.consumer == subscription.group).distinct())
            known = [name for name in types if subscription.topic.event_type(name)]
            mine = select(rows.id).where(rows.consumer == subscription.group, rows.type.in_(known))
            return (await session.scalars(mine.order_by(rows.id).limit(_MOST_OF_A_ROUND))).all()

    async def _try(self, subscription: Subscription, row_id: int) -> Exception | None:
        """Handle one message. Returns the failure if it should be retried."""
        guard = self._guards[subscription.group]
        limit = asyncio.timeout(HANDLER_SECONDS)
        begun = 0
        try:
            async with limit, self._runtime.sessions.begin() as session:
                if not await session.scalar(in_work(row_id)):
                    return None  # another process has it
                begun = await self._begin(row_id)
                if begun > MOST_BEGUN:
                    raise ProcessDied(f"begun {begun - 1} times")  # or did not end in time
                row = await self._locked(session, row_id)
                if row is None:
                    return None  # another process has handled it
                received = read(subscription.topic, _record(row))
                outcome = await take(subscription, session, self._resources, received)
                await session.execute(delete(SET_ASIDE).where(SET_ASIDE.c.id == row_id))
            guard.outcome(outcome)
        except Exception as error:  # noqa: BLE001 - sorted below; none is swallowed
            if limit.expired():
                return error
            if is_transient(error):
                await self._ended(row_id)
                return error
            await self._reject(guard, row_id, error, begun)
        return None

    async def _begin(self, row_id: int) -> int:
        """Count the attempt before the handler runs, since a process killed by the message cannot count it."""
        statement = update(SET_ASIDE).where(SET_ASIDE.c.id == row_id).values(attempts=SET_ASIDE.c.attempts + 1)
        async with self._runtime.sessions.begin() as session:
            return await session.scalar(statement.returning(SET_ASIDE.c.attempts)) or 0

    async def _ended(self, row_id: int) -> None:
        async with self._runtime.sessions.begin() as session:
            await session.execute(update(SET_ASIDE).where(SET_ASIDE.c.id == row_id).values(attempts=0))

    async def _reject(self, guard: Guard, row_id: int, error: Exception, attempts: int) -> None:
        async with self._runtime.sessions.begin() as session:
            row = await self._locked(session, row_id)
            if row is not None:
                await guard.reject(_record(row), error, attempts)
                await session.execute(delete(SET_ASIDE).where(SET_ASIDE.c.id == row_id))

    async def _locked(self, session: Any, row_id: int) -> Row[Any] | None:
        statement = select(SET_ASIDE).where(SET_ASIDE.c.id == row_id).with_for_update(skip_locked=True)
        found: Row[Any] | None = (await session.execute(statement)).first()
        return found

    async def _measure(self) -> None:
        for subscription in self._subscriptions:
            mine = SET_ASIDE.c.consumer == subscription.group
            waited = func.extract("epoch", func.clock_timestamp() - SET_ASIDE.c.set_aside_at)
            async with self._runtime.sessions.begin() as session:
                count = await session.scalar(select(func.count()).where(mine))
                oldest = await session.scalar(select(waited).where(mine).order_by(SET_ASIDE.c.id).limit(1))
            METRICS.set_aside.labels(subscription.group).set(count or 0)
            METRICS.set_aside_age_seconds.labels(subscription.group).set(oldest or 0)

    async def _tell(self) -> None:
        rows = SET_ASIDE.c
        statement = select(rows.consumer, rows.type, func.count().label("messages"))
        async with self._runtime.sessions.begin() as session:
            for row in await session.execute(statement.group_by(rows.consumer, rows.type)):
                log.warning(
                    "messages wait for a version that knows their type",
                    consumer=row.consumer,
                    type=row.type,
                    messages=row.messages,
                )

    async def _forget(self) -> None:
        """Drop messages older than `KEPT`, also of groups that no longer exist. The oldest rows have the lowest ids."""
        rows = SET_ASIDE.c
        oldest = select(rows.id, rows.set_aside_at).order_by(rows.id).limit(_MOST_OF_A_ROUND).subquery()
        old = select(oldest.c.id).where(oldest.c.set_aside_at < func.now() - KEPT)
        statement = delete(SET_ASIDE).where(rows.id.in_(old)).returning(rows.consumer, rows.topic, rows.type)
        async with self._runtime.sessions.begin() as session:
            gone = Counter((row.consumer, row.topic, row.type) for row in await session.execute(statement))
        for (consumer, topic, type_), messages in gone.items():
            log.error(
                "messages were dropped: no version knew their type in time",
                consumer=consumer,
                topic=topic,
                type=type_,
                messages=messages,
            )


def in_work(row_id: int) -> Select[bool]:
    """Whether this transaction gets the message's lock, held until its end.

    Only one of several replicas may count an attempt, or four replicas would look like four deaths. It is not a row
    lock, because `_begin` updates the row on another connection.
    """
    return select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"set aside {row_id}", 0)))


def _record(row: Row[Any]) -> ConsumerRecord[Any, Any]:
    headers = tuple((name, value.encode()) for name, value in row.headers)
    sizes = (len(row.key or b""), len(row.value or b""))
    return ConsumerRecord(row.topic, row.partition, row.offset, 0, 0, row.key, row.value, None, *sizes, headers)
