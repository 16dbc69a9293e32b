"""Kills at every kind of instant of a story: which ones, and several at a time."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Final

WRITES: Final = ("POST", "PATCH", "DELETE", "PUT")
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
    return always + random.Random(seed).sample(others, min(len(others), max(0, most - len(always))))


def is_write(kind: str) -> bool:
    """Whether a call changes something in Planning Center."""
    return kind.split(" ", 1)[0] in WRITES


async def all_of(
    tried: Iterable[tuple[str, Kill]], one: Callable[[str, Kill], Awaitable[str | None]], *, at_once: int = AT_ONCE
) -> list[str]:
    """Try each kill, several at a time; gives the failures."""
    limit = asyncio.Semaphore(at_once)

    async def bounded(story: str, kill: Kill) -> str | None:
        async with limit:
            return await one(story, kill)

    return [failure for failure in await asyncio.gather(*(bounded(*each) for each in tried)) if failure]
