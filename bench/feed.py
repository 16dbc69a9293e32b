"""The private iCal feed of a large church: its size, how long a reader waits, and what others notice."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import httpx
import psutil

from bench.parameters import Parameters
from bench.table import Row
from bench.work import say
from contracts.values import CALENDAR_SYNC, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import Stack

Shown = Callable[[Row], None]
_AT_ONCE: Final = 1_000
"""Events of one call."""
_SERIES: Final = 5
"""One event in so many is a series."""
_READS: Final = 20
_POLLS: Final = 168
"""A week of readers who look every hour."""
_CHANGES: Final = 10
"""Changes in that week."""
_PAUSE: Final = 0.01
_UNLIMITED: Final = {
    f"LIMIT_{who}_PER_MINUTE": "100000000" for who in ("USER", "ORGANIZATION", "ADDRESS", "FEED", "FEED_ADDRESS")
}
_ABOUT: Final = "Bring a cup, a chair; and friends.\nDoors open half an hour before. " * 3
_CACHE: Final = Path(__file__).parents[1] / ".cache"


def feed(asked: Parameters, shown: Shown) -> None:
    """Cold, warm, after one change, and unchanged."""
    say(f"a church of {asked.events:,} events")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        Stack(
            state,
            people=20,
            services=(CALENDAR_SYNC, WEBHOOK_GATEWAY),
            environment={WEBHOOK_GATEWAY: _UNLIMITED},
            cache=_CACHE,
        ) as stack,
        Church.of(stack) as admin,
    ):
        for first in range(0, asked.events, _AT_ONCE):
            those = [_event(number) for number in range(first, min(first + _AT_ONCE, asked.events))]
            answer = admin.call("POST", "/calendar/bulk", json={"events": those})
            if answer["created"] != len(those):
                raise RuntimeError(f"not all were added: {answer['rejected'][:3]}")
        asyncio.run(_hand_off(stack))
        with httpx.Client(base_url=stack.url(), timeout=60) as reader:
            _measure(stack, admin, reader, asked, shown)


async def _hand_off(stack: Stack) -> None:
    """As if somebody had pushed each event, and Planning Center had refused."""
    connection = await asyncpg.connect(stack.database_url(CALENDAR_SYNC, driver="postgresql"))
    await connection.execute("UPDATE event SET handed_off = true")
    await connection.close()


def _event(number: int) -> dict[str, Any]:
    """A fifth are series of 20 weeks; in three zones, within the window of a feed."""
    zone = ("America/New_York", "America/Chicago", "America/Los_Angeles")[number % 3]
    begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=number % 8_000)
    event = {
        "external_id": f"e-{number}",
        "title": f"Gathering {number}, all are welcome",
        "description": _ABOUT,
        "location": "Fellowship Hall",
        "time_zone": zone,
        "starts_at": begins.isoformat(),
        "ends_at": (begins + timedelta(hours=1)).isoformat(),
    }
    if number % _SERIES == 0:
        event["recurrence"] = "FREQ=WEEKLY;COUNT=20"
    return event


def _measure(stack: Stack, admin: Church, reader: httpx.Client, asked: Parameters, shown: Shown) -> None:
    path = admin.call("POST", "/calendar/feed")["path"]

    def read(tag: str = "") -> tuple[float, httpx.Response]:
        began = time.monotonic()
        answer = reader.get(path, headers={"If-None-Match": tag})
        return time.monotonic() - began, answer

    def cpu() -> float:
        return sum(
            sum(psutil.Process(stack.process(service).pid).cpu_times()[:2])
            for service in (CALENDAR_SYNC, WEBHOOK_GATEWAY)
        )

    with _beside(admin) as quiet:
        time.sleep(2)
    with _beside(admin) as meanwhile:
        cold, answer = read()
    if answer.content.count(b"BEGIN:VEVENT") - answer.content.count(b"\r\nRECURRENCE-ID") != asked.events:
        raise RuntimeError(f"not all are there: {answer.status_code}, {len(answer.content)} bytes")
    size = len(answer.content)
    before = cpu()
    warm = [read()[0] for _ in range(_READS)]
    spent = (cpu() - before) / _READS
    tag = answer.headers["etag"]
    unchanged = [read(tag)[0] for _ in range(_READS)]
    changed = []
    statuses = []
    event_id = next(iter(admin.all("/calendar/events")))["id"]
    for poll in range(_POLLS):
        if poll % (_POLLS // _CHANGES) == 1:
            admin.call("PATCH", f"/calendar/events/{event_id}", json={"title": f"Renamed {poll}"})
        took, answer = read(tag)
        statuses.append(answer.status_code)
        if answer.status_code == httpx.codes.OK:
            tag = answer.headers["etag"]
            changed.append(took)
    p95 = _p95(warm)
    share = statuses.count(httpx.codes.NOT_MODIFIED) / len(statuses)
    shown(
        Row(
            f"feed of {asked.events:,} events, warm: p95",
            f"{p95 * 1000:.0f} ms",
            "< 200 ms",
            p95 < 0.2,
            f"{size / 1e6:.2f} MB through the gateway, {_READS} times, median {median(warm) * 1000:.0f} ms, of which "
            f"{spent * 1000:.0f} ms are CPU of both services; cold {cold:.2f} s; after one change p95 "
            f"{_p95(changed) * 1000:.0f} ms; unchanged (304) p95 {_p95(unchanged) * 1000:.0f} ms; of {_POLLS} hourly "
            f"polls with {len(changed)} changes {share:.0%} are 304; a read of the settings beside the cold one took "
            f"{max(meanwhile) * 1000:.0f} ms at most, p95 {_p95(meanwhile) * 1000:.0f} ms, without it p95 "
            f"{_p95(quiet) * 1000:.0f} ms",
        )
    )


@contextmanager
def _beside(admin: Church) -> Iterator[list[float]]:
    """Latencies of somebody else's small reads, one after the other, until the end."""
    took: list[float] = []
    ended = threading.Event()
    headers = dict(admin.api.headers)

    def ask() -> None:
        with httpx.Client(base_url=admin.api.base_url, headers=headers, timeout=60) as client:
            while not ended.wait(_PAUSE):
                began = time.monotonic()
                client.get("/api/v1/calendar/settings").raise_for_status()
                took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()


def _p95(took: list[float]) -> float:
    return sorted(took)[ceil(0.95 * len(took)) - 1]
