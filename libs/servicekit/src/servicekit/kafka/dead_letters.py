"""For operators: list a dead-letter topic, replay its messages, or archive them.

    python -m servicekit.kafka.dead_letters list    auth.connection.v1.people-sync.dlq
    python -m servicekit.kafka.dead_letters replay  auth.connection.v1.people-sync.dlq --limit 1
    python -m servicekit.kafka.dead_letters archive auth.connection.v1.people-sync.dlq --to rejected.jsonl

`list` shows each message's origin and error, never its content. `replay` sends each message back to its own topic with
its own id: groups that already had its effect skip it, and the group that rejected it tries again; a second rejection
does not count towards the group's stop. `archive` writes the messages to a file. Both then remove the message from the
list; it stays in the topic until its retention ends. `--offset` selects one letter, `--limit` the oldest few. Letters
that arrive after the start are left for the next call.

A receipt, a message in the same topic, marks the letters that are done. It outlives the letters before it.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from servicekit.kafka.producer import KafkaUnavailable, Producer, Record, TooLarge
from servicekit.kafka.rejections import REPLAYS

BATCH = 500
FETCH_SECONDS = 10.0
_ORIGIN = "dlq_"
_DONE = "dlq_done"

Letter: TypeAlias = ConsumerRecord[Any, Any]


@dataclass(slots=True)
class Outcome:
    """The result of a replay or an archive."""

    done: int = 0
    left: list[str] = field(default_factory=list)
    """For each letter that is still open, the reason."""


class DeadLetters:
    """One dead-letter topic: the letters that are still open when it is opened."""

    def __init__(
        self, bootstrap_servers: str, topic: str, *, offset: int | None = None, limit: int | None = None
    ) -> None:
        """offset: only this letter. limit: at most so many, oldest first. ValueError: not a dead-letter topic."""
        if not topic.endswith(".dlq"):
            raise ValueError(f"{topic} is not a dead-letter topic: their names end in .dlq")
        self._topic = topic
        self._partition = TopicPartition(topic, 0)  # the registry gives dead letters one partition
        self._offset = offset
        self._limit = limit
        self._end = 0
        self._done: set[int] = set()
        self._producer = Producer(bootstrap_servers, client_id="dead-letters")
        self._consumer = self._reader(bootstrap_servers)
        self._originals = self._reader(bootstrap_servers)

    def _reader(self, bootstrap_servers: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            # With the default, a fetch answer that arrives while the reader seeks the beginning would move it to the
            # end.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    async def __aenter__(self) -> "DeadLetters":
        try:
            await self._consumer.start()
            await self._originals.start()
            if self._topic not in await self._consumer.topics():
                raise ValueError(f"there is no topic {self._topic}")
            self._consumer.assign([self._partition])
            self._end = (await self._consumer.end_offsets([self._partition]))[self._partition]
            async for records in self._read():
                self._done.update(offset for record in records for offset in _receipted(record))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._originals.stop()
        await self._producer.close()

    async def letters(self) -> AsyncIterator[list[Letter]]:
        """The open letters, oldest first, at most 500 at a time."""
        count = 0
        async for records in self._read():
            found = [record for record in records if self._wanted(record)]
            if self._limit is not None:
                found = found[: self._limit - count]
            count += len(found)
            if found:
                yield found
            if self._limit is not None and count >= self._limit:
                return

    async def replay(self) -> Outcome:
        """Send all messages back to their topics."""
        outcome = Outcome()
        async for letters in self.letters():
            sent: list[tuple[Letter, Record]] = []
            for letter in letters:
                try:
                    sent.append((letter, await self._original(letter)))
                except _Lost as lost:
                    outcome.left.append(f"offset {letter.offset}: {lost}")
            await self._send([record for _, record in sent])
            await self._take_off(letter for letter, _ in sent)
            outcome.done += len(sent)
        return outcome

    async def archive(self, path: Path) -> Outcome:
        """Append all to a file, one JSON object per line, with keys, values and headers in Base64."""
        outcome = Outcome()
        async for letters in self.letters():
            lines = "".join(json.dumps(_archived(letter)) + "\n" for letter in letters)
            await asyncio.to_thread(_append, path, lines)
            await self._take_off(letters)
            outcome.done += len(letters)
        return outcome

    def _wanted(self, record: Letter) -> bool:
        is_receipt = any(name == _DONE for name, _ in record.headers)
        return not is_receipt and record.offset not in self._done and self._offset in {None, record.offset}

    async def _read(self) -> AsyncIterator[list[Letter]]:
        await self._consumer.seek_to_beginning(self._partition)
        while await self._consumer.position(self._partition) < self._end:
            batches = await self._consumer.getmany(timeout_ms=500, max_records=BATCH)
            if found := [record for records in batches.values() for record in records if record.offset < self._end]:
                yield found

    async def _original(self, letter: Letter) -> Record:
        origin = origin_of(letter)
        if not self._topic.startswith(f"{origin.get('topic')}."):
            raise _Lost("it does not say where it came from; archive it")
        record = await self._fetch(letter, origin) if "cut" in origin else letter
        headers = [(name, value) for name, value in record.headers if not name.startswith(_ORIGIN)]
        replays = int(origin.get("replays", "0")) + 1 if origin.get("replays", "0").isdecimal() else 1
        headers.append((REPLAYS, str(replays).encode()))
        # None and b"" stay distinct, because an empty value may be a tombstone.
        return Record(origin["topic"], record.key, record.value, headers)

    async def _fetch(self, letter: Letter, origin: dict[str, str]) -> Letter:
        """Fetch the message that was too large for its letter from its own topic."""
        try:
            partition, offset = TopicPartition(origin["topic"], int(origin["partition"])), int(origin["offset"])
        except (KeyError, ValueError):
            raise _Lost("it does not say where its message is; archive it") from None
        lost = _Lost(f"its message is no longer at {partition.topic}/{partition.partition}/{offset}; archive it")
        first = await self._originals.beginning_offsets([partition])
        end = await self._originals.end_offsets([partition])
        if not first[partition] <= offset < end[partition]:
            raise lost
        self._originals.assign([partition])
        self._originals.seek(partition, offset)
        async with asyncio.timeout(FETCH_SECONDS):
            record: Letter = await self._originals.getone(partition)
        if record.offset != offset or dict(record.headers).get("ce_id") != dict(letter.headers).get("ce_id"):
            raise lost
        return record

    async def _send(self, records: list[Record]) -> None:
        try:
            await self._producer.send(records)
        except TooLarge:
            for record in records:  # without our header it fits again; groups skip duplicates
                try:
                    await self._producer.send([record])
                except TooLarge:
                    headers = [(name, value) for name, value in record.headers if name != REPLAYS]
                    await self._producer.send([Record(record.topic, record.key, record.value, headers)])

    async def _take_off(self, letters: Iterable[Letter]) -> None:
        if offsets := ",".join(str(letter.offset) for letter in letters):
            await self._producer.send([Record(self._topic, None, b"", [(_DONE, offsets.encode())])])


class _Lost(Exception):
    """A letter's message cannot be sent again, for the reason in the text."""


