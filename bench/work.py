"""A church on a stack of its own, and measurements of its runs."""

import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from contracts.values import AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import ENDED, Church
from local_stack.stack import SERVICES, Stack

INCLUDE: Final = ("emails", "phone_numbers", "addresses", "households")
_NEEDED: Final = (AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY)
_CACHE: Final = Path(__file__).parents[1] / ".cache"
FREE: Final[dict[str, Any]] = {"rate_limit": 0, "latency_ms": 0, "deep_offset_limit": 0}
"""Settings of a vendor without limit or latency."""


@dataclass(slots=True)
class Ran:
    """One finished run."""

    run: dict[str, Any]
    entries: list[dict[str, Any]]
    """Requests to People, from the simulator's journal."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, to the precision of polling."""

    @property
    def seconds(self) -> float:
        """Seconds from the first claim to the end, by people-sync's clock."""
        began, ended = (datetime.fromisoformat(self.run[name]) for name in ("started_at", "finished_at"))
        return (ended - began).total_seconds()

    @property
    def requests(self) -> int:
        """Number of sent requests."""
        return len(self.entries)

    @property
    def exchange_seconds(self) -> float:
        """Seconds from the arrival of the first request to the answer of the last, by the simulator."""
        began = min(datetime.fromisoformat(one["at"]) for one in self.entries)
        ended = max(
            datetime.fromisoformat(one["at"]) + timedelta(milliseconds=one["duration_ms"]) for one in self.entries
        )
        return (ended - began).total_seconds()

    def shown(self) -> str:
        """The phases as text."""
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.phases.items())


def floor(requests: int, *, limit: int, period: float, latency: float) -> float:
    """Minimum seconds in which a vendor with a sliding limit can answer this many requests."""
    return period * (ceil(requests / limit) - 1) + latency


@contextmanager
def church(
    people: int,
    *,
    services: Sequence[str] = _NEEDED,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    **settings: Any,
) -> Iterator[tuple[Stack, Church]]:
    """A connected church of this size without a sync. Stops its stack at the end."""
    say(f"a church of {people:,} people")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        Stack(
            state,
            people=people,
            services=services,
            environment=environment,
            simulator_settings={"journal_requests": 20_000, **settings},
            cache=_CACHE,
        ) as stack,
        Church.of(stack) as admin,
    ):
        admin.connect()
        yield stack, admin


def sync(admin: Church, kind: str = "full", *, within: float = 1800, every: float = 0.5) -> Ran:
    """Poll a run to its end `every` so many seconds; twice a second is free. Raises unless it is done."""
    mark = admin.control.mark()
    run_id = admin.start(kind)
    phases: dict[str, float] = {}
    began = last = time.monotonic()
    while True:
        time.sleep(every)
        run = admin.run(run_id)
        now = time.monotonic()
        phase = run["progress"]["phase"]
        phases[phase], last = phases.get(phase, 0.0) + now - last, now
        if run["state"] in ENDED:
            break
        if run["question"] or now - began > within:
            raise RuntimeError(f"the run does not end by itself: {run}")
    if run["state"] != "done":
        raise RuntimeError(f"the run ended as {run['state']}: {run['message']}")
    ran = Ran(run, admin.control.journal(after=mark, path="^/people/", limit=100_000), phases)
    say(f"{kind} run: {ran.seconds:.1f} s, {ran.requests} requests, {run['counts']} ({ran.shown()})")
    return ran


def vendor(admin: Church, **settings: Any) -> None:
    """Change the vendor's settings and empty its window."""
    admin.control.reset()
    admin.control.change_settings(journal_requests=20_000, **settings)
    # Webhooks are lost, because the sync that is measured must find the changes.
    admin.control.add_webhook_fault({"kind": "drop", "listed": False})


def organization(admin: Church) -> dict[str, Any]:
    """Id of the church at Planning Center."""
    return admin.control.organizations()[0]


COPIED: Final = ("member", "link", "family", "family_member", "effect")
"""Tables that a first import fills."""


async def copied(stack: Stack) -> tuple[int, float]:
    """Number of rows in the tables of a first import, and seconds of a bare COPY of them into tables with the same
    columns, indexes and checks."""
    connection = await asyncpg.connect(stack.database_url(PEOPLE_SYNC, driver="postgresql"))
    try:
        await connection.execute("CREATE SCHEMA bare")
        count, seconds = 0, 0.0
        for table in COPIED:
            await connection.execute(f"CREATE TABLE bare.{table} (LIKE public.{table} INCLUDING ALL)")
            rows = io.BytesIO()
            await connection.copy_from_table(table, output=rows, format="binary")
            rows.seek(0)
            began = time.monotonic()
            done = await connection.copy_to_table(table, schema_name="bare", source=rows, format="binary")
            seconds += time.monotonic() - began
            count += int(done.removeprefix("COPY "))
    finally:
        await connection.close()
    return count, seconds


def spent(stack: Stack, seconds: float) -> dict[str, float]:
    """CPU of each service over these seconds, in cores."""
    processes = {one.label: psutil.Process(one.pid) for one in stack.processes() if one.pid is not None}
    services = {name: one for name, one in processes.items() if name in SERVICES}
    before = {name: one.cpu_times() for name, one in services.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = {name: one.cpu_times() for name, one in services.items()}
    return {
        name: (after[name].user + after[name].system - before[name].user - before[name].system) / took
        for name in services
    }


def say(text: str) -> None:
    """Print progress, apart from the table."""
    print(f"… {time.strftime('%H:%M:%S')} {text}", flush=True)
