"""The local Kafka keeps its messages and its address through stops, kills and killed launchers."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from servicekit.local import LocalKafka, LocalStackError
from servicekit.local.process import is_alive, wait_until

pytestmark = pytest.mark.broker_faults


async def create_topic(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("visits", 3, 1)])
    finally:
        await admin.close()


async def send(servers: str, numbers: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    await producer.start()
    try:
        for number in numbers:
            await producer.send_and_wait("visits", str(number).encode(), key=str(number % 7).encode())
    finally:
        await producer.stop()


async def receive(servers: str, count: int) -> set[int]:
    consumer = AIOKafkaConsumer("visits", bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    got: list[int] = []
    try:
        async with asyncio.timeout(30):
            while len(got) < count:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    got += [int(record.value) for record in records]
    finally:
        await consumer.stop()
    assert len(got) == count
    return set(got)


async def test_messages_and_address_survive_kill_and_stop(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as kafka:
        servers = kafka.bootstrap_servers
        await create_topic(servers)
        await send(servers, range(100))
        pid = kafka.pid
        kafka.kill()
        assert pid is not None
        assert not is_alive(pid)
        kafka.start()
        assert kafka.bootstrap_servers == servers
        assert await receive(servers, 100) == set(range(100))
        await send(servers, range(100, 150))
        kafka.restart()
        assert await receive(servers, 150) == set(range(150))
        with pytest.raises(LocalStackError, match=r"is running already \(process \d+\): stop that one first"):
            LocalKafka(kafka.directory).start()


async def test_a_killed_launcher_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time; from servicekit.local import LocalKafka; k = LocalKafka(sys.argv[1]); k.start();"
        "print(k.bootstrap_servers, k.pid, flush=True); time.sleep(600)"
    )
    launcher = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(tmp_path / "kafka")], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    servers, pid = launcher.stdout.readline().split()
    await create_topic(servers)
    await send(servers, range(20))
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    with LocalKafka(tmp_path / "kafka") as kafka:
        assert kafka.pid != int(pid)
        assert await receive(kafka.bootstrap_servers, 20) == set(range(20))
    assert wait_until(lambda: not is_alive(int(pid)), within=10)
