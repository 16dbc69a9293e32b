"""The gateway under load: the cost of forwarding, and the cost of hostile callers for others."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from multiprocessing import get_context
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import psutil

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, say
from contracts.identity import UserIdentity
from contracts.values import PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.stack import Stack
from servicekit.http.auth import sign_user
from webhook_gateway.config import Settings

Shown = Callable[[Row], None]
_READ: Final = "/api/v1/people/settings"
"""A read of one row, so that the gateway's share is large."""
_SECONDS: Final = 5.0
"""Seconds of each measurement without pauses between requests."""
_OTHERS: Final = 10
_PAUSE: Final = 0.1
"""Pause of the normal callers of `hostile` between requests."""
_HOSTILE_SECONDS: Final = 30.0
_SLOW: Final = 300
_BODY: Final = 64 * 1024
"""First bytes of a slow body."""
_TRAILERS: Final = 100 * 1024 * 1024
_UNLIMITED: Final = {f"LIMIT_{who}_PER_MINUTE": "100000000" for who in ("USER", "ORGANIZATION", "ADDRESS")}


@dataclass(slots=True)
class Asked:
    """Latencies and duration of one measurement."""

    took: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Throughput in answers per second."""
        return len(self.took) / self.seconds

    def percentile(self, part: float) -> float:
        """Latency in seconds."""
        return sorted(self.took)[ceil(part * len(self.took)) - 1]


async def ask(address: str, token: str, *, callers: int, seconds: float, pause: float = 0.0) -> Asked:
    """Requests by `callers` connections, one after the other on each. RuntimeError unless all are 200.

    Raw sockets, since a client library would cost more than the gateway.
    """
    parts = urlsplit(address)
    head = _head(f"GET {_READ}", f"Host: {parts.netloc}", f"Authorization: Bearer {token}")
    asked = Asked()
    end = time.monotonic() + seconds

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while (began := time.monotonic()) < end:
                writer.write(head)
                answer = await reader.readuntil(b"\r\n\r\n")
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(answer.decode())
                length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                asked.took.append(time.monotonic() - began)
                await asyncio.sleep(pause)
        finally:
            writer.close()

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    asked.seconds = time.monotonic() - began
    return asked


def through(asked: Parameters, shown: Shown) -> None:
    """The same read through the gateway and directly at its owner, by few and by many callers."""
    with church(asked.small, environment={WEBHOOK_GATEWAY: _UNLIMITED}, **FREE) as (stack, _):
        found: dict[int, dict[str, list[float]]] = {}
        cost: dict[str, list[float]] = {"owner": [], "door": []}
        for callers in (8, asked.callers):
            rates = found[callers] = {"owner": [], "door": []}
            for _ in range(asked.repeat):
                for name, service, token in (
                    ("owner", PEOPLE_SYNC, _inside(stack)),
                    ("door", WEBHOOK_GATEWAY, stack.token()),
                ):
                    process = psutil.Process(stack.process(service).pid)
                    before = sum(process.cpu_times()[:2])
                    seen = asyncio.run(ask(stack.url(service), token, callers=callers, seconds=_SECONDS))
                    cost[name].append((sum(process.cpu_times()[:2]) - before) / len(seen.took))
                    rates[name].append(seen.rate)
            say(f"{callers} callers: " + ", ".join(f"{name} {_list(values)}/s" for name, values in rates.items()))
    medians = {callers: {name: median(values) for name, values in rates.items()} for callers, rates in found.items()}
    few, many = medians[8], medians[asked.callers]
    ratio = many["door"] / many["owner"]
    shown(
        Row(
            f"gateway ÷ owner asked directly, {asked.callers} callers",
            f"{ratio:.2f}",
            "≥ 0.6",
            ratio >= 0.6,
            f"GET {_READ} for {_SECONDS:.0f} s without a pause (median of {asked.repeat}): {many['door']:,.0f}/s "
            f"through the gateway, {many['owner']:,.0f}/s asked of people-sync; 8 callers: {few['door']:,.0f}/s and "
            f"{few['owner']:,.0f}/s; CPU of the gateway {median(cost['door']) * 1000:.1f} ms a read, of people-sync "
            f"{median(cost['owner']) * 1000:.1f} ms; callers, both and PostgreSQL share {os.cpu_count()} cores",
        )
    )


def hostile(asked: Parameters, shown: Shown) -> None:
    """Memory of the gateway under hostile callers, and the latency of others."""
    with church(asked.small, environment={WEBHOOK_GATEWAY: _UNLIMITED}, **FREE) as (stack, _):
        pid = stack.process(WEBHOOK_GATEWAY).pid
        assert pid is not None
        gateway, token = psutil.Process(pid), stack.token()

        def others() -> Asked:
            return asyncio.run(ask(stack.url(), token, callers=_OTHERS, seconds=_HOSTILE_SECONDS, pause=_PAUSE))

        others()  # memory of the first normal callers must not count as the hostile ones'
        quiet, before = others(), gateway.memory_info().rss
        attack = get_context("spawn").Process(target=_attack, args=(stack.url(), token), daemon=True)
        attack.start()
        watch = _Watch(gateway)
        with watch:
            meanwhile = others()
        attack.terminate()
        attack.join()
    grown, p99 = (watch.peak - before) / 1e6, meanwhile.percentile(0.99)
    how = (
        f"{_SLOW} heads and {_SLOW} bodies of {_BODY // 1024} KiB that trickle, half of these with a token, and "
        f"{_TRAILERS >> 20} MiB of trailers, over as many connections as that takes, within {_HOSTILE_SECONDS:.0f} s"
    )
    say(f"peak {watch.peak / 1e6:.0f} MB, before {before / 1e6:.0f} MB; p99 {p99 * 1000:.0f} ms")
    shown(Row("gateway's memory under hostile callers", f"+ {grown:.0f} MB", "< 50 MB", grown < 50, how))
    shown(
        Row(
            "gateway's other callers meanwhile: p99",
            f"{p99 * 1000:.0f} ms",
            "< 100 ms",
            p99 < 0.1,
            f"{_OTHERS} callers, {len(meanwhile.took):,} times GET {_READ}; without the hostile ones "
            f"{quiet.percentile(0.99) * 1000:.0f} ms, median {median(quiet.took) * 1000:.0f} and "
            f"{median(meanwhile.took) * 1000:.0f} ms",
        )
    )


class _Watch:
    """Peak memory of a process during a block, sampled ten times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peak = 0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, self._process.memory_info().rss)


