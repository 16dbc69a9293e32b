"""The one Kafka producer class: idempotent, ordered inside a partition, made anew after any failure."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from servicekit.errors import TransientError

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """A message as bytes. `value` None is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class KafkaUnavailable(TransientError):
    """Kafka did not confirm. What was sent may or may not be there."""


class Producer:
    """Sends batches and waits for every confirmation. One task at a time uses it."""

    def __init__(self, bootstrap_servers: str, *, client_id: str, timeout_seconds: float = 15.0) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._timeout_seconds = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, records: Sequence[Record]) -> None:
        """Send all, in order per partition; return when all are confirmed. KafkaUnavailable otherwise."""
        async with self._lock:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    producer = await self._started()
                    confirmations = [
                        await producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
                        for record in records
                    ]
                    await asyncio.gather(*confirmations)
            except (KafkaError, TimeoutError, OSError) as error:
                # An idempotent producer can stay stuck on OutOfOrderSequenceNumber (aio-libs/aiokafka#1017).
                await self._drop()
                raise KafkaUnavailable(
                    f"Kafka at {self._bootstrap_servers} did not confirm {len(records)} messages: {error!r}"
                ) from error
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        """Let go of the connections. The next `send` makes new ones."""
        async with self._lock:
            await self._drop()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                enable_idempotence=True,
                request_timeout_ms=int(self._timeout_seconds * 1000),
                max_request_size=4 * 1024 * 1024,
            )
            self._producer = producer
            await producer.start()
        return self._producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # Nothing that is still buffered matters: the caller counts the batch as not sent.
            with suppress(KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(producer.stop(), timeout=2)
