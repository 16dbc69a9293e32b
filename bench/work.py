"""A church at work on a stack of its own, and what its runs leave to be measured."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final

from contracts.values import AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.church import ENDED, Church
from local_stack.stack import Stack

INCLUDE: Final = ("emails", "phone_numbers", "addresses", "households")
_NEEDED: Final = (AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY)
_CACHE: Final = Path(__file__).parents[1] / ".cache"
FREE: Final = {"rate_limit": 0, "latency_ms": 0, "deep_offset_limit": 0}
"""Settings of a vendor that holds nobody back."""


@dataclass(slots=True)
class Ran:
    """One finished run."""

    run: dict[str, Any]
    entries: list[dict[str, Any]]
    """The requests to People, by the simulator's journal."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, seen from outside: half a second more or less."""

    @property
    def seconds(self) -> float:
        """From the first claim to the end, by people-sync."""
        began, ended = (datetime.fromisoformat(self.run[name]) for name in ("started_at", "finished_at"))
        return (ended - began).total_seconds()

    @property
    def requests(self) -> int:
        """How many were sent."""
        return len(self.entries)

    @property
    def exchange_seconds(self) -> float:
        """From the arrival of the first request to the answer of the last, by the simulator."""
        began = min(datetime.fromisoformat(one["at"]) for one in self.entries)
        ended = max(
            datetime.fromisoformat(one["at"]) + timedelta(milliseconds=one["duration_ms"]) for one in self.entries
        )
        return (ended - began).total_seconds()

    def shown(self) -> str:
        """The phases, for the reader."""
        return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.phases.items())


def floor(requests: int, *, limit: int, period: float, latency: float) -> float:
    """The least seconds in which a vendor with a sliding limit can answer so many requests."""
    return period * (ceil(requests / limit) - 1) + latency


@contextmanager
def church(people: int, **settings: Any) -> Iterator[tuple[Stack, Church]]:
    """A church of this size, connected, nothing synced yet. Ends all that it started."""
    say(f"a church of {people:,} people")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        Stack(
            state,
            people=people,
            services=_NEEDED,
            simulator_settings={"journal_requests": 20_000, **settings},
            cache=_CACHE,
        ) as stack,
        Church.of(stack) as admin,
    ):
        admin.connect()
        yield stack, admin


def sync(admin: Church, kind: str = "full", *, within: float = 1800) -> Ran:
    """A run to its end, looked at twice a second so that looking costs nothing. Raises unless it is done."""
    mark = admin.control.mark()
    run_id = admin.start(kind)
    phases: dict[str, float] = {}
    began = last = time.monotonic()
    while True:
        time.sleep(0.5)
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
    """Other settings, and nothing in the vendor's window."""
    admin.control.reset()
    admin.control.change_settings(journal_requests=20_000, **settings)


def organization(admin: Church) -> dict[str, Any]:
    """The church at Planning Center."""
    return admin.control.organizations()[0]


def say(text: str) -> None:
    """Progress, beside the table."""
    print(f"… {time.strftime('%H:%M:%S')} {text}", flush=True)