def _attack(address: str, token: str) -> None:
    """Run hostile callers in a separate process, which must not slow the measurement."""
    asyncio.run(_keep_waiting(address, token))


async def _keep_waiting(address: str, token: str) -> None:
    """Run for ever: a disconnected caller reconnects."""
    parts = urlsplit(address)
    put = "PUT /api/v1/people/bulk", f"Host: {parts.netloc}", f"Content-Length: {1024 * 1024}"
    known = _head(*put, "Content-Type: application/json", f"Authorization: Bearer {token}")
    body = b" " * _BODY
    chunked = _head(*put[:2], "Transfer-Encoding: chunked") + b"1\r\n \r\n0\r\n"

    async def trickle(begin: bytes) -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(begin)
                while not writer.is_closing():
                    await asyncio.sleep(1)
                    writer.write(b" ")
                    await writer.drain()

    async def trailers() -> None:
        left = _TRAILERS
        while left > 0:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(chunked)
                while left > 0:
                    writer.write(b"x" * 1024 * 1024)
                    left -= 1024 * 1024
                    await writer.drain()

    slow = [_head("GET /")[:-4] + b"\r\nX: "] * _SLOW
    slow += [known + body, _head(*put) + body] * (_SLOW // 2)
    await asyncio.gather(*map(trickle, slow), trailers())


def _head(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", *headers, "", ""]).encode()


def _inside(stack: Stack) -> str:
    """Sign the gateway's identity for a user, valid for a minute."""
    settings = Settings(**{name.lower(): value for name, value in stack.environment(WEBHOOK_GATEWAY).items()})  # type: ignore[arg-type]
    identity = UserIdentity(
        user_id="ada", name="Ada", organization_id="org", organization_name="Church", roles=("admin",)
    )
    return sign_user(settings, PEOPLE_SYNC, identity)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in values)
