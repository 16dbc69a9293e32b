"""For operators: look at a dead-letter topic, send its messages again, or put them aside.

    python -m servicekit.dead_letters list    auth.connection.v1.people-sync.dlq
    python -m servicekit.dead_letters replay  auth.connection.v1.people-sync.dlq
    python -m servicekit.dead_letters archive auth.connection.v1.people-sync.dlq --to rejected.jsonl

`list` shows where each message came from and why, never its content. `replay` sends each back to its own topic with its
own id: groups that had its effect skip it, the one that rejected it tries again. `archive` writes the messages to a
file. Both take a message off the list only after that; it stays in the topic until its retention ends.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from servicekit.producer import Producer, Record

BATCH = 500
_ORIGIN = "dlq_"


class DeadLetters:
    """One dead-letter topic as its operators see it: the messages nobody has dealt with yet."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        if not topic.endswith(".dlq"):
            raise ValueError(f"{topic} is not a dead-letter topic: their names end in .dlq")
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=f"{topic}.operator",  # its committed offset is how far operators have come
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    async def __aenter__(self) -> "DeadLetters":
        await self._consumer.start()
        if self._topic not in await self._consumer.topics():
            await self._consumer.stop()
            raise ValueError(f"there is no topic {self._topic}")
        self._consumer.assign([TopicPartition(self._topic, 0)])  # the registry gives dead letters one partition
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self) -> list[ConsumerRecord[Any, Any]]:
        """The next messages, at most 500; empty at the end."""
        partitions = self._consumer.assignment()
        ends = await self._consumer.end_offsets(partitions)
        while any([await self._consumer.position(partition) < ends[partition] for partition in partitions]):
            batches = await self._consumer.getmany(timeout_ms=500, max_records=BATCH)
            if found := [record for records in batches.values() for record in records]:
                return found
        return []

    async def done(self) -> None:
        """Everything that was read is dealt with."""
        await self._consumer.commit()

    async def replay(self) -> int:
        """Send all to the topics they came from. Returns how many."""
        producer = Producer(self._bootstrap_servers, client_id="dead-letters")
        count = 0
        try:
            while records := await self.read():
                await producer.send([_original(record) for record in records])
                await self.done()
                count += len(records)
        finally:
            await producer.close()
        return count

    async def archive(self, path: Path) -> int:
        """Append all to a file, one JSON object per line, keys, values and headers in Base64. Returns how many."""
        count = 0
        while records := await self.read():
            lines = "".join(json.dumps(_archived(record)) + "\n" for record in records)
            await asyncio.to_thread(_append, path, lines)
            await self.done()
            count += len(records)
        return count


def _origin(record: ConsumerRecord[Any, Any]) -> dict[str, str]:
    return {
        name.removeprefix(_ORIGIN): value.decode()
        for name, value in record.headers
        if name.startswith(_ORIGIN) and value
    }


def _original(record: ConsumerRecord[Any, Any]) -> Record:
    headers = [(name, value) for name, value in record.headers if not name.startswith(_ORIGIN)]
    # An empty value may have been a tombstone: aiokafka tells None from b"", and so does the log.
    return Record(_origin(record)["topic"], record.key, record.value, headers)


def _archived(record: ConsumerRecord[Any, Any]) -> dict[str, Any]:
    def encoded(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode()

    headers = [[name, encoded(value)] for name, value in record.headers]
    return {"offset": record.offset, "key": encoded(record.key), "value": encoded(record.value), "headers": headers}


def _append(path: Path, lines: str) -> None:
    path.touch(0o600)  # people's data
    with path.open("a") as file:
        file.write(lines)


async def run(arguments: argparse.Namespace) -> str:
    """Do what the command line says; returns what to print."""
    async with DeadLetters(arguments.bootstrap_servers, arguments.topic) as letters:
        if arguments.command == "replay":
            return f"{await letters.replay()} messages sent again"
        if arguments.command == "archive":
            return f"{await letters.archive(arguments.to)} messages written to {arguments.to}"
        lines = []
        while records := await letters.read():
            lines += [json.dumps({"dlq_offset": record.offset, **_origin(record)}) for record in records]
        return "\n".join(lines) or "nothing to do"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; says what is missing and exits."""
    parser = argparse.ArgumentParser(
        prog="python -m servicekit.dead_letters", description="Work on a dead-letter topic"
    )
    parser.add_argument("command", choices=["list", "replay", "archive"])
    parser.add_argument("topic")
    parser.add_argument("--to", type=Path, help="file that archive appends to")
    parser.add_argument("--bootstrap-servers", default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    parsed = parser.parse_args(arguments)
    if not parsed.bootstrap_servers:
        parser.error("set KAFKA_BOOTSTRAP_SERVERS or --bootstrap-servers")
    if parsed.command == "archive" and parsed.to is None:
        parser.error("archive needs --to <file>")
    return parsed


def main() -> int:
    """Returns the exit status."""
    try:
        print(asyncio.run(run(parse())))  # noqa: T201 - this is its output
    except (KafkaError, ValueError) as error:
        print(f"dead letters: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