def origin_of(letter: Letter) -> dict[str, str]:
    """The origin headers of a letter: topic, partition, offset, group, error, attempts, time. Empty without headers."""
    return {
        name.removeprefix(_ORIGIN): value.decode(errors="replace")
        for name, value in letter.headers
        if name.startswith(_ORIGIN) and value
    }


def _receipted(record: Letter) -> list[int]:
    offsets = (offset for name, value in record.headers if name == _DONE for offset in (value or b"").split(b","))
    return [int(offset) for offset in offsets if offset.isdigit()]


def _archived(record: Letter) -> dict[str, Any]:
    def encoded(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode()

    headers = [[name, encoded(value)] for name, value in record.headers]
    return {"offset": record.offset, "key": encoded(record.key), "value": encoded(record.value), "headers": headers}


def _append(path: Path, lines: str) -> None:
    path.touch(0o600)  # personal data
    with path.open("a") as file:
        file.write(lines)


async def run(arguments: argparse.Namespace) -> str:
    """Run the command; returns the output."""
    async with DeadLetters(
        arguments.bootstrap_servers, arguments.topic, offset=arguments.offset, limit=arguments.limit
    ) as letters:
        if arguments.command == "replay":
            outcome = await letters.replay()
            return "\n".join([f"{outcome.done} messages sent again", *(f"left: {why}" for why in outcome.left)])
        if arguments.command == "archive":
            return f"{(await letters.archive(arguments.to)).done} messages written to {arguments.to}"
        lines = [
            json.dumps({"dlq_offset": letter.offset, **origin_of(letter)})
            async for batch in letters.letters()
            for letter in batch
        ]
        return "\n".join(lines) or "nothing to do"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exits with the reason if it is incomplete."""
    parser = argparse.ArgumentParser(
        prog="python -m servicekit.kafka.dead_letters", description="Work on a dead-letter topic"
    )
    parser.add_argument("command", choices=["list", "replay", "archive"])
    parser.add_argument("topic")
    parser.add_argument("--offset", type=int, help="this letter alone, by its dlq_offset")
    parser.add_argument("--limit", type=int, help="so many letters at most, oldest first")
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
    except (KafkaError, KafkaUnavailable, ValueError) as error:
        print(f"dead letters: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
