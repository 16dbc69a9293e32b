"""An undo killed before, during and after every kind of call and commit, and continued by another process.

The undo has all cases: values that a sync took over and sent, a family's name and people, a person added here with a
family, and a person added in Planning Center who becomes inactive there. Whenever a process dies, it ends as
undisturbed, and nothing is written twice.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession
from sync_harness.copies import ADMIN, ORGANIZATION, Copy, Ground, copied, in_one_transaction
from sync_harness.crashing import (
    BY_CHANCE,
    carried_on,
    failure_of,
    ground,
    left_behind,
    moves_again,
    undisturbed,
    written_twice,
)
from sync_harness.site import Site

from contracts.http.people import AnswerRun
from contracts.http.plans import UndoInput
from people_sync.usecases import runs, undo
from servicekit.testing import Databases, KeyRing, eventually
from servicekit.testing.databases import Database
from synckit.testing.crashing import Kill, all_of, die, drawn, kills_around
from synckit.testing.lender import Lender

SOAK_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "0"))
"""`make soak`: at every kind of instant."""
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))
MOST: Final = 14
"""Kills in a test run: the kinds of the push are `test_crashes`' too."""
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200 + SOAK_SECONDS)]


@dataclass(slots=True)
class Prepared:
    """The starting point of the stories."""

    ground: Ground
    template: str
    """An undo is queued; it is approved as soon as its plan is there."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> AsyncIterator[Prepared]:
    """A church after a sync with all kinds of changes, and the queued undo of it."""
    folder = tmp_path_factory.mktemp("undo")
    url = await databases.create("people_sync")
    rows = await left_behind(folder, url, kafka_server, keys, lender, _sync_everything)
    await in_one_transaction(url, _undo_it)
    async with ground(folder, rows, kafka_server, keys, lender, copies=300 if SOAK_SECONDS else 40) as made:
        yield Prepared(made, url)


async def _sync_everything(site: Site) -> None:
    await site.settings(first_match="planning_center", inactivate_deleted=True)
    nina = await site.add("Nina", "New", email="nina@example.org", phone="(212) 555-0141")
    await site.family("New Family", nina)
    await site.change("Bruno", phone="(212) 555-0150", last_name="Bakerson", email="bb@example.org")
    site.edit_contact("Cora", "Email", address="cc@example.org")
    site.edit("Carl", last_name="Clarkson")
    site.rename_household("Dean Household", "Dean Family")
    await site.regroup("Abbot Household", join=["Ned"], leave=["Amy"])
    pat = site.create("Pat", "Page", email="pat@example.org")
    site.control.create_household(site.church.id, "Page Household", pat)
    await site.visible()
    await site.sync()
    await site.believable()
    # Edited since, so left out.
    await site.change("Carl", last_name="Clark")
    await site.sync()


async def _undo_it(session: AsyncSession, database: Database) -> None:
    everything = await database.value(
        "SELECT cause_id FROM effect WHERE cause = 'run' AND field = 'created' AND side = 'there' LIMIT 1"
    )
    await undo.start(session, ADMIN, UndoInput(run_id=str(everything)), datetime.now(UTC))


async def _approve(copy: Copy) -> None:
    """Approve the plan once it is shown."""
    found = "SELECT id, question FROM run WHERE purpose = 'undo' AND state = 'waiting' AND question IS NOT NULL"

    async def shown() -> dict[str, Any] | None:
        return next(iter(await copy.database.fetch(found)), None)

    row = await eventually(shown, within=120)
    answer = AnswerRun(question="undo", answer="approve", digest=row["question"]["digest"], inactivate=True)

    async def approve(session: AsyncSession, _: Database) -> None:
        await runs.answer(session, ORGANIZATION, str(row["id"]), answer, ADMIN, datetime.now(UTC))

    await in_one_transaction(copy.database.url, approve)


@asynccontextmanager
async def _story(prepared: Prepared) -> AsyncIterator[Copy]:
    """A copy in which the plan is approved when shown, whichever process made it."""
    async with copied(prepared.ground, prepared.template) as copy:
        approving = asyncio.create_task(_approve(copy))
        try:
            yield copy
        finally:
            approving.cancel()
            with suppress(asyncio.CancelledError):
                await approving


async def test_killed_around_every_kind_of_call_and_commit(prepared: Prepared) -> None:
    async with _story(prepared) as copy:
        expected = await undisturbed(copy)
        assert not written_twice(copy)
        counts = await copy.database.value("SELECT counts FROM run WHERE purpose = 'undo'")
        assert counts == {"undone": 4, "taken_back": 2, "made_inactive": 1, "left_out": 2}

    async def one(story: str, kill: Kill) -> str | None:
        async with _story(prepared) as copy:

            async def through() -> str | None:
                if not await die(copy, kill):
                    return "was never killed"
                return await carried_on(copy, expected) or written_twice(copy, kill) or await moves_again(copy)

            return await failure_of(story, kill, copy, through())

    kills = kills_around(expected.kinds, thorough=bool(SOAK_SECONDS), by_chance=BY_CHANCE)
    chosen = kills if SOAK_SECONDS else drawn(kills, "change", most=MOST, seed=SEED)
    failures = await all_of([("undo", kill) for kill in chosen], one, at_once=4)
    assert not failures, "\n\n".join(failures)
