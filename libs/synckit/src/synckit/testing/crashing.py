"""Kills at every kind of instant of a story: which ones, and several at a time."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, Protocol

from servicekit.testing import eventually
from servicekit.testing.databases import Database
from synckit.testing.lender import Church
from synckit.testing.nursery import is_alive

WRITES: Final = ("POST", "PATCH", "DELETE", "PUT")
PATIENCE_SECONDS: Final = 240.0
"""A busy machine may take this long; an idle one takes seconds."""
AT_ONCE: Final = 8
"""Enough for two cores; with more, requests wait for a turn longer than their timeout, and work takes another way."""


@dataclass(frozen=True, slots=True)
class Kill:
    """An instant for a kill."""

    what: str
    """`before call` (it never arrives), `late call` (it arrives after the death), `during call`, `answer`,
    `before commit` or `after commit`."""
    kind: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.what} {self.nth} of {self.kind}"


class Killable(Protocol):
    """A church and a database, with the processes that work on them."""

    @property
    def church(self) -> Church:
        """The church in the simulator."""
        ...

    @property
    def control(self) -> Any:
        """The simulator's control (`pco_simulator.testing.Control`)."""
        ...

    @property
    def database(self) -> Database:
        """The service's database."""
        ...

    async def process(self, **sabotage: Any) -> int:
        """Start a process; gives its pid. `sabotage`: as for `Saboteur`."""
        ...

    async def kill(self, pid: int | None = None) -> None:
        """Kill one process, or all."""
        ...

    def died(self, pid: int) -> None:
        """Note that a process died by itself."""
        ...

    async def at_work(self, connection: Any) -> bool:
        """Whether there is work left."""
        ...


def kills_around(
    kinds: Iterable[tuple[str, str]], *, thorough: bool, by_chance: Collection[str] = frozenset()
) -> list[Kill]:
    """Kills for each kind: around a write, after a read, around a commit. `thorough`: on both sides of everything.

    Otherwise a creation has both, since it arrived or not is what a repetition hangs on; other calls that change
    something, and commits, are killed alternately before and after they took effect. `by_chance`: commits that not
    every story makes.
    """
    kills = []
    commits, calls = cycle(["before commit", "after commit"]), cycle(["before call", "during call"])
    for kind in sorted({kind for what, kind in kinds if what.endswith(" commit")} - set(by_chance)):
        kills += [Kill(what, kind) for what in (("before commit", "after commit") if thorough else (next(commits),))]
    for kind in sorted(kind for what, kind in kinds if what == "answer"):
        if thorough:
            kills += [Kill(what, kind) for what in ("before call", "during call", "answer")]
        elif kind.startswith("POST "):
            kills += [Kill(what, kind) for what in ("before call", "during call")]
        else:
            kills.append(Kill(next(calls) if is_write(kind) else "answer", kind))
    return kills


def drawn(kills: list[Kill], own: str, *, most: int, seed: int) -> list[Kill]:
    """Kills at commits whose kind contains `own`, and others by draw up to `most` in all."""
    always = [kill for kill in kills if kill.what.endswith(" commit") and own in kill.kind]
    others = [kill for kill in kills if kill not in always]
    chance = random.Random(seed)  # noqa: S311 - a draw of tests
    return always + chance.sample(others, min(len(others), max(0, most - len(always))))


def is_write(kind: str) -> bool:
    """Whether a call changes something in Planning Center."""
    return kind.split(" ", 1)[0] in WRITES


async def die(copy: Killable, kill: Kill) -> bool:
    """Start a process and wait until it dies there. False if it survived its work."""
    if not kill.what.endswith(" call"):
        pid = await copy.process(kill=[kill.what, kill.kind, kill.nth])
        return await dies(copy, pid)
    method, path = kill.kind.split(" ", 1)
    control, late = copy.control, kill.what == "late call"
    fault = control.add_fault(
        {
            "kind": "hold",
            "when": "after" if kill.what == "during call" else "before",
            "if_gone": "carried_out" if late else "lost",
        },
        organization_id=copy.church.id,
        method=method,
        path=f"^{re.escape(path).replace(re.escape('{id}'), '[0-9]+')}$",
        nth=kill.nth,
    )
    pid = await copy.process()
    if not await _within(lambda: bool(control.fault(fault)["holding"]), copy):
        control.remove_fault(fault)
        return False
    await copy.kill(pid)
    if late:
        control.release(fault)
    # Planning Center's side notices the closed connection a moment later, and executes requests released before that.
    await eventually(lambda: control.fault(fault)["holding"] == 0, within=PATIENCE_SECONDS)
    control.remove_fault(fault)
    return True


async def dies(copy: Killable, pid: int) -> bool:
    """Wait until a process dies by itself. False if it survived its work."""
    if not await _within(lambda: not is_alive(pid), copy):
        # The instant may be that of the last commit.
        try:
            await eventually(lambda: not is_alive(pid), within=3)
        except AssertionError:
            return False
    copy.died(pid)
    return True


async def _within(happened: Callable[[], bool], copy: Killable) -> bool:
    """Whether the condition holds before the work ends."""
    async with copy.database.connection() as connection:

        async def settled() -> str | None:
            if happened():
                return "happened"
            return None if await copy.at_work(connection) else "over"

        return bool(await eventually(settled, within=PATIENCE_SECONDS, every=0.1) == "happened")


async def all_of(
    tried: Iterable[tuple[str, Kill]], one: Callable[[str, Kill], Awaitable[str | None]], *, at_once: int = AT_ONCE
) -> list[str]:
    """Try each kill, several at a time; gives the failures."""
    limit = asyncio.Semaphore(at_once)

    async def bounded(story: str, kill: Kill) -> str | None:
        async with limit:
            return await one(story, kill)

    return [failure for failure in await asyncio.gather(*(bounded(*each) for each in tried)) if failure]
