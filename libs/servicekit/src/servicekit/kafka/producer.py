"""The only Kafka producer class: idempotent, ordered inside a partition, replaced after any failure."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from servicekit.errors import TransientError

Headers = Sequence[tuple[str, bytes | None]]
TRANSACTION_SECONDS: Final = 30
"""Time after which Kafka ends an abandoned transaction; until then readers of its partitions wait."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message as bytes. `value` None is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class KafkaUnavailable(TransientError):
    """Kafka did not confirm. The messages may or may not be stored."""


class Fenced(KafkaUnavailable):
    """A producer with the same transactional id began after this one. No reader will ever see this batch."""


class TooLarge(KafkaUnavailable):
    """A message is larger than Kafka accepts."""


class TopicMissing(KafkaUnavailable):
    """Nothing was sent, because Kafka has no such topic."""

    def __init__(self, topics: Collection[str]) -> None:
        super().__init__(f"no such topic: {', '.join(sorted(topics))}")
        self.topics = frozenset(topics)


class Producer:
    """Sends batches and waits for every confirmation. Only one task uses it at a time.

    transactional_id: each batch is one Kafka transaction, which `read_committed` readers see whole or not at all. Of
    all producers with this id, in any process, only the one that began last can send. Without an id a batch is sent
    message by message, and no producer is fenced.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        client_id: str,
        timeout_seconds: float = 15.0,
        transactional_id: str | None = None,
    ) -> None:
        self.transactional_id = transactional_id
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._timeout_seconds = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def begin(self) -> None:
        """Connect if needed. With a transactional id this fences every earlier producer with that id, including
        messages that it has under way. KafkaUnavailable if Kafka does not answer.
        """
        async with self._lock, self._dropping("did not let a producer begin"):
            await self._begun()

    async def send(self, records: Sequence[Record]) -> None:
        """Send all, in order per partition; return when all are confirmed. KafkaUnavailable otherwise. Fenced if
        another producer has begun with the same transactional id; the next call begins again.
        """
        async with self._lock, self._dropping(f"did not confirm {len(records)} messages"):
            producer = await self._begun()
            await _refuse_missing(producer, {record.topic for record in records})
            if self.transactional_id is None:
                await self._send(producer, records)
                return
            await producer.begin_transaction()
            await self._send(producer, records)
            # Commit only after every confirmation, because aiokafka would also commit the rest of a refused batch.
            await producer.commit_transaction()

    async def close(self) -> None:
        """Close the connections. The next `send` makes new ones."""
        async with self._lock:
            await self._drop()

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
        confirmations = [
            await producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
            for record in records
        ]
        await asyncio.gather(*confirmations)

    @asynccontextmanager
    async def _dropping(self, what: str) -> AsyncIterator[None]:
        """Drop the producer and its transaction after any failure; the next call makes another.

        An idempotent producer can stay stuck on OutOfOrderSequenceNumber (aio-libs/aiokafka#1017).
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except TopicMissing:
            raise
        except (KafkaError, TimeoutError, OSError) as error:
            await self._drop()
            raised = _KINDS.get(type(error), Fenced if _is_fenced(error) else KafkaUnavailable)
            raise raised(f"Kafka at {self._bootstrap_servers} {what}: {error!r}") from error
        except BaseException:
            await self._drop()
            raise

    async def _begun(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                enable_idempotence=True,
                transactional_id=self.transactional_id,
                transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
                request_timeout_ms=int(self._timeout_seconds * 1000),
                max_request_size=4 * 1024 * 1024,
            )
            self._producer = producer
            await producer.start()
        return self._producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # Buffered messages do not matter, because the caller treats the batch as not sent.
            with suppress(KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(producer.stop(), timeout=2)


_KINDS: dict[type[BaseException], type[KafkaUnavailable]] = {MessageSizeTooLargeError: TooLarge}


async def _refuse_missing(producer: AIOKafkaProducer, topics: Collection[str]) -> None:
    """Refuse missing topics, which aiokafka would look for until the time limit and then report as a Kafka that is
    away.
    """
    if unknown := {topic for topic in topics if producer.client.cluster.partitions_for_topic(topic) is None}:
        cluster = await producer.client.fetch_all_metadata()
        if missing := unknown - cluster.topics():
            raise TopicMissing(missing)


def _is_fenced(error: BaseException | None) -> bool:
    """Search the causes too, because aiokafka hides the error if its background task finds it first."""
    while error is not None:
        if isinstance(error, ProducerFenced):
            return True
        error = error.__cause__
    return False
