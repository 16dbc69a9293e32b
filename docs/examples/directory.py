"""Keeps a copy of the directory in memory: python directory.py HOST:PORT"""

import asyncio
import json
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer

REMOVED = {"MemberRemoved": "member_id", "FamilyRemoved": "family_id"}


async def main(servers: str) -> None:
    directory: dict[str, dict[str, Any]] = {}
    versions: dict[str, int] = {}
    consumer = AIOKafkaConsumer(
        "people.record.v1",
        bootstrap_servers=servers,
        group_id=None,  # a copy in memory begins at the beginning, at every start
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        async for message in consumer:
            key = message.key.decode()
            if message.value is None:  # a tombstone: the removal was told before it, or long ago
                directory.pop(key, None)
                continue
            kind = dict(message.headers)["ce_type"].decode()
            fact = json.loads(message.value)
            if fact["version"] <= versions.get(key, 0):
                continue
            versions[key] = fact["version"]
            if kind in {"MemberChanged", "FamilyChanged"}:
                directory[key] = fact["member" if kind == "MemberChanged" else "family"]
            elif kind in REMOVED:
                directory.pop(key, None)
            print(kind, key, "version", fact["version"], "records", len(directory), flush=True)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
