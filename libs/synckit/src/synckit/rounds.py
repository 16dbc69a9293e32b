"""Periodic work, for `servicekit.loops.Loop`."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.db.sessions import Sessions
from servicekit.loops import Loop
from servicekit.runtime import Runtime
from synckit import hints, refreshes, retention, runs
from synckit.product import Product
from synckit.refreshes import Refreshes
from synckit.resources import SyncResources
from synckit.tables import ChangeColumns

ROUND_SECONDS: Final = 600.0
"""For a round over every church: thousands can be due at once."""


async def until_none(sessions: Sessions, at_once: int, some: Callable[[AsyncSession], Awaitable[int]]) -> None:
    """Repeat until nothing is due, with a few organizations per transaction.

    `some` works off at most `at_once` due items, and returns how many it found.
    """
    found = at_once
    while found >= at_once:
        async with sessions.begin() as session:
            found = await some(session)


def rounds_of(product: Product[Any, Any], changes: type[ChangeColumns], single: Refreshes) -> list[Loop]:
    """The loops of every product: they start due syncs of single records, end abandoned runs and delete old rows."""

    async def start_refreshes(runtime: Runtime, _: SyncResources) -> None:
        await until_none(runtime.sessions, refreshes.DUE_AT_ONCE, lambda session: refreshes.start_due(session, single))

    async def close_abandoned(runtime: Runtime, _: SyncResources) -> None:
        await until_none(runtime.sessions, runs.ABANDONED_AT_ONCE, lambda session: runs.end_abandoned(session, product))

    async def answer_hints(runtime: Runtime, resources: SyncResources) -> None:
        now, horizon = resources.clock.now(), resources.horizon
        await until_none(
            runtime.sessions, hints.AT_ONCE, lambda session: hints.answer_left(session, single, now, horizon)
        )

    async def forget_refreshes(runtime: Runtime, resources: SyncResources) -> None:
        await refreshes.forget_old(runtime.sessions, single, resources.clock.now())

    async def forget_syncs(runtime: Runtime, resources: SyncResources) -> None:
        now = resources.clock.now()
        await retention.forget_syncs(runtime.sessions, product.runs, changes, resources.settings, now)

    return [
        Loop("refreshes", start_refreshes, every=2, longest_round=ROUND_SECONDS),
        Loop("hints of ended refreshes", answer_hints, every=5, longest_round=ROUND_SECONDS),
        Loop("old refreshes", forget_refreshes, every=600),
        Loop("old syncs", forget_syncs, every=300),
        Loop("abandoned runs", close_abandoned, every=15, longest_round=ROUND_SECONDS),
    ]
