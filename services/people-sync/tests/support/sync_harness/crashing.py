"""Kills people-sync at a chosen instant of its work.

An undisturbed story gives the kinds of instants. Each kind is hit by SIGKILL once, in a copy of its own.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pco_simulator.testing import SimulatorProcess
from servicekit.local.process import free_port
from servicekit.testing import KeyRing, eventually
from servicekit.testing.databases import Database
from sync_harness.church import Rows, arguments_of, rows_of, rows_of_dump, write_state
from sync_harness.copies import ORGANIZATION, Copy, Ground
from sync_harness.ends import State, differences, doubled
from sync_harness.process import SUPPORT, UNKIND, environment, running
from sync_harness.site import Site
from sync_harness.stage import connect
from synckit.testing.crashing import PATIENCE_SECONDS, Kill, dies, is_write
from synckit.testing.lender import Grant, Lender
from synckit.testing.nursery import is_alive, nursery

log = logging.getLogger(__name__)
BY_CHANCE: Final = frozenset({"remote sighting", "creation link link_write"})
"""Commits that not every run makes: of whoever came to be there between a run's pull and its push; of a contact whose
answer was lost, if a read has confirmed it before (`creation effect link link_write` otherwise)."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The state at a story's end and after one more run, and its instants in order."""

    ends: State
    settled: State
    instants: list[tuple[str, str]]

    @property
    def kinds(self) -> set[tuple[str, str]]:
        """Every kind of instant."""
        return set(self.instants)


@asynccontextmanager
async def ground(
    folder: Path, rows: Rows, kafka: str, keys: KeyRing, lender: Lender, *, copies: int
) -> AsyncIterator[Ground]:
    """A simulator with copies of a church, and a nursery of processes."""
    churches = write_state(folder / "copies", [rows] * copies)
    with SimulatorProcess(settings=UNKIND, **arguments_of(folder / "copies", copies)) as simulator:
        async with nursery("sync_harness.nursery", SUPPORT) as started:
            yield Ground(started, simulator.control, simulator.base_url, lender, keys, kafka, folder, churches)


async def left_behind(
    folder: Path, url: str, kafka: str, keys: KeyRing, lender: Lender, change: Callable[[Site], Awaitable[None]]
) -> Rows:
    """The rows of a church synced by a first run and changed since. No process is left, so `url` can be copied."""
    churches = write_state(folder / "first", [rows_of()])
    with SimulatorProcess(settings=UNKIND, **arguments_of(folder / "first", 1)) as simulator:
        lender.grants[f"first/{ORGANIZATION}"] = Grant(churches[0], churches[0].tokens[0])
        env = environment(
            keys,
            database=url,
            kafka=kafka,
            simulator=simulator.base_url,
            auth_service=lender.url_of("first"),
            port=free_port(),
        )
        async with running(env, folder / "first.log") as service:
            database = Database(url)
            await connect(database, ORGANIZATION, churches[0])
            site = Site(ORGANIZATION, churches[0], simulator.control, database, keys, service.base_url)
            await site.sync()
            await site.believable()
            await change(site)
            await site.visible()
            await site.believable()
        return rows_of_dump(simulator.control.dump(churches[0].id))


async def undisturbed(copy: Copy, *, only: str | None = None) -> Undisturbed:
    """Run the story in an undisturbed copy. `only`: the kind of job whose instants are recorded."""
    record = copy.log.with_suffix(".instants")
    pid = await copy.process(record=str(record), only=only)
    if only:
        await _joined(copy, pid, only)
    await copy.over()
    lines = [line.split("\t") for line in record.read_text().splitlines()]
    ends = await copy.ends()
    await copy.again()
    settled = await copy.ends()
    assert not doubled(settled), doubled(settled)
    return Undisturbed(ends, settled, [(what, kind) for what, kind in lines])


async def carried_on(copy: Copy, expected: Undisturbed) -> str | None:
    """Let a new process take over; gives the difference from the undisturbed end, None without one."""
    await copy.process()
    return await ended_as(copy, expected)


async def ended_as(copy: Copy, expected: Undisturbed) -> str | None:
    """Wait for the end; gives the difference from the undisturbed end, None without one.

    Records that a kill leaves undecidable within the staleness horizon may be finished by the next run.
    """
    await copy.over()
    found = await copy.ends()
    if found != expected.ends:
        await copy.again()
        found = await copy.ends()
    if twice := doubled(found):
        return f"doubled {twice}"
    if found not in (expected.ends, expected.settled):
        return differences(expected.settled, found)
    return None


def written_twice(copy: Copy, kill: Kill | None = None) -> str | None:
    """Requests executed twice. An unanswered request was executed unless it never arrived."""
    lost = kill is not None and kill.what == "before call"
    entries = copy.ground.control.journal(path="^/people/v2/", limit=20_000)
    done = Counter(
        (entry["method"], entry["path"], entry["body"])
        for entry in entries
        if entry["organization_id"] == copy.church.id
        and is_write(entry["kind"])
        and (200 <= entry["status"] < 300 or (entry["status"] == 0 and not lost))
    )
    twice = [what for what, times in done.items() if times > 1]
    return f"written twice: {twice}" if twice else None


async def die_beside(copy: Copy, kill: Kill, only: str) -> bool:
    """Let one process take only one kind of job and die at it, while another does everything else."""
    pid = await copy.process(kill=[kill.what, kill.kind, kill.nth], only=only)
    await _joined(copy, pid, only)
    return await dies(copy, pid)


async def _joined(copy: Copy, pid: int, only: str) -> None:
    """Start a second process once the first has its job."""

    async def begun() -> bool:
        running = await copy.database.value("SELECT count(*) FROM job WHERE kind = $1 AND state <> 'queued'", only)
        return bool(running) or not is_alive(pid)

    await eventually(begun, within=PATIENCE_SECONDS)
    await copy.process()


async def failure_of(story: str, kill: Kill, copy: Copy, seen_through: Awaitable[str | None]) -> str | None:
    """Where and why a story with a kill failed; None if it did not."""
    try:
        failure = await seen_through
    except AssertionError as error:
        failure = f"{error}\n{copy.log.read_text()[-3000:]}"
    if failure is None:
        return None
    log.warning("%s: %s: %s", story, kill, failure)
    return f"{story}: {kill}: {failure}"


async def moves_again(copy: Copy) -> str | None:
    """The writes of a further run, which should have none."""
    before = int(copy.ground.control.summary()["last_seq"])
    await copy.again()
    entries = copy.ground.control.journal(after=before, path="^/people/v2/", limit=20_000)
    found = [one["kind"] for one in entries if one["organization_id"] == copy.church.id and is_write(one["kind"])]
    return f"a further run writes {found}" if found else None
